"""Bring every scan's axial slices to one square field of view, centred on the body, and back."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import InvertibleTransform, MapTransform

from ..utils import InputError
from .body import BodyBox, body_box
from .resample_matrix import resample_matrix, resample_plane

__all__ = [
    "NormalizeFieldOfView",
    "NormalizeFieldOfViewD",
    "NormalizeFieldOfViewDict",
    "NormalizeFieldOfViewd",
]

_FITS = ("fixed", "body")


class NormalizeFieldOfView(InvertibleTransform):
    """Crop, pad and resample in plane: ``(C, H, W, D)`` -> ``(C, size, size, D)``, ``fov_mm`` wide and high.

    Axes 1 and 2 have to be the axial plane and axis 3 the slices (``Orientationd(axcodes="PLS")``); slices
    are kept as they are. The frame is centred on the in-plane box of the body (see ``body_box``; the table
    does not count), one centre for the whole volume. Images are interpolated linearly with antialiasing,
    masks by the largest area share. ``inverse`` puts float maps (linear) or integer masks (nearest) back on
    the grid before the transform, and fills what lay outside of the frame.

    Args:
        size: rows and columns of the result.
        fov_mm: side of the frame in mm; None with ``fit="body"``.
        fit: ``"fixed"`` takes ``fov_mm`` as it is, so that organs keep their size in mm; ``"body"`` scales
            every scan so that the longer side of the body's box fills the frame but for ``margin``.
        margin: share of the body's extent left free in all with ``fit="body"``.
        fill_value: intensity outside of the scan (air is -1 after ``ScaleScanIntensity``).
        inverse_fill_value: value outside of the frame after ``inverse``.
        body_threshold: the body is above it; None chooses it by the range of the values.

    Raises:
        InputError: an argument is out of range, the scan has no body or is not a 3-D volume.
    """

    def __init__(
        self,
        size: int = 128,
        fov_mm: float | None = 352.0,
        fit: str = "fixed",
        margin: float = 0.05,
        fill_value: float = -1.0,
        inverse_fill_value: float = 0.0,
        body_threshold: float | None = None,
    ) -> None:
        if int(size) < 2:
            raise InputError("option size", got=size, wanted="at least 2 pixels, e.g. 64 or 128")
        if fit not in _FITS:
            raise InputError("option fit", got=repr(fit), wanted='"fixed" or "body"')
        if fit == "fixed" and not (fov_mm and fov_mm > 0):
            raise InputError("option fov_mm", got=fov_mm, wanted="millimetres above 0, e.g. 352")
        self.size, self.fov_mm, self.fit, self.margin = int(size), fov_mm, fit, float(margin)
        self.fill_value, self.inverse_fill_value = float(fill_value), float(inverse_fill_value)
        self.body_threshold = body_threshold

    def __call__(self, img: torch.Tensor, label: bool = False, frame: Mapping[str, Any] | None = None) -> torch.Tensor:
        """Bring ``img`` (C, H, W, D) to the frame.

        Args:
            img: a scan, or a mask of whole numbers when ``label`` is true.
            label: interpolate as a mask; the data type is kept, outside is 0.
            frame: from :meth:`find_frame` of the scan; None finds it in ``img`` itself.
        """
        frame = self.find_frame(img) if frame is None else frame
        plain = img.as_tensor() if isinstance(img, MetaTensor) else torch.as_tensor(img)
        rows, columns = self._matrices(plain.shape[1:3], frame, "area" if label else "linear")
        if label:
            out = _resample_label(plain, rows, columns).to(plain.device)
        else:
            out = resample_plane(plain, rows, columns, self.fill_value)
        if not isinstance(img, MetaTensor):
            return out
        result = MetaTensor(out).copy_meta_from(img)
        extra = {
            "centre": [float(v) for v in frame["centre"]],
            "ratio": [float(v) for v in frame["ratio"]],
            "size": self.size,
            "mode": "nearest" if label else "bilinear",
            "original_affine": img.affine.clone(),
        }
        affine = np.eye(4)
        for axis in (0, 1):
            affine[axis, axis] = frame["ratio"][axis]
            affine[axis, 3] = frame["centre"][axis] - (self.size - 1) / 2 * frame["ratio"][axis]
        self.push_transform(result, orig_size=tuple(img.shape[1:]), extra_info=extra, affine=torch.from_numpy(affine))
        return result

    def inverse(self, data: torch.Tensor) -> torch.Tensor:
        """Put ``(C, size, size, D)`` back on the grid that the recorded forward call started from."""
        info = self.pop_transform(data)
        extra = info["extra_info"]
        frame = {"centre": [float(v) for v in extra["centre"]], "ratio": [float(v) for v in extra["ratio"]]}
        original = tuple(int(n) for n in info["orig_size"])
        nearest = "nearest" in str(extra["mode"]) or not data.is_floating_point()
        matrices = []
        for axis in (0, 1):
            ratio = frame["ratio"][axis]
            positions = (torch.arange(original[axis]) - frame["centre"][axis]) / ratio + (int(extra["size"]) - 1) / 2
            kind = "nearest" if nearest else "linear"
            matrices.append(resample_matrix(data.shape[1 + axis], positions, 1 / ratio, kind))
        plain = data.as_tensor() if isinstance(data, MetaTensor) else data
        out = resample_plane(plain, *matrices, fill=self.inverse_fill_value).to(plain.dtype)
        if not isinstance(data, MetaTensor):
            return out
        result = MetaTensor(out).copy_meta_from(data)
        result.affine = torch.as_tensor(extra["original_affine"], dtype=torch.float64).reshape(4, 4)
        return result

    def find_frame(self, img: torch.Tensor) -> dict[str, list[float]]:
        """Frame of a scan ``(1, H, W, D)``: ``centre`` in voxels and ``ratio`` in voxels a pixel, by axis."""
        where = f"scan {img.meta.get('filename_or_obj', '')}" if isinstance(img, MetaTensor) else "scan"
        if img.ndim != 4:
            raise InputError(
                f"{where}: not a volume for the field of view",
                got=f"shape {tuple(img.shape)}",
                wanted="(1, H, W, D)",
            )
        spacing = _in_plane_spacing(img)
        box = body_box(img[0], spacing, self.body_threshold)
        if box is None:
            raise InputError(
                f"{where}: no body found",
                got=f"values from {float(img.min()):g} to {float(img.max()):g}",
                wanted="a body brighter than the air around it, at least 3 cm wide",
                fix="look at the scan; check that its modality was told right (option modality)",
            )
        fov = self._fov(box, spacing)
        return {"centre": list(box.centre), "ratio": [fov / self.size / s for s in spacing]}

    def _fov(self, box: BodyBox, spacing: tuple[float, float]) -> float:
        if self.fit == "fixed":
            return float(self.fov_mm)
        return max(e * s for e, s in zip(box.extent, spacing, strict=True)) * (1 + self.margin)

    def _matrices(self, shape: torch.Size, frame: Mapping[str, Any], kind: str) -> list[torch.Tensor]:
        offsets = torch.arange(self.size, dtype=torch.float64) - (self.size - 1) / 2
        return [
            resample_matrix(
                shape[axis],
                frame["centre"][axis] + offsets * frame["ratio"][axis],
                frame["ratio"][axis],
                kind,
            )
            for axis in (0, 1)
        ]


class NormalizeFieldOfViewd(MapTransform, InvertibleTransform):
    """Dictionary form of :class:`NormalizeFieldOfView`: one frame, found in ``image_key``, for all ``keys``.

    Args:
        keys: scans and masks on one grid.
        image_key: the scan in which the body is looked for; it has to be in the data.
        label_keys: which of ``keys`` are masks.
        kwargs: arguments of :class:`NormalizeFieldOfView`.
    """

    def __init__(
        self,
        keys: KeysCollection,
        size: int = 128,
        fov_mm: float | None = 352.0,
        fit: str = "fixed",
        image_key: Hashable = "image",
        label_keys: KeysCollection = "label",
        allow_missing_keys: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.image_key = image_key
        self.label_keys = {label_keys} if isinstance(label_keys, str) else set(label_keys)
        self.normalize = NormalizeFieldOfView(size, fov_mm, fit, **kwargs)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        d = dict(data)
        frame = self.normalize.find_frame(d[self.image_key])
        grid = d[self.image_key].shape[1:]
        for key in self.key_iterator(d):
            if d[key].shape[1:] != grid:
                raise InputError(
                    f"{key} and {self.image_key} are not on one grid",
                    got=tuple(d[key].shape),
                    wanted=tuple(grid),
                )
            d[key] = self.normalize(d[key], label=key in self.label_keys, frame=frame)
        return d

    def inverse(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        d = dict(data)
        for key in self.key_iterator(d):
            d[key] = self.normalize.inverse(d[key])
        return d


def _resample_label(label: torch.Tensor, rows: torch.Tensor, columns: torch.Tensor) -> torch.Tensor:
    """The class with the largest share of each target voxel; classes are taken one by one to save memory."""
    shape = (label.shape[0], rows.shape[0], columns.shape[0], label.shape[3])
    label = label.cpu()
    out = torch.zeros(shape, dtype=label.dtype)
    inside = (rows.sum(dim=1)[:, None] * columns.sum(dim=1)[None])[None, :, :, None]
    taken = torch.zeros(out.shape)
    for value in torch.unique(label).tolist():
        if value == 0:
            continue
        member = label == value
        used = [torch.nonzero(member.any(dim=0).any(dim=1 - axis).any(dim=1)).flatten() for axis in (0, 1)]
        span = [slice(int(u[0]), int(u[-1]) + 1) for u in used]
        share = resample_plane(member[:, span[0], span[1]], rows[:, span[0]], columns[:, span[1]], 0.0)
        better = share > torch.clamp_min(taken, 0.0)
        out[better], taken[better] = value, share[better]
        inside = inside - share
    # What is left, and what lies beyond the scan, is background.
    background = inside + (1 - rows.sum(dim=1)[:, None] * columns.sum(dim=1)[None])[None, :, :, None]
    out[background >= taken] = 0
    return out


def _in_plane_spacing(img: torch.Tensor) -> tuple[float, float]:
    if not isinstance(img, MetaTensor):
        return 1.0, 1.0
    lengths = torch.linalg.vector_norm(torch.as_tensor(img.affine)[:3, :2].to(torch.float64), dim=0)
    return float(lengths[0]), float(lengths[1])


NormalizeFieldOfViewD = NormalizeFieldOfViewDict = NormalizeFieldOfViewd
