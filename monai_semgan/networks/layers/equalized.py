"""Layers with an equalised learning rate (Karras et al. 2018, 1710.10196, section 4.1)."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import nn


class EqualizedLinear(nn.Module):
    """Linear layer whose weights are N(0, 1) and scaled at run time by 1/sqrt(in_features).

    Args:
        in_features: size of the last axis of the input.
        out_features: size of the last axis of the output.
        bias_init: initial value of the bias.
        lr_multiplier: learning rate relative to the other layers (StyleGAN's mapping uses 0.01).

    Shape: ``(..., in_features)`` to ``(..., out_features)``.
    """

    def __init__(self, in_features: int, out_features: int, bias_init: float = 0.0, lr_multiplier: float = 1.0) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(out_features, in_features) / lr_multiplier)
        self.bias = nn.Parameter(torch.full((out_features,), bias_init / lr_multiplier))
        self.scale = lr_multiplier / math.sqrt(in_features)
        self.lr_multiplier = lr_multiplier

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        # the scale goes onto the (small) input, not onto the (large) weight matrix
        return F.linear(x * self.scale, self.weight, self.bias * self.lr_multiplier)


class EqualizedConv2d(nn.Module):
    """Convolution whose weights are N(0, 1) and scaled at run time by 1/sqrt(fan in).

    Shape: ``(B, in_channels, H, W)`` to ``(B, out_channels, H', W')``, times ``gain``.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        stride: int = 1,
        padding: int = 0,
        bias: bool = True,
    ) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(out_channels, in_channels, kernel_size, kernel_size))
        self.bias = nn.Parameter(torch.zeros(out_channels)) if bias else None
        self.scale = 1.0 / math.sqrt(in_channels * kernel_size**2)
        self.stride = stride
        self.padding = padding

    def forward(self, x: torch.Tensor, gain: float = 1.0) -> torch.Tensor:
        # the gain goes onto the (small) weights, not onto the (large) maps
        bias = self.bias if self.bias is None or gain == 1.0 else self.bias * gain
        return F.conv2d(x, self.weight * (self.scale * gain), bias, stride=self.stride, padding=self.padding)
