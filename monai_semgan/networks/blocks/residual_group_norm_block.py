"""Residual block with group normalisation, for encoders."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import nn


class ResidualGroupNormBlock(nn.Module):
    """Two 3x3 convolutions with group normalisation and a skip; the first may have stride 2.

    Group normalisation does not depend on the batch, so training and inference see the same network
    (the reference's batch normalisation froze after two batches).

    Shape: ``(B, in_channels, H, W)`` to ``(B, out_channels, H/stride, W/stride)``.
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int = 1) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, stride=stride, padding=1, bias=False)
        self.norm1 = nn.GroupNorm(math.gcd(8, out_channels), out_channels)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False)
        self.norm2 = nn.GroupNorm(math.gcd(8, out_channels), out_channels)
        if stride == 1 and in_channels == out_channels:
            self.skip: nn.Module = nn.Identity()
        else:
            pool = nn.AvgPool2d(stride) if stride > 1 else nn.Identity()
            self.skip = nn.Sequential(pool, nn.Conv2d(in_channels, out_channels, 1, bias=False))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = F.relu(self.norm1(self.conv1(x)))
        y = self.norm2(self.conv2(y))
        return F.relu(y + self.skip(x))
