"""Load a scan or a mask from NIfTI or DICOM, and refuse what could not be segmented with a clear message."""

from __future__ import annotations

import gzip
import logging
import math
import os
from collections.abc import Callable, Hashable, Iterable, Mapping
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import MapTransform, Transform
from monai.utils import SpaceKeys

from ..utils import InputError
from .itk_volume import read_itk_volume
from .scan_size import check_scan_size

__all__ = ["LoadScan", "LoadScanD", "LoadScanDict", "LoadScand", "scan_name"]

logger = logging.getLogger(__name__)
NIFTI_SUFFIXES = (".nii", ".nii.gz")
ITK_SUFFIXES = (".mha", ".mhd", ".nrrd", ".dcm")
_BEST_COMPRESSION = 1100  # deflate gets no further than 1032 : 1
_VOXEL_MM = (0.001, 200.0)
_SMALLEST_SLOPE = 1e-12  # of scl_slope; a damaged one makes every value next to nothing, or to infinity
_CONVERT = "convert the scan again from its DICOM series, e.g. with dcm2niix, or leave this scan out"


def scan_name(path: str | os.PathLike) -> str:
    """Name of a scan: the file or folder name without its image endings, ``a/ct00.nii.gz`` -> ``ct00``."""
    name = Path(path).name
    for suffix in (*NIFTI_SUFFIXES[::-1], *ITK_SUFFIXES):
        if name.lower().endswith(suffix):
            return name[: -len(suffix)]
    return name


class LoadScan(Transform):
    """Load one volume as a ``MetaTensor`` of shape ``(1, H, W, D)`` in file order with its affine (RAS, mm).

    NIfTI files are read with nibabel; DICOM series folders and ``.mha``, ``.nrrd``, ``.dcm`` files with
    SimpleITK. Scans are float32 in scanner units (HU for CT, after the DICOM rescale); masks are uint8. A scan that
    its header makes larger than ``MONAI_SEMGAN_MAX_SCAN_GIB`` (4 by default) is refused before it is read.
    ``meta`` holds ``affine``, ``original_affine``, ``spatial_shape``, ``filename_or_obj``, ``name`` and, when
    the header says it (DICOM), ``modality`` as ``"ct"`` or ``"mr"``.

    Args:
        label: True to read a mask: values have to be whole numbers between 0 and 255.
        label_values: the values a mask may hold; None allows every whole number from 0 to 255.

    Raises:
        InputError: the file is missing, unreadable, truncated, fails its check sum, is too large, a colour or 4-D
            image, has voxels of no plausible size, holds NaN or infinite values, or one single value (scan); a mask
            holds fractions or values that are not known.
    """

    def __init__(self, label: bool = False, label_values: Iterable[int] | None = None) -> None:
        self.label = label
        self.label_values = None if label_values is None else sorted({0, *(int(v) for v in label_values)})

    def __call__(self, path: str | os.PathLike, series_uid: str | None = None) -> MetaTensor:
        path = Path(path)
        what = f"{'mask' if self.label else 'scan'} {path}"
        if not _is_there(path):
            raise InputError(
                f"{what} is missing",
                wanted="an existing file or DICOM folder",
                fix="correct the path or the datalist",
            )
        is_nifti = path.name.lower().endswith(NIFTI_SUFFIXES)
        if not (is_nifti or path.is_dir() or path.name.lower().endswith(ITK_SUFFIXES)):
            raise InputError(
                f"{what}: unknown kind of file",
                got=path.suffix or "no file ending",
                wanted=".nii.gz, .nii or a folder with one DICOM series",
                fix="convert the scan to NIfTI, e.g. with dcm2niix",
            )
        array, affine, modality = _read_nifti(path, what) if is_nifti else read_itk_volume(path, what, series_uid)
        array = _as_volume(array, what)
        _check_affine(affine, what)
        _check_voxel_size(affine, what)
        array = self._check_label(array, what) if self.label else _check_scan(array, what)
        meta = {
            "affine": torch.as_tensor(affine, dtype=torch.float64),
            "original_affine": np.array(affine, dtype=np.float64),
            "spatial_shape": np.array(array.shape),
            "filename_or_obj": str(path),
            "name": scan_name(path),
            "original_channel_dim": float("nan"),
            "space": SpaceKeys.RAS,
        }
        if modality:
            meta["modality"] = modality
        return MetaTensor(torch.from_numpy(array)[None], meta=meta)

    def _check_label(self, array: np.ndarray, what: str) -> np.ndarray:
        if not np.isfinite(array).all() or array.min() < 0 or array.max() > 255 or (array != np.rint(array)).any():
            raise InputError(
                f"{what}: not a mask",
                got=f"values from {array.min():g} to {array.max():g}, not all whole numbers in 0..255",
                wanted="whole numbers, 0 for background",
                fix="export the mask again without interpolation, or see whether an image was given as mask",
            )
        label = array.astype(np.uint8)
        if self.label_values is not None:
            unknown = sorted(set(np.unique(label).tolist()) - set(self.label_values))
            if unknown:
                raise InputError(
                    f"{what}: unknown label values",
                    got=unknown,
                    wanted=f"values among {self.label_values}",
                    fix="correct the mask, or add the values to label_values",
                )
        return label


