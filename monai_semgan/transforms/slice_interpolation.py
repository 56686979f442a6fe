"""Slices of which others were interpolated: found, brought back, and answers given to the slices of the file."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import InvertibleTransform, MapTransform

from ..utils import InputError

__all__ = [
    "SliceInterpolation",
    "UndoSliceInterpolation",
    "UndoSliceInterpolationD",
    "UndoSliceInterpolationDict",
    "UndoSliceInterpolationd",
    "file_slices",
    "find_slice_interpolation",
    "slices_in_file",
]

_RATIOS = (1.05, 2.0)
_ANCHORS = ("first", "last", "centres")
_WINDOW = 48  # slices that are searched; a find is then tried on all
_COLUMNS = 16_384  # voxels of a slice that are looked at
_FEWEST = 12  # slices: with fewer there is nothing to tell a chance fit from
_DRIFT = 0.12  # of a slice, by which the nearest ratio tried may miss at the end of the window
_NOTCH = 0.2  # residual, as a share of that of ratios beside: .01 to .03 where slices were interpolated, else .7 to .9
_TELLING = 0.01  # what ratios beside have to leave: in slices that all lie on a line any ratio fits
_LEAST_SHARE = 0.25  # weight of a last slice that is still solved for


@dataclass(frozen=True)
class SliceInterpolation:
    """How the slices of a file were made of others.

    Args:
        slices: of the file.
        ratio: distance of the scanner's slices by that of the file's, above 1.
        anchor: where both grids meet: in the ``first`` or ``last`` slice, or their extents (``centres``).
        residual: what linear interpolation does not explain, as a share of the same for ratios beside this one.
    """

    slices: int
    ratio: float
    anchor: str
    residual: float = 0.0

    @property
    def positions(self) -> np.ndarray:
        """Place of each slice of the file, counted in the scanner's slices."""
        return _positions(self.slices, self.ratio, self.anchor)

    @property
    def shift(self) -> float:
        """Place of the file's first slice, if nothing were cut off at the ends."""
        return _shift(self.slices, self.ratio, self.anchor)

    @property
    def matrix(self) -> np.ndarray:
        """Weights ``(slices of the file, slices of the scanner)``."""
        return _weights(self.positions)

    @property
    def in_file(self) -> np.ndarray:
        """The file's slice nearest to each of the scanner's."""
        places = (np.arange(self.matrix.shape[1]) - self.shift) * self.ratio
        return np.clip(np.floor(places + 0.5).astype(int), 0, self.slices - 1)

    @property
    def nearest(self) -> np.ndarray:
        """The scanner's slice nearest to each of the file's."""
        return np.minimum(np.floor(self.positions + 0.5).astype(int), self.matrix.shape[1] - 1)


