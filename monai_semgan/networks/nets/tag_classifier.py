"""Classifier of slice-level tags whose class activation maps are its own output before pooling.

Zhou, Khosla, Lapedriza, Oliva and Torralba, Learning Deep Features for Discriminative Localization, CVPR 2016,
1512.04150; pooled over objects (see ``GatedLSEPool``). ``monai.visualize.CAM`` gives the same maps one class and one
place at a time.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from monai.networks.blocks import Convolution
from torch import nn

from ...utils.errors import InputError
from ..layers import GatedLSEPool


class TagClassifier(nn.Module):
    """Says which organs a slice shows, and by which part of it.

    3 x 3 convolutions with batch normalisation and ReLU (``features``), and one linear layer from features to classes
    (``head``) that is applied at every place. The pooled result is the logit of a tag.

    Args:
        spatial_dims: 2 or 3.
        in_channels: channels of the image.
        num_tags: organs.
        channels: width of each layer.
        strides: stride of each layer; their product is the pixel size of the maps.
        sharpness: of the pooling.

    Raises:
        InputError: not as many strides as channels.

    Shape: ``image (B, C, H, W[, D])`` and ``gate (B, 1 or T, H, W[, D])`` in 0..1, or None, to logits ``(B, T)``.
    """

    def __init__(
        self,
        spatial_dims: int = 2,
        in_channels: int = 1,
        num_tags: int = 1,
        channels: Sequence[int] = (16, 32, 64, 96, 96),
        strides: Sequence[int] = (2, 1, 2, 1, 1),
        sharpness: float = 4.0,
    ) -> None:
        super().__init__()
        if len(channels) != len(strides) or not channels:
            raise InputError(
                "tag classifier", got=f"{len(channels)} channels and {len(strides)} strides", wanted="as many of both"
            )
        widths = [in_channels, *channels]
        self.features = nn.Sequential(
            *(
                Convolution(spatial_dims, before, after, strides=stride, kernel_size=3, act="RELU", norm="BATCH")
                for before, after, stride in zip(widths, channels, strides, strict=False)
            )
        )
        self.head = nn.Linear(channels[-1], num_tags)
        self.pool = GatedLSEPool(sharpness)

    def class_maps(self, image: torch.Tensor) -> torch.Tensor:
        """``s_c = w_c f + b_c`` at every place, ``(B, T, h, w[, d])``."""
        return self.head(self.features(image).movedim(1, -1)).movedim(-1, 1)

    def forward(self, image: torch.Tensor, gate: torch.Tensor | None = None) -> torch.Tensor:
        maps = self.class_maps(image)
        if gate is not None:
            pool = F.adaptive_avg_pool2d if maps.ndim == 4 else F.adaptive_avg_pool3d
            gate = pool(gate, maps.shape[2:])
        return self.pool(maps, gate)