class LoadScand(MapTransform):
    """Dictionary form of :class:`LoadScan`; masks are also held against the scan they belong to.

    Args:
        keys: keys with paths, e.g. ``("image", "label")``.
        label_keys: which of ``keys`` are masks.
        image_key: the scan that masks have to match in shape and position (half a voxel is tolerated).
        label_values: see :class:`LoadScan`.
        name_key, series_key: optional entries with the scan's name (kept in ``meta["name"]``) and with the
            UID of the DICOM series to take when a folder holds several.
        allow_missing_keys: do not raise when a key is missing, e.g. in scans without a mask.

    Raises:
        InputError: as :class:`LoadScan`, or the mask lies on another grid than its scan.
    """

    def __init__(
        self,
        keys: KeysCollection,
        label_keys: KeysCollection = "label",
        image_key: Hashable = "image",
        label_values: Iterable[int] | None = None,
        name_key: Hashable = "name",
        series_key: Hashable = "series_uid",
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.label_keys = {label_keys} if isinstance(label_keys, str) else set(label_keys)
        self.image_key, self.name_key, self.series_key = image_key, name_key, series_key
        self.load_image: Callable = LoadScan()
        self.load_label: Callable = LoadScan(label=True, label_values=label_values)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        d = dict(data)
        for key in self.key_iterator(d):
            if key in self.label_keys:
                d[key] = self.load_label(d[key])
            else:
                d[key] = self.load_image(d[key], d.get(self.series_key))
            if d.get(self.name_key):
                d[key].meta["name"] = str(d[self.name_key])
        image = d.get(self.image_key)
        for key in self.key_iterator(d):
            if key in self.label_keys and isinstance(image, MetaTensor):
                _check_same_grid(image, d[key])
                # One affine for both, so that later steps cannot part them by the tolerated rounding.
                d[key].affine = image.affine.clone()
                d[key].meta["original_affine"] = image.meta["original_affine"].copy()
        return d


def _read_nifti(path: Path, what: str) -> tuple[np.ndarray, np.ndarray, str | None]:
    try:
        image = nib.load(path)
        _check_promise(image, path, what)
        array = _read_compressed(image, path) if path.name.lower().endswith(".gz") else np.asanyarray(image.dataobj)
    except InputError:
        raise
    except Exception as error:  # nibabel, zlib and the file system raise many kinds for a broken file
        raise InputError(
            f"{what} cannot be read",
            got=f"{type(error).__name__}: {error}",
            wanted="a whole NIfTI file",
            fix="copy the file again (it may be cut off), or convert it again from DICOM",
        ) from error
    if int(image.header.get("sform_code", 1)) == 0 and int(image.header.get("qform_code", 1)) == 0:
        logger.warning("%s has no orientation in its header: left and right may be swapped.", what)
    return array, np.asarray(image.affine, dtype=np.float64), None


def _is_there(path: Path) -> bool:
    """Whether there is a file or folder; a pipe would keep its reader waiting for ever."""
    try:
        return path.is_file() or path.is_dir()
    except (OSError, ValueError):  # a name that no file can have
        return False


def _check_promise(image: Any, path: Path, what: str) -> None:
    """A header may promise more than fits into memory, or than the file can hold."""
    check_scan_size(image.shape, what)
    promised, held = math.prod(image.shape) * image.get_data_dtype().itemsize, path.stat().st_size
    if image.dataobj.offset < int(image.header["sizeof_hdr"]) + 4:
        raise ValueError("the data would begin inside of the header")  # nibabel takes 0 for an offset
    slope = float(getattr(image.dataobj, "slope", 1.0))
    if not _SMALLEST_SLOPE <= abs(slope) <= 1 / _SMALLEST_SLOPE:
        raise InputError(
            f"{what}: no plausible scale of its values", got=f"scl_slope {slope:g} in the header",
            wanted=f"a factor from {_SMALLEST_SLOPE:g} to {1 / _SMALLEST_SLOPE:g}",
            fix="the header is damaged: convert the scan again from its DICOM series, e.g. with dcm2niix",
        )  # fmt: skip
    if promised > held * (_BEST_COMPRESSION if path.name.lower().endswith(".gz") else 1):
        raise ValueError(f"{promised} bytes of data promised by a file of {held} bytes")


def _read_compressed(image: Any, path: Path) -> np.ndarray:
    """The data, once; reading on to the end of the file has its check sum looked at."""
    with gzip.open(path, "rb") as stream:
        holder = nib.FileHolder(fileobj=stream)
        array = np.asanyarray(type(image).from_file_map(dict.fromkeys(image.file_map, holder)).dataobj)
        behind = 0
        while chunk := stream.read(1 << 20):
            behind += len(chunk)
            if behind > max(1 << 28, array.nbytes):
                raise ValueError("more behind the data than data")
    return array


def _as_volume(array: np.ndarray, what: str) -> np.ndarray:
    """Bring the data to three axes and float32, or refuse it."""
    if array.dtype.fields is not None:
        raise InputError(f"{what}: a colour image", got=str(array.dtype), wanted="one grey value a voxel", fix=_CONVERT)
    while array.ndim > 3 and array.shape[-1] == 1:
        array = array[..., 0]
    if array.ndim == 2:
        array = array[..., None]
    if array.ndim != 3 or 0 in array.shape:
        raise InputError(
            f"{what}: not a single volume",
            got=f"{array.ndim}-D data of shape {array.shape}",
            wanted="a 3-D volume",
            fix="split a time series or multi-echo scan into single volumes and give one of them",
        )
    if array.dtype.kind == "c":
        raise InputError(f"{what}: complex values", got=str(array.dtype), wanted="magnitudes", fix=_CONVERT)
    with np.errstate(over="ignore", invalid="ignore"):  # what is beyond float32 becomes infinite, and is refused
        return np.ascontiguousarray(array, dtype=np.float32)


def _check_scan(array: np.ndarray, what: str) -> np.ndarray:
    bad = int(array.size - np.isfinite(array).sum())
    if bad:
        raise InputError(
            f"{what}: values that are not numbers",
            got=f"{bad} NaN or infinite voxels",
            wanted="numbers",
            fix=_CONVERT,
        )
    if array.min() == array.max():
        raise InputError(
            f"{what}: an empty scan",
            got=f"{array.min():g} in every voxel",
            wanted="a scan of a body",
            fix=_CONVERT,
        )
    return array


def _check_affine(affine: np.ndarray, what: str) -> None:
    if not np.isfinite(affine).all() or abs(np.linalg.det(affine[:3, :3])) < 1e-9:
        raise InputError(
            f"{what}: no usable voxel size or direction in the header",
            got=np.array2string(affine, precision=3, separator=",").replace("\n", ""),
            wanted="an invertible 4x4 matrix in mm",
            fix=_CONVERT,
        )


def _check_voxel_size(affine: np.ndarray, what: str) -> None:
    sizes = np.linalg.norm(affine[:3, :3], axis=0)
    if sizes.min() < _VOXEL_MM[0] or sizes.max() > _VOXEL_MM[1]:
        raise InputError(
            f"{what}: voxels of no plausible size",
            got=f"{' x '.join(f'{s:.3g}' for s in sizes)} mm",
            wanted=f"{_VOXEL_MM[0]} to {_VOXEL_MM[1]} mm along each axis",
            fix=_CONVERT,
        )


def _check_same_grid(image: MetaTensor, label: MetaTensor) -> None:
    what = f"mask {label.meta['filename_or_obj']} does not lie on its scan {image.meta['filename_or_obj']}"
    fix = "make the mask from this very scan, or resample it onto the scan (nearest neighbour)"
    if image.shape[1:] != label.shape[1:]:
        raise InputError(what, got=f"shape {tuple(label.shape[1:])}", wanted=f"{tuple(image.shape[1:])}", fix=fix)
    corners = np.stack(np.meshgrid(*[(0, n - 1) for n in image.shape[1:]], [1.0], indexing="ij"), -1).reshape(-1, 4)
    difference = (image.affine - label.affine).numpy()
    shift = float(np.linalg.norm(corners @ difference.T, axis=1).max())
    spacing = float(torch.linalg.vector_norm(image.affine[:3, :3], dim=0).min())
    if shift > 0.5 * spacing:
        raise InputError(what, got=f"a shift of {shift:.1f} mm", wanted=f"less than {0.5 * spacing:.1f} mm", fix=fix)


LoadScanD = LoadScanDict = LoadScand
