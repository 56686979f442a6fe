"""From an image to a grid of codes: the prior of GSS (2303.11316), with its multi-level aggregation."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from monai.networks.blocks import Convolution, ResidualUnit
from torch import nn

from ...utils.errors import InputError
from ..blocks import WindowAttentionBlock

__all__ = ["ConditioningNet"]


class ConditioningNet(nn.Module):
    """Residual levels, each halving the size; all of them brought to one grid, mixed by attention, and classified.

    Args:
        num_codes: channels of the answer: codes of a tokenizer, or classes.
        num_classes: channels of the auxiliary head, which reads the aggregated levels before the attention; 0: none.
        spatial_dims: 2 or 3.
        in_channels: of the image.
        channels: width of each level, the first at half the image's size.
        num_res_units: convolutions of each level.
        stride: pixels of the image for one place of the grid: a power of two that a level has.
        level_channels: width to which each level is brought.
        grid_channels: width of the grid.
        attention_depth: blocks of attention in windows, every second one shifted; 0: none.
        heads, window: of the attention.
        norm: of the convolutions.

    Raises:
        InputError: a stride that no level has.

    Shape: image ``(B, C, H, W[, D])`` to logits ``(B, N, h, w[, d])`` and auxiliary logits ``(B, K, h, w[, d])``, or
    without channels if there is no such head.
    """

    def __init__(
        self,
        num_codes: int,
        num_classes: int = 0,
        spatial_dims: int = 2,
        in_channels: int = 1,
        channels: Sequence[int] = (32, 64, 128, 192),
        num_res_units: int = 2,
        stride: int = 4,
        level_channels: int = 48,
        grid_channels: int = 64,
        attention_depth: int = 2,
        heads: int = 4,
        window: int = 8,
        norm: str | tuple = "INSTANCE",
    ) -> None:
        super().__init__()
        strides = [2 ** (level + 1) for level in range(len(channels))]
        if stride not in strides:
            raise InputError(
                "conditioning network", got=f"stride {stride}", wanted=f"one of {', '.join(map(str, strides))}",
                fix="give it as many levels (conditioning_channels) as the tokenizer has, or more",
            )  # fmt: skip
        self.grid_level = strides.index(stride)
        self.mode = "bilinear" if spatial_dims == 2 else "trilinear"
        widths = [in_channels, *channels]
        self.levels = nn.ModuleList(
            ResidualUnit(spatial_dims, a, b, strides=2, subunits=num_res_units, norm=norm, act="RELU")
            for a, b in zip(widths, channels, strict=False)
        )
        self.laterals = nn.ModuleList(
            Convolution(spatial_dims, width, level_channels, kernel_size=1, act="RELU", norm=norm) for width in channels
        )
        total = level_channels * len(channels)
        self.fuse = Convolution(spatial_dims, total, grid_channels, kernel_size=1, act="RELU", norm=norm)
        self.attention = nn.Sequential(
            *(
                WindowAttentionBlock(spatial_dims, grid_channels, heads, window, shifted=n % 2 == 1)
                for n in range(attention_depth)
            )
        )
        self.head = nn.Sequential(
            Convolution(spatial_dims, grid_channels, 2 * grid_channels, kernel_size=3, act="RELU", norm=norm),
            Convolution(spatial_dims, 2 * grid_channels, num_codes, kernel_size=1, conv_only=True),
        )
        self.auxiliary = (
            Convolution(spatial_dims, grid_channels, num_classes, kernel_size=1, conv_only=True)
            if num_classes
            else nn.Identity()
        )
        self.has_auxiliary = num_classes > 0

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        found = []
        x = image
        for level in self.levels:
            x = level(x)
            found.append(x)
        size = found[self.grid_level].shape[2:]
        brought = []
        for index, lateral in enumerate(self.laterals):
            y = lateral(found[index])
            if index != self.grid_level:
                y = F.interpolate(y, size=size, mode=self.mode, align_corners=False)
            brought.append(y)
        grid = self.fuse(torch.cat(brought, dim=1))
        auxiliary = self.auxiliary(grid) if self.has_auxiliary else grid[:, :0]
        return self.head(self.attention(grid)), auxiliary
