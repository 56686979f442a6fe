"""Find the patient's body in a scan: the largest piece without the table, and its in-plane box."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from scipy import ndimage

from .modality import detect_modality, foreground_threshold

__all__ = ["BodyBox", "body_box", "body_mask"]

_CELL_MM = 5.0
_SCALED_THRESHOLD = -0.98  # in [-1, 1]: just above air, below fat (-121 HU in the default window)
_RAW_CT_THRESHOLD = -300.0


@dataclass(frozen=True)
class BodyBox:
    """In-plane box of the body in voxel coordinates: ``centre`` and ``extent``, each (rows, columns)."""

    centre: tuple[float, float]
    extent: tuple[float, float]


def body_mask(
    volume: Any, spacing: tuple[float, float], threshold: float | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Coarse body mask of a volume ``(H, W, D)``: cells of about 5 mm, largest piece, holes filled, no table.

    Args:
        volume: values in [-1, 1] (after ``ScaleScanIntensity``) or in scanner units.
        spacing: mm per voxel along rows' and columns' axes.
        threshold: the body is above it; None chooses by the range of the values and the modality.

    Returns:
        ``(mask, cell)``: booleans ``(h, w, D)``, and the size of a cell in voxels along the two axes.
    """
    values = torch.as_tensor(volume)
    values = values.as_tensor() if hasattr(values, "as_tensor") else values
    if threshold is None:
        threshold = _default_threshold(values)
    above = (values > threshold).to(torch.float32).permute(2, 0, 1)[:, None]
    cell = np.array([max(1, round(_CELL_MM / s)) for s in spacing])
    pooled = torch.nn.functional.avg_pool2d(above, tuple(int(c) for c in cell), ceil_mode=True)[:, 0]
    coarse = pooled.cpu().numpy() > 0.5
    mask = np.zeros_like(coarse)
    cross = ndimage.generate_binary_structure(2, 1)
    for k, plane in enumerate(coarse):
        # Fill the lungs first, or the opening would eat the thin chest wall; the opening (about 25 mm) then
        # takes off table, blankets and tubes.
        opened = ndimage.binary_opening(ndimage.binary_fill_holes(plane), cross, iterations=2)
        mask[k] = opened if opened.any() else False
    pieces, count = ndimage.label(mask)
    if count > 1:
        mask = pieces == 1 + int(np.argmax(np.bincount(pieces.ravel())[1:]))
    return mask.transpose(1, 2, 0), cell.astype(float)


def body_box(volume: Any, spacing: tuple[float, float], threshold: float | None = None) -> BodyBox | None:
    """In-plane box of the body over the slices that hold most of it; None when no body is found.

    Along each axis a row of cells counts when the body fills at least a fifth of what it fills in the fullest
    row, and the median over slices is taken, so that arms beside the body, or a few odd slices, do not move
    the box.
    """
    mask, cell = body_mask(volume, spacing, threshold)
    area = mask.sum(axis=(0, 1))
    if area.max() == 0:
        return None
    full = np.flatnonzero(area >= 0.5 * np.median(area[area > 0]))
    sides = [[_extent(mask[..., k].sum(axis=1 - axis)) for k in full] for axis in (0, 1)]
    low, high = np.median(np.array(sides, dtype=float), axis=1).T  # each (rows, columns), in cells
    low, high = low * cell, np.minimum(high * cell, torch.as_tensor(volume).shape[:2])
    centre, extent = (low + high) / 2 - 0.5, high - low  # voxel centres lie at whole numbers
    return BodyBox((float(centre[0]), float(centre[1])), (float(extent[0]), float(extent[1])))


def _extent(profile: np.ndarray) -> tuple[int, int]:
    inside = np.flatnonzero(profile >= 0.2 * profile.max())
    return int(inside[0]), int(inside[-1]) + 1


def _default_threshold(values: torch.Tensor) -> float:
    if float(values.min()) >= -1.0001 and float(values.max()) <= 1.0001:
        return _SCALED_THRESHOLD
    return _RAW_CT_THRESHOLD if detect_modality(values) == "ct" else foreground_threshold(values)
