"""Matrices that resample one axis of an image: area averages, antialiased linear, linear and nearest."""

from __future__ import annotations

import torch

__all__ = ["resample_matrix", "resample_plane"]


def resample_matrix(length: int, positions: torch.Tensor, ratio: float, kind: str) -> torch.Tensor:
    """Weights ``(N, length)``, float32, that sample an axis of ``length`` voxels at ``positions``.

    Rows sum to 1 where the kernel lies within the axis and to less where it reaches beyond it, so a fill
    value can take the missing part: ``fill + weights @ (values - fill)``.

    Args:
        length: voxels of the source axis; voxel k covers k - 0.5 .. k + 0.5.
        positions: ``(N,)`` source coordinates of the target voxels' centres.
        ratio: size of a target voxel in source voxels.
        kind: ``"linear"`` (a triangle as wide as the larger of the two voxels: linear interpolation when
            enlarging, antialiased when shrinking), ``"area"`` (the exact overlap of the voxels when
            shrinking, linear when enlarging) or ``"nearest"``.
    """
    centre = positions.to(torch.float64)[:, None]
    source = torch.arange(length, dtype=torch.float64)[None]
    inside = (centre >= -0.5) & (centre <= length - 0.5)
    if kind == "nearest":
        index = torch.floor(centre + 0.5).clamp(0, length - 1)
        return ((source == index) & inside).to(torch.float32)
    if kind == "area" and ratio > 1:
        overlap = torch.minimum(source + 0.5, centre + ratio / 2) - torch.maximum(source - 0.5, centre - ratio / 2)
        return (overlap.clamp_min(0) / ratio).to(torch.float32)
    if kind not in ("linear", "area"):
        raise ValueError(f'kind has to be "linear", "area" or "nearest", got {kind!r}')
    width = max(1.0, ratio)
    # One voxel more on both ends: the weights there belong to the outside, or, for a centre that still lies
    # within the outermost voxel, to that voxel (there is nothing to interpolate with).
    reach = 2 * int(width) + 3
    extended = torch.arange(-reach, length + reach, dtype=torch.float64)[None]
    weights = (1 - (extended - centre).abs() / width).clamp_min(0)
    weights = weights / weights.sum(dim=1, keepdim=True).clamp_min(1e-12)
    result = weights[:, reach : reach + length].clone()
    if width == 1.0:
        missing = torch.where(inside, 1 - result.sum(dim=1, keepdim=True), torch.zeros_like(centre)).clamp_min(0)
        result += missing * (source == centre.round().clamp(0, length - 1))
    return result.to(torch.float32)


def resample_plane(volume: torch.Tensor, rows: torch.Tensor, columns: torch.Tensor, fill: float) -> torch.Tensor:
    """Apply matrices ``rows`` (h, H) and ``columns`` (w, W) to ``(C, H, W, D)``; outside lies ``fill``.

    Only the part of the source that carries weight or differs from ``fill`` is touched, which makes sparse
    masks and crops cheap.
    """
    row_range, column_range = _support(rows), _support(columns)
    source = volume[:, row_range, column_range].to(torch.float32) - fill
    rows, columns = rows[:, row_range].to(source.device), columns[:, column_range].to(source.device)
    channels, height, width, depth = source.shape
    lines = torch.matmul(rows, source.reshape(channels, height, width * depth))
    lines = lines.reshape(channels, rows.shape[0], width, depth)
    return torch.matmul(columns, lines) + fill


def _support(weights: torch.Tensor) -> slice:
    used = torch.nonzero(weights.abs().sum(dim=0)).flatten()
    return slice(0, 0) if used.numel() == 0 else slice(int(used[0]), int(used[-1]) + 1)
