"""Blocks of the synthesis network: styled convolutions and the heads for image and mask."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import nn

from ..layers import FirUpsample2d, ModulatedConv2d, scale_gradient


class StyledConv2d(nn.Module):
    """Modulated 3x3 convolution, noise, bias and leaky ReLU with gain sqrt(2).

    Shape: ``x (B, C, H, W)``, ``latent (B, D)``, ``noise (B or 1, 1, H', W')`` to ``(B, C', H', W')``.
    """

    def __init__(self, in_channels: int, out_channels: int, latent_dim: int, upsample: bool = False) -> None:
        super().__init__()
        self.conv = ModulatedConv2d(in_channels, out_channels, 3, latent_dim, upsample=upsample)
        self.noise_strength = nn.Parameter(torch.zeros(()))
        self.bias = nn.Parameter(torch.zeros(out_channels))

    def forward(self, x: torch.Tensor, latent: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
        # the activation is positively homogeneous: its gain goes into the small factors before it; in place, on a map
        # that nobody else keeps, so that one is held for the backward pass instead of three
        gain = math.sqrt(2.0)
        x = self.conv(x, latent, gain=gain, shift=self.bias * gain)
        x = x.add_((self.noise_strength * gain * noise).to(x.dtype))
        return F.leaky_relu_(x, 0.2)


class StyleHeads(nn.Module):
    """The two 1x1 heads after a block: one writes the image, one the mask; both add to running skips.

    No demodulation, no activation, no noise, as in StyleGAN2's ToRGB. ``label_trunk_gradient``
    scales what the mask head sends back into the trunk (1: the reference; 0: none through
    the features, though the mask head's own style still reaches the mapping network). With
    ``label_channels`` 0 there is no mask head, and the mask has no channel.
    """

    def __init__(self, in_channels: int, image_channels: int, label_channels: int, latent_dim: int) -> None:
        super().__init__()
        self.to_image = ModulatedConv2d(in_channels, image_channels, 1, latent_dim, demodulate=False)
        self.to_label: nn.Module | None = None
        if label_channels:
            self.to_label = ModulatedConv2d(in_channels, label_channels, 1, latent_dim, demodulate=False)
        self.image_bias = nn.Parameter(torch.zeros(image_channels))
        self.label_bias = nn.Parameter(torch.zeros(label_channels)) if label_channels else None
        self.label_trunk_gradient = 1.0
        self.up = FirUpsample2d()

    def forward(
        self, x: torch.Tensor, latent: torch.Tensor, image: torch.Tensor | None, label: torch.Tensor | None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        new_image = self.to_image(x, latent).float() + self.image_bias[None, :, None, None]
        if self.to_label is None:
            new_label = new_image[:, :0]
        else:
            trunk = scale_gradient(x, self.label_trunk_gradient)
            new_label = self.to_label(trunk, latent).float() + self.label_bias[None, :, None, None]
        if image is not None and label is not None:
            # the running sums stay in float32: bfloat16 has 8 bits, too few for grey values
            with torch.autocast(x.device.type, enabled=False):
                new_image = new_image + self.up(image)
                if self.to_label is not None:
                    new_label = new_label + self.up(label)
        return new_image, new_label


class SynthesisBlock(nn.Module):
    """One resolution of the synthesis network: an up-sampling and a plain styled convolution, and heads.

    Uses three latents: for the first convolution, the second, and both heads (which share theirs with
    the next block's first convolution).
    """

    def __init__(
        self, in_channels: int, out_channels: int, image_channels: int, label_channels: int, latent_dim: int
    ) -> None:
        super().__init__()
        self.conv_up = StyledConv2d(in_channels, out_channels, latent_dim, upsample=True)
        self.conv = StyledConv2d(out_channels, out_channels, latent_dim)
        self.heads = StyleHeads(out_channels, image_channels, label_channels, latent_dim)
