"""Fill a label where single slices lack it between slices that have it."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from itertools import pairwise
from typing import Any

import nibabel as nib
import numpy as np
import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import MapTransform, Transform
from scipy import ndimage

from ..utils import InputError

__all__ = ["CloseBetweenSlices", "CloseBetweenSlicesD", "CloseBetweenSlicesDict", "CloseBetweenSlicesd"]

_METHODS = ("interpolate", "closing")


class CloseBetweenSlices(Transform):
    """Bridge short gaps of a label along the slice axis of an index map ``(1, H, W, D)``.

    A network that sees one slice at a time may lose an organ on one slice and have it again on the next. Put
    this before ``KeepLargestConnectedComponent``, which would otherwise drop all beyond the gap.

    - ``"interpolate"`` looks at slices without any voxel of the label. The shape between the slices below and
      above is where their signed distances (mm, in plane), weighted by nearness, are positive: shape-based
      interpolation (Raya and Udupa, IEEE TMI 9, 1990). It lies between intersection and union of the two.
    - ``"closing"`` is the morphological closing along the slice axis: it fills between two voxels of the label
      that lie above each other, also on slices that have the label in part; so it fills true hollows as well.

    Only background is written to, slices below the first and above the last of a label are never touched, and
    where two labels claim a voxel the lower one gets it.

    Args:
        method: ``"interpolate"`` or ``"closing"``.
        max_gap_mm: thickness of what may be bridged, as number of slices times their distance. A single slice
            is bridged whatever its thickness.
        slice_axis: 0, 1 or 2 of ``H, W, D``. None: the one closest to feet-head by the affine of a
            ``MetaTensor``; ``D`` without an affine.
        applied_labels: labels to close; None for all.

    ``__call__``: a map of any dtype to one of the same dtype, with its meta data. Voxel sizes are those of the
    affine; 1 mm for a plain tensor. The input itself is returned when there is nothing to fill.

    Raises:
        InputError: an option is out of range.
        ValueError: the map is not ``(1, H, W, D)``.

    Example:
        >>> label = torch.ones(1, 4, 4, 3, dtype=torch.uint8)
        >>> label[..., 1] = 0
        >>> bool(CloseBetweenSlices()(label).all())
        True
    """

    def __init__(
        self,
        method: str = "interpolate",
        max_gap_mm: float = 10.0,
        slice_axis: int | None = None,
        applied_labels: Sequence[int] | None = None,
    ) -> None:
        if method not in _METHODS:
            raise InputError("option method", got=repr(method), wanted=" or ".join(map(repr, _METHODS)))
        if not max_gap_mm >= 0:
            raise InputError("option max_gap_mm", got=max_gap_mm, wanted="0 or more, in mm")
        if slice_axis not in (None, 0, 1, 2):
            raise InputError("option slice_axis", got=slice_axis, wanted="0, 1, 2 or null")
        self.method, self.max_gap_mm, self.slice_axis = method, float(max_gap_mm), slice_axis
        self.applied_labels = None if applied_labels is None else sorted({int(v) for v in applied_labels})

    def __call__(self, label: torch.Tensor) -> torch.Tensor:
        if label.ndim != 4 or label.shape[0] != 1:
            raise ValueError(f"wanted one index map (1, H, W, D), got shape {tuple(label.shape)}")
        plain = label.as_tensor() if isinstance(label, MetaTensor) else label
        volume = plain[0].detach().cpu().numpy()
        axis, spacing = self._geometry(label)
        # slices first, then the two axes in the plane
        slices = np.moveaxis(volume, axis, 0)
        thickness = spacing[axis]
        in_plane = [s for k, s in enumerate(spacing) if k != axis]
        # rounding errors of an affine must not cost a slice
        longest = max(1, int(min(self.max_gap_mm / thickness + 1e-3, len(slices))))
        if not slices.any():
            return label
        box = _box(slices != 0)  # a fraction of a scan, and nothing is ever filled outside of it
        part = slices[box]
        found = np.unique(part[part != 0]).tolist() if self.applied_labels is None else self.applied_labels
        filled = np.zeros_like(part)
        for value in found:
            inside = part == value
            fill = _interpolate(inside, longest, in_plane) if self.method == "interpolate" else _close(inside, longest)
            filled[fill & (part == 0) & (filled == 0)] = value
        if not filled.any():
            return label
        closed = volume.copy()
        np.moveaxis(closed, axis, 0)[box] = np.where(filled != 0, filled, part)
        result = torch.from_numpy(closed)[None].to(plain.device)
        return MetaTensor(result).copy_meta_from(label) if isinstance(label, MetaTensor) else result

    def _geometry(self, label: torch.Tensor) -> tuple[int, np.ndarray]:
        """Slice axis, and voxel sizes along the three axes."""
        if not isinstance(label, MetaTensor):
            return 2 if self.slice_axis is None else self.slice_axis, np.ones(3)
        affine = np.asarray(label.affine.cpu(), dtype=np.float64)
        axis = self.slice_axis
        if axis is None:
            axis = int(np.flatnonzero(nib.orientations.io_orientation(affine)[:, 0] == 2)[0])
        return axis, nib.affines.voxel_sizes(affine)


def _interpolate(inside: np.ndarray, longest: int, in_plane: Sequence[float]) -> np.ndarray:
    """Shapes on empty slices in runs of at most ``longest``, from the slices around them; ``(D, H, W)``."""
    fill = np.zeros_like(inside)
    present = np.flatnonzero(inside.any(axis=(1, 2)))
    for below, above in pairwise(present):
        if not 1 < above - below <= longest + 1:
            continue
        rows, columns = _box(inside[below] | inside[above])  # no shape in between leaves it
        low, high = (_signed_distance(inside[k, rows, columns], in_plane) for k in (below, above))
        for k in range(below + 1, above):
            share = (k - below) / (above - below)
            # a tie, give or take rounding, is background
            fill[k, rows, columns] = (1 - share) * low + share * high > 1e-6
    return fill


def _box(mask: np.ndarray) -> tuple[slice, ...]:
    """Smallest box around what is inside of a mask, which must not be empty."""
    sides = []
    for axis in range(mask.ndim):
        hit = np.flatnonzero(mask.any(axis=tuple(a for a in range(mask.ndim) if a != axis)))
        sides.append(slice(int(hit[0]), int(hit[-1]) + 1))
    return tuple(sides)


def _signed_distance(shape: np.ndarray, spacing: Sequence[float]) -> np.ndarray:
    """Distance in mm to the other side's nearest voxel: positive inside, negative outside."""
    padded = np.pad(shape, 1)  # what is beyond the picture is outside
    distance = ndimage.distance_transform_edt(padded, spacing) - ndimage.distance_transform_edt(~padded, spacing)
    return distance[1:-1, 1:-1]