def find_slice_interpolation(scan: torch.Tensor) -> SliceInterpolation | None:
    """Tell whether slices were interpolated linearly from fewer ones.

    Then all slices together span fewer dimensions than they are: those of the interpolation matrix of the right
    ratio. Ratios from 1.05 to 2 are tried, with the grids meeting in the first slice, in the last or in their extents.
    A scan passes only if the residual falls to a fifth of that of ratios beside: what was smoothed, denoised or
    written with few grey values afterwards is left alone. So is what fits a multiple of the ratio as well: slices
    that were interpolated from ones more than twice as far apart.

    Args:
        scan: ``(C, H, W, D)``, slices along the last axis, any values.

    Returns:
        None for scans as they were taken, for fewer than 12 slices, and where it cannot be told.
    """
    plain = (scan.as_tensor() if isinstance(scan, MetaTensor) else scan).detach()
    count = plain.shape[-1]
    if count < _FEWEST or not bool(torch.isfinite(plain).all()):
        return None
    columns = _columns(plain)
    changing = np.flatnonzero(np.any(columns[1:] != columns[:-1], axis=1))  # slices of air at the ends say nothing
    if not len(changing) or changing[-1] + 2 - changing[0] < _FEWEST:
        return None
    rows = range(int(changing[0]), int(changing[-1]) + 2)
    whole = _Fit(columns, rows)
    found: list[tuple[float, float, str]] = []
    for anchor in _ANCHORS:
        part = _Fit(columns, rows[-_WINDOW:] if anchor == "last" else rows[:_WINDOW])
        ratios = _ratios(len(part.rows))
        scores = np.array([part.residual(ratio, anchor) for ratio in ratios])
        best, usual = int(scores.argmin()), float(np.median(scores))
        if not scores[best] < 3 * _NOTCH * usual:
            continue
        reach = 2 * _DRIFT * float(ratios[best]) ** 2 / len(part.rows)
        residual, ratio = part.refine(float(ratios[best]), reach, anchor)
        if residual < _NOTCH * usual:
            _, ratio = whole.refine(ratio, reach / 8, anchor)
            found.append((*whole.refine(ratio, reach / 64, anchor), anchor))
    if not found:
        return None
    residual, ratio, anchor = min(found)
    beside = [value for factor in (1.08, 1 / 1.08) if math.isfinite(value := whole.residual(ratio * factor, anchor))]
    level = float(np.mean(beside)) if beside else 0.0
    if level < _TELLING or residual >= _NOTCH * level or whole.is_coarser(ratio, anchor, 2 * _NOTCH * level):
        return None
    return SliceInterpolation(count, ratio, anchor, residual / level)


class UndoSliceInterpolation(InvertibleTransform):
    """Bring back the slices of the scanner, where a scan holds others interpolated from them.

    Scans with thick slices are often kept on another grid than that they were taken on (9 mm apart on the scanner,
    7.7 mm in the file, say): most slices are then blends of two, which no scanner would give, and a structure that
    moves from slice to slice is there twice at half strength. Where :func:`find_slice_interpolation` is sure, the
    scanner's slices are solved for (least squares; the system is overdetermined); other scans pass as they are.

    ``__call__``: scan ``(C, H, W, D)``, slices along the last axis, grey values as in the file, to ``(C, H, W, D')``,
    float32 when slices were solved for, within the scan's range, D' <= D; the affine says the new distance.
    ``inverse`` takes masks or probabilities ``(K, H, W, D')`` back to the file's slices: each gets the answer of the
    scanner's slice nearest to it.

    Args:
        enabled: when false, all scans pass as they are.

    Example:
        >>> blended = torch.rand(1, 8, 8, 20) @ torch.from_numpy(SliceInterpolation(24, 1.2, "first").matrix.T).float()
        >>> UndoSliceInterpolation()(MetaTensor(blended)).shape
        torch.Size([1, 8, 8, 21])
    """

    def __init__(self, enabled: bool = True) -> None:
        self.enabled = bool(enabled)

    def find(self, img: torch.Tensor) -> SliceInterpolation | None:
        """What is undone in this scan ``(C, H, W, D)``."""
        if img.ndim != 4:
            raise InputError("undo slice interpolation", got=f"shape {tuple(img.shape)}", wanted="(C, H, W, D)")
        return find_slice_interpolation(img) if self.enabled else None

    def __call__(
        self, img: torch.Tensor, label: bool = False, found: SliceInterpolation | bool | None = True
    ) -> torch.Tensor:
        """Bring back slices.

        Args:
            img: a scan, or a mask of whole numbers when ``label`` is true.
            label: take the file's slice nearest to each of the scanner's.
            found: what :meth:`find` said of the scan; True looks for it in ``img``.
        """
        found = self.find(img) if found is True else found or None
        plain = img.as_tensor() if isinstance(img, MetaTensor) else torch.as_tensor(img)
        out, affine = plain, torch.eye(4, dtype=torch.float64)
        if found is not None:
            out = _nearest_slices(plain, found) if label else _solve(plain, found)
            affine[2, 2], affine[2, 3] = found.ratio, -found.shift * found.ratio
        if not isinstance(img, MetaTensor):
            return out
        result = MetaTensor(out).copy_meta_from(img)
        plain_order = range(img.shape[-1])
        extra = {
            "slices": [int(k) for k in (found.nearest if found is not None else plain_order)],
            "in_file": [int(k) for k in (found.in_file if found is not None else plain_order)],
            "original_affine": img.affine.clone(),
        }
        self.push_transform(result, orig_size=tuple(img.shape[1:]), extra_info=extra, affine=affine)
        return result

    def inverse(self, data: torch.Tensor) -> torch.Tensor:
        """Give each slice of the file the answer ``(K, H, W, D')`` of the scanner's slice nearest to it."""
        extra = self.pop_transform(data)["extra_info"]
        plain = data.as_tensor() if isinstance(data, MetaTensor) else data
        out = plain[..., torch.tensor([int(k) for k in extra["slices"]], device=plain.device)]
        if not isinstance(data, MetaTensor):
            return out
        result = MetaTensor(out).copy_meta_from(data)
        result.affine = torch.as_tensor(extra["original_affine"], dtype=torch.float64).reshape(4, 4)
        return result


