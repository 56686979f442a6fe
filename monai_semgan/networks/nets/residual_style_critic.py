"""StyleGAN2's residual critic for images (Karras et al. 2020, 1912.04958, section 4.1)."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import nn

from ..blocks import ResidualCriticBlock
from ..layers import EqualizedConv2d, EqualizedLinear, MinibatchStd
from .semantic_style_generator import _check_size, style_channels


class ResidualStyleCritic(nn.Module):
    """Scores how real an image looks; D_r in SemanticGAN.

    Args:
        image_size: height and width of the input, a power of two.
        in_channels: channels of the image.
        channel_base, channel_max: widths as for the generator.

    Shape: ``(B, C, S, S)`` to ``(B, 1)``, higher is more real.
    """

    def __init__(
        self,
        image_size: int = 64,
        in_channels: int = 1,
        channel_base: int = 16384,
        channel_max: int = 512,
        group_size: int = 4,
    ) -> None:
        super().__init__()
        _check_size(image_size)
        channels = style_channels(image_size, channel_base, channel_max)
        self.from_image = EqualizedConv2d(in_channels, channels[image_size], 1)
        sizes = sorted((r for r in channels if r > 4), reverse=True)
        self.blocks = nn.ModuleList(ResidualCriticBlock(channels[r], channels[r // 2]) for r in sizes)
        self.minibatch_std = MinibatchStd(group_size)
        self.conv = EqualizedConv2d(channels[4] + 1, channels[4], 3, padding=1)
        self.linear = EqualizedLinear(channels[4] * 16, channels[4])
        self.score = EqualizedLinear(channels[4], 1)

    def features(self, image: torch.Tensor) -> list[torch.Tensor]:
        """Feature maps after each block, finest first: the package's own perceptual space."""
        x = image.contiguous(memory_format=torch.channels_last)
        x = F.leaky_relu_(self.from_image(x, gain=math.sqrt(2.0)), 0.2)
        maps = []
        for block in self.blocks:
            x = block(x)
            maps.append(x)
        return maps

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        x = self.minibatch_std(self.features(image)[-1])
        x = F.leaky_relu_(self.conv(x, gain=math.sqrt(2.0)), 0.2)
        x = F.leaky_relu(self.linear(x.contiguous().flatten(1)), 0.2) * math.sqrt(2.0)
        return self.score(x).float()
