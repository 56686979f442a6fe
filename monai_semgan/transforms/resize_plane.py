"""Slices in another size."""

from __future__ import annotations

import torch
import torch.nn.functional as F

__all__ = ["resize_plane"]


def resize_plane(image: torch.Tensor, plane: tuple[int, int]) -> torch.Tensor:
    """``(B, C, H, W[, D])`` to ``(B, C, *plane[, D])``, linearly, smoothed before it is made smaller."""
    slices = image if image.ndim == 4 else image.permute(0, 4, 1, 2, 3).flatten(0, 1)
    smaller = plane[0] < slices.shape[2] or plane[1] < slices.shape[3]
    made = F.interpolate(slices, size=plane, mode="bilinear", align_corners=False, antialias=smaller)
    return made if image.ndim == 4 else made.unflatten(0, (len(image), -1)).permute(0, 2, 3, 4, 1)
