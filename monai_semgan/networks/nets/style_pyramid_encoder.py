"""The paper's encoder: a feature pyramid with one small network per latent (map-to-style)."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import nn

from ..blocks import ResidualGroupNormBlock
from ..layers import EqualizedLinear
from .semantic_style_generator import _check_size, num_latents


class _MapToStyle(nn.Module):
    def __init__(self, channels: int, latent_dim: int, size: int) -> None:
        super().__init__()
        depth = max(1, int(math.log2(max(size, 2))))  # strided convolutions down to 1x1
        self.convs = nn.ModuleList(nn.Conv2d(channels, channels, 3, 2, 1) for _ in range(depth))
        self.linear = EqualizedLinear(channels, latent_dim)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for conv in self.convs:
            x = F.leaky_relu(conv(x), 0.01)
        return self.linear(x.mean(dim=(2, 3)))  # mean: any input size gives one vector an image


class StylePyramidEncoder(nn.Module):
    """Feature-pyramid encoder to W+ (Li et al. 2021, 2104.05833), GroupNorm inside.

    Coarse latents (0-2) are read at stride 16, medium (3-6) at stride 8, fine ones at stride 4. Any
    input of at least 32 pixels works: the heads' depth follows the size (the reference broke off 256).

    Shape: ``(B, C, S, S)`` to ``w+ (B, L, D)`` and None.
    """

    def __init__(
        self,
        image_size: int = 256,
        in_channels: int = 1,
        latent_dim: int = 512,
        channels: int = 512,
        widths: tuple[int, int, int, int] = (256, 512, 1024, 2048),
        depths: tuple[int, int, int, int] = (3, 4, 6, 3),
    ) -> None:
        super().__init__()
        _check_size(image_size)
        self.num_latents = num_latents(image_size)
        stem_width = widths[0] // 4
        self.stem = nn.Sequential(
            nn.Conv2d(in_channels, stem_width, 7, 2, 3, bias=False),
            nn.GroupNorm(math.gcd(8, stem_width), stem_width),
            nn.ReLU(),
            nn.MaxPool2d(3, 2, 1),
        )
        self.stages = nn.ModuleList()
        previous = stem_width
        for i, (width, depth) in enumerate(zip(widths, depths, strict=True)):
            first = ResidualGroupNormBlock(previous, width, stride=1 if i == 0 else 2)
            rest = (ResidualGroupNormBlock(width, width) for _ in range(depth - 1))
            self.stages.append(nn.Sequential(first, *rest))
            previous = width
        self.lateral = nn.ModuleList(nn.Conv2d(w, channels, 1) for w in widths)
        self.smooth = nn.ModuleList(nn.Conv2d(channels, channels, 3, 1, 1) for _ in range(3))
        levels = [16] * 3 + [8] * 4 + [4] * max(0, self.num_latents - 7)
        self.levels = levels[: self.num_latents]
        self.heads = nn.ModuleList(_MapToStyle(channels, latent_dim, image_size // s) for s in self.levels)
        self.register_buffer("mean_latent", torch.zeros(latent_dim))

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, None]:
        x = self.stem(image)
        maps = []
        for stage in self.stages:
            x = stage(x)
            maps.append(x)
        p = self.lateral[3](maps[3])
        pyramid = {}
        for i, stride in ((2, 16), (1, 8), (0, 4)):
            up = F.interpolate(p, size=maps[i].shape[-2:], mode="bilinear", align_corners=False)
            p = up + self.lateral[i](maps[i])
            pyramid[stride] = self.smooth[i](p)
        latents = [head(pyramid[s]) for head, s in zip(self.heads, self.levels, strict=True)]
        return torch.stack(latents, dim=1).float() + self.mean_latent, None
