"""Fully convolutional discriminator of label maps, one logit a pixel; D in AdvSemiSeg (Hung et al., 1802.07934).

MONAI's PatchDiscriminator ends in two layers of stride 1, normalises by batch, and gives a list of features.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from itertools import pairwise

import torch
import torch.nn.functional as F
from monai.networks.blocks import Convolution
from torch import nn

from ...utils.errors import InputError

_MODES = {2: "bilinear", 3: "trilinear"}


class ConfidenceDiscriminator(nn.Module):
    """Says of every pixel of a label map whether it comes from a reference mask (high) or a prediction (low).

    4 x 4 convolutions of stride 2 with leaky ReLU and without normalisation, a last one to a single channel, and linear
    up-sampling of its logits to the input's size. With four ``channels`` it is the paper's: stride 32, each logit sees
    94 pixels. Small images want fewer, or hardly a place is told from another: three have stride 16 and see 46 pixels.

    Args:
        spatial_dims: 2 or 3.
        in_channels: channels of a label map, i.e. classes with background.
        channels: width of each hidden layer.
        image_channels: channels of an image that is looked at beside the map (0: the map alone, the paper).

    Raises:
        InputError: other ``spatial_dims``, no hidden layer, an input that is too small for the depth, or an image where
            none was agreed on, or none where one was.

    Shape: ``maps (B, K, H, W[, D])``, probabilities or one-hot, and ``image (B, C, H, W[, D])`` to logits
    ``(B, 1, H, W[, D])``.
    """

    def __init__(
        self,
        spatial_dims: int = 2,
        in_channels: int = 2,
        channels: Sequence[int] = (64, 128, 256, 512),
        image_channels: int = 0,
    ) -> None:
        super().__init__()
        if spatial_dims not in _MODES:
            raise InputError("discriminator, spatial_dims", got=spatial_dims, wanted="2 or 3")
        if not channels:
            raise InputError("discriminator, channels", got=list(channels), wanted="the widths of one layer or more")
        self.in_channels = in_channels
        self.image_channels = image_channels
        self.stride = 2 ** (len(channels) + 1)
        self.mode = _MODES[spatial_dims]
        layer = partial(
            Convolution,
            spatial_dims,
            strides=2,
            kernel_size=4,
            padding=1,
            norm=None,
            act=("LEAKYRELU", {"negative_slope": 0.2}),
        )
        widths = [in_channels + image_channels, *channels]
        hidden = [layer(before, after) for before, after in pairwise(widths)]
        self.layers = nn.Sequential(*hidden, layer(widths[-1], 1, conv_only=True))

    def forward(self, maps: torch.Tensor, image: torch.Tensor | None = None) -> torch.Tensor:
        if (image is None) == bool(self.image_channels):
            raise InputError(
                "discriminator", got="no image" if image is None else "an image",
                wanted=f"what it was built for: image_channels is {self.image_channels}",
            )  # fmt: skip
        size = maps.shape[2:]
        if maps.shape[1] != self.in_channels or min(size) < self.stride:
            raise InputError(
                "discriminator",
                got=f"maps of shape {tuple(maps.shape)}",
                wanted=f"{self.in_channels} channels and {self.stride} pixels or more along each side",
                fix="give it as many in_channels as there are classes, and fewer channels (layers) for smaller images",
            )
        logits = self.layers(maps if image is None else torch.cat([maps, image], dim=1))
        return F.interpolate(logits, size=size, mode=self.mode, align_corners=True)