def _close(inside: np.ndarray, longest: int) -> np.ndarray:
    """Voxels of gaps of at most ``longest`` between two voxels above each other; ``(D, H, W)``."""
    fill = np.zeros_like(inside)
    if not inside.any():
        return fill
    box = _box(inside)
    own = inside[box]
    number = np.arange(len(own), dtype=np.int32).reshape(-1, 1, 1)
    far = len(own) + longest + 1
    below = np.maximum.accumulate(np.where(own, number, -far), axis=0)
    above = np.minimum.accumulate(np.where(own, number, 2 * far)[::-1], axis=0)[::-1]
    fill[box] = ~own & (above - below <= longest + 1)
    return fill


class CloseBetweenSlicesd(MapTransform):
    """Dictionary form of :class:`CloseBetweenSlices`."""

    def __init__(
        self,
        keys: KeysCollection,
        method: str = "interpolate",
        max_gap_mm: float = 10.0,
        slice_axis: int | None = None,
        applied_labels: Sequence[int] | None = None,
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.close = CloseBetweenSlices(method, max_gap_mm, slice_axis, applied_labels)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        d = dict(data)
        for key in self.key_iterator(d):
            d[key] = self.close(d[key])
        return d


CloseBetweenSlicesD = CloseBetweenSlicesDict = CloseBetweenSlicesd
