"""Learned inverses of a maskige: what the nearest colour gets wrong, from the colours around (2303.11316)."""

from __future__ import annotations

import torch
from monai.networks.blocks import Convolution
from torch import nn

from .window_attention_block import WindowAttentionBlock

__all__ = ["MaskigeCNN", "MaskigeWindowTransformer"]


class MaskigeCNN(nn.Module):
    """Three 3 x 3 convolutions from colours to what is added to the scores of the nearest colour (FT, TT).

    Args:
        spatial_dims: 2 or 3.
        in_channels: colour channels.
        num_classes: classes, background included.
        channels: width.

    Shape: ``(B, M, ...)`` to ``(B, K, ...)``, 0 at the start, so that training goes on from the nearest colour.
    """

    def __init__(self, spatial_dims: int, in_channels: int, num_classes: int, channels: int = 32) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            Convolution(spatial_dims, in_channels, channels, kernel_size=3, act="RELU", norm=None),
            Convolution(spatial_dims, channels, channels, kernel_size=3, act="RELU", norm=None),
            Convolution(spatial_dims, channels, num_classes, kernel_size=3, conv_only=True),
        )
        _start_at_zero(self.layers[2])

    def forward(self, maskige: torch.Tensor) -> torch.Tensor:
        return self.layers(maskige)


class MaskigeWindowTransformer(nn.Module):
    """Linear layer, attention in windows and in shifted windows, linear layer: the same by a transformer (FT-W).

    Args:
        spatial_dims: 2 or 3.
        in_channels: colour channels.
        num_classes: classes, background included.
        channels: width.
        depth: blocks; every second one is shifted.
        heads, window: of the attention.

    Shape: ``(B, M, ...)`` to ``(B, K, ...)``, 0 at the start.
    """

    def __init__(
        self,
        spatial_dims: int,
        in_channels: int,
        num_classes: int,
        channels: int = 32,
        depth: int = 2,
        heads: int = 4,
        window: int = 8,
    ) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            Convolution(
                spatial_dims, in_channels, channels, kernel_size=1, act="RELU", norm=("GROUP", {"num_groups": 4})
            ),
            *(WindowAttentionBlock(spatial_dims, channels, heads, window, shifted=n % 2 == 1) for n in range(depth)),
            Convolution(spatial_dims, channels, num_classes, kernel_size=1, conv_only=True),
        )
        _start_at_zero(self.layers[-1])

    def forward(self, maskige: torch.Tensor) -> torch.Tensor:
        return self.layers(maskige)


def _start_at_zero(layer: nn.Module) -> None:
    for parameter in layer.parameters():
        nn.init.zeros_(parameter)
