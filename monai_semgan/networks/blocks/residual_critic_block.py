"""Down-sampling residual block of the StyleGAN2 critic."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import nn

from ..layers import EqualizedConv2d, FirBlur2d, FirDownsample2d


class ResidualCriticBlock(nn.Module):
    """Two 3x3 convolutions (the second with stride 2 after a low-pass), plus a 1x1 skip, over sqrt(2).

    Shape: ``(B, in_channels, H, W)`` to ``(B, out_channels, H/2, W/2)``.
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv1 = EqualizedConv2d(in_channels, in_channels, 3, padding=1)
        self.blur = FirBlur2d(padding=2)
        self.conv2 = EqualizedConv2d(in_channels, out_channels, 3, stride=2)
        self.skip_down = FirDownsample2d()
        self.skip = EqualizedConv2d(in_channels, out_channels, 1, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        # the activation is positively homogeneous: its gain of sqrt(2), and the 1/sqrt(2) of the sum, go into the
        # weights; in place, so that one map is kept for the backward pass instead of three
        y = F.leaky_relu_(self.conv1(x, gain=math.sqrt(2.0)), 0.2)
        y = F.leaky_relu_(self.conv2(self.blur(y)), 0.2)
        return y + self.skip(self.skip_down(x), gain=math.sqrt(0.5))
