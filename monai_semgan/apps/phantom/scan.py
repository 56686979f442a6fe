"""What all scanners share: the voxel grid of a scan, averaging over its voxels, and the mask on its grid."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from .anatomy import Subject

__all__ = ["PhantomScan", "ScanGrid", "resample_labels", "resample_values"]


@dataclass
class ScanGrid:
    """Voxel grid of a scan in the subject's millimetres (x to the left, y to the front, z to the head).

    Args:
        size: voxels along x, y, z.
        spacing: of the voxels (mm).
        low: centre of voxel (0, 0, 0) (mm).
        table: shift between the subject's and the scanner's origin (mm), for the affine only.
    """

    size: tuple[int, int, int]
    spacing: tuple[float, float, float]
    low: tuple[float, float, float]
    table: tuple[float, float, float] = (0.0, 0.0, 0.0)

    @property
    def affine(self) -> np.ndarray:
        """(4, 4) NIfTI affine with axis codes "LAS"."""
        affine = np.diag([-self.spacing[0], self.spacing[1], self.spacing[2], 1.0])
        x, y, z = (a + b for a, b in zip(self.low, self.table, strict=True))
        affine[:3, 3] = (-x, y, z)
        return affine


@dataclass
class PhantomScan:
    """One scan with its mask.

    Args:
        image: (X, Y, Z) int16, HU or scanner units.
        label: (X, Y, Z) uint8, numbered as :data:`.tissues.LABELS`.
        affine: (4, 4), "LAS".
        modality: "CT" or "MR".
        details: acquisition parameters, plain numbers and strings.
    """

    image: np.ndarray
    label: np.ndarray
    affine: np.ndarray
    modality: str
    details: dict = field(default_factory=dict)


def _weights(low: float, step: float, fine: int, new_low: float, new_step: float, new: int, thick: bool) -> np.ndarray:
    """(new, fine) averaging weights: the overlap of slices, or a Gaussian as wide as a voxel in the plane."""
    source = low + step * np.arange(fine)
    target = new_low + new_step * np.arange(new)
    distance = np.abs(target[:, None] - source)
    if thick:
        weights = np.clip(0.5 * (new_step + step) - distance, 0, min(step, new_step))
    else:
        weights = np.exp(-0.5 * (distance / (0.48 * new_step)) ** 2)
        weights[distance > 2 * new_step] = 0
    # Normalised by what a voxel inside the volume gathers: outside it the average fades to the padding.
    return (weights / weights.sum(1).max()).astype(np.float32)


def resample_values(
    subject: Subject,
    values: np.ndarray,
    grid: ScanGrid,
    outside: float = 0.0,
    shift: Sequence[float] = (0, 0, 0),
) -> np.ndarray:
    """Average ``values`` over the voxels of ``grid``: partial volume by slice thickness and in-plane spread.

    Args:
        subject: gives the place of ``values``.
        values: (X, Y, Z) float32 on the subject's fine grid.
        grid: where to.
        outside: value around the subject.
        shift: displacement (mm) of the values, e.g. the chemical shift of fat.

    Returns:
        float32 of ``grid.size``.
    """
    low = [a + b for a, b in zip(subject.low, shift, strict=True)]
    wx, wy, wz = (
        _weights(low[i], subject.spacing[i], values.shape[i], grid.low[i], grid.spacing[i], grid.size[i], i == 2)
        for i in range(3)
    )
    result = (values - np.float32(outside)) @ wz.T
    result = np.matmul(wy, result)
    return np.tensordot(wx, result, axes=(1, 0)) + np.float32(outside)


def resample_labels(subject: Subject, grid: ScanGrid) -> np.ndarray:
    """Mask on ``grid``: the label that fills most of a voxel, 0 where no label fills more than the rest."""
    labels = subject.tissue.label[subject.body]
    best = np.zeros(grid.size, np.float32)
    total = np.zeros(grid.size, np.float32)
    mask = np.zeros(grid.size, np.uint8)
    for label in np.unique(labels[labels > 0]):
        share = resample_values(subject, (labels == label).astype(np.float32), grid)
        total += share
        mask[share > best] = label
        np.maximum(best, share, out=best)
    mask[best < 1 - total] = 0
    return mask