class UndoSliceInterpolationd(MapTransform, InvertibleTransform):
    """Dictionary form of :class:`UndoSliceInterpolation`; masks go along with the scan.

    Args:
        keys: scans and masks on one grid.
        image_key: the scan in which interpolation is looked for; it has to be in the data.
        label_keys: which of ``keys`` are masks.
        enabled: of :class:`UndoSliceInterpolation`.
        allow_missing_keys: of ``MapTransform``.
    """

    def __init__(
        self,
        keys: KeysCollection,
        image_key: Hashable = "image",
        label_keys: KeysCollection = "label",
        enabled: bool = True,
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.image_key = image_key
        self.label_keys = {label_keys} if isinstance(label_keys, str) else set(label_keys)
        self.undo = UndoSliceInterpolation(enabled)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        d = dict(data)
        found, grid = self.undo.find(d[self.image_key]), d[self.image_key].shape[1:]
        for key in self.key_iterator(d):
            if d[key].shape[1:] != grid:
                raise InputError(
                    f"{key} and {self.image_key} are not on one grid", got=tuple(d[key].shape), wanted=tuple(grid)
                )
            d[key] = self.undo(d[key], label=key in self.label_keys, found=found)
        return d

    def inverse(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        d = dict(data)
        for key in self.key_iterator(d):
            d[key] = self.undo.inverse(d[key])
        return d


UndoSliceInterpolationD = UndoSliceInterpolationDict = UndoSliceInterpolationd


def file_slices(scan: torch.Tensor) -> list[int] | None:
    """For each slice of the file the number of the slice in ``scan`` that answers for it.

    Args:
        scan: after :class:`UndoSliceInterpolation`; None comes back for a tensor that never went through it.
    """
    return _recorded(scan, "slices")


def slices_in_file(scan: torch.Tensor) -> list[int] | None:
    """For each slice of ``scan`` the number of the file's slice nearest to it; else as :func:`file_slices`."""
    return _recorded(scan, "in_file")


def _recorded(scan: torch.Tensor, name: str) -> list[int] | None:
    for operation in reversed(getattr(scan, "applied_operations", [])):
        if isinstance(operation, Mapping) and operation.get("class") == UndoSliceInterpolation.__name__:
            return [int(k) for k in operation["extra_info"][name]]
    return None


class _Fit:
    """Residuals of a stretch of slices, from its Gram matrix: voxels are looked at once."""

    def __init__(self, columns: np.ndarray, rows: range) -> None:
        self.total, self.rows = len(columns), rows
        part = columns[rows.start : rows.stop]
        centred = part - part.mean(axis=0)  # constants are interpolated exactly
        self.gram = centred @ centred.T
        self.trace = float(np.trace(self.gram))

    def residual(self, ratio: float, anchor: str) -> float:
        """Root mean square of what interpolation with ``ratio`` leaves, by degree of freedom, of all differences."""
        return self._left_of(_positions(self.total, ratio, anchor)[self.rows.start : self.rows.stop])

    def refine(self, ratio: float, reach: float, anchor: str) -> tuple[float, float]:
        """Residual and ratio of the best fit within ``reach`` of ``ratio``."""
        tried = ratio + np.linspace(-reach, reach, 17)
        return min((self.residual(float(value), anchor), float(value)) for value in tried)

    def is_coarser(self, ratio: float, anchor: str, level: float) -> bool:
        """Whether slices a multiple of ``ratio`` apart explain the scan as well: only each second one, say, is real."""
        places = _positions(self.total, ratio, anchor)[self.rows.start : self.rows.stop]
        return any(
            self._left_of((places - phase) / times + 1) < level for times in range(2, 7) for phase in range(times)
        )

    def _left_of(self, places: np.ndarray) -> float:
        weights = _weights(places)
        basis, _ = np.linalg.qr(weights[:, weights.any(axis=0)])
        free = len(self.rows) - basis.shape[1]
        if free < 2 or not self.trace:
            return math.inf
        left = self.trace - float(np.sum((self.gram @ basis) * basis))
        return math.sqrt(max(left, 0.0) / free * len(self.rows) / self.trace)


def _ratios(count: int) -> np.ndarray:
    """Ratios such that the grid of the nearest one drifts by less than ``_DRIFT`` over ``count`` slices."""
    slowest, fastest = 1 / _RATIOS[0], 1 / _RATIOS[1]
    return 1 / np.linspace(slowest, fastest, max(2, math.ceil((slowest - fastest) * count / (2 * _DRIFT))))


def _top(count: int, ratio: float, anchor: str) -> int:
    """Number of the scanner's last slice."""
    if anchor == "centres":
        return max(1, round(count / ratio) - 1)
    return max(1, math.ceil((count - 1) / ratio - _LEAST_SHARE))


def _shift(count: int, ratio: float, anchor: str) -> float:
    """Place of the file's first slice, if nothing were cut off at the ends."""
    if anchor == "centres":
        return 0.5 / ratio - 0.5
    return _top(count, ratio, anchor) - (count - 1) / ratio if anchor == "last" else 0.0


def _positions(count: int, ratio: float, anchor: str) -> np.ndarray:
    places = np.arange(count) / ratio + _shift(count, ratio, anchor)
    return np.clip(places, 0.0, _top(count, ratio, anchor))


def _weights(positions: np.ndarray) -> np.ndarray:
    """Linear interpolation: ``(slices of the file, slices of the scanner)``."""
    count = max(2, round(float(positions.max()) + 0.5 - 1e-9) + 1)
    left = np.minimum(np.floor(positions + 1e-9).astype(int), count - 2)
    weights = np.zeros((len(positions), count))
    rows = np.arange(len(positions))
    weights[rows, left] = 1 - (positions - left)
    weights[rows, left + 1] = positions - left
    return weights


def _columns(scan: torch.Tensor) -> np.ndarray:
    """``(D, voxels)``: at most some ``_COLUMNS`` of each slice, evenly from the whole of it."""
    step = max(1, math.ceil(math.sqrt(scan[..., 0].numel() / _COLUMNS)))
    part = scan[:, ::step, ::step].cpu().to(torch.float64)
    return np.ascontiguousarray(part.reshape(-1, part.shape[-1]).T.numpy())


def _solve(scan: torch.Tensor, found: SliceInterpolation) -> torch.Tensor:
    inverse = torch.from_numpy(np.linalg.pinv(found.matrix)).to(scan.device, torch.float32)
    values = scan.float()
    return (values @ inverse.T).clamp_(float(values.min()), float(values.max()))


def _nearest_slices(label: torch.Tensor, found: SliceInterpolation) -> torch.Tensor:
    return label[..., torch.from_numpy(found.in_file).to(label.device)]
