"""Minibatch standard deviation (Karras et al. 2018, 1710.10196, section 3)."""

from __future__ import annotations

import torch
from torch import nn


class MinibatchStd(nn.Module):
    """Append one channel: the standard deviation over a group of images, averaged over features.

    The group is the largest divisor of the batch that is at most ``group_size``, so any batch works
    (a fixed group of four would reject, or silently regroup, the others).

    Shape: ``(B, C, H, W)`` to ``(B, C + 1, H, W)``.
    """

    def __init__(self, group_size: int = 4) -> None:
        super().__init__()
        self.group_size = group_size

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        batch, channels, height, width = x.shape
        group = next(g for g in range(min(batch, self.group_size), 0, -1) if batch % g == 0)
        y = x.float().reshape(group, -1, channels, height, width)
        std = (y.var(dim=0, unbiased=False) + 1e-8).sqrt().mean(dim=(1, 2, 3))
        std = std.repeat(group).to(x.dtype).view(batch, 1, 1, 1).expand(batch, 1, height, width)
        return torch.cat([x, std], dim=1)
