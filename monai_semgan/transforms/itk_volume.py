"""Read a DICOM series or an ITK file with SimpleITK, and refuse series with lost, mixed or shifted slices."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np

from ..utils import InputError
from .scan_size import check_scan_size

__all__ = ["read_itk_volume"]

_DICOM_MODALITY = "0008|0060"
_DICOM_POSITION = "0020|0032"
_DICOM_DIRECTION = "0020|0037"
_SAME_EVERYWHERE = {
    "size": "rows and columns", "components": "values a pixel", "spacing": "pixel size", "stored": "bits and sign",
}  # fmt: skip
_STORED = ("0028|0100", "0028|0101", "0028|0102", "0028|0103")
_SYNTAX = b"\x02\x00\x10\x00UI"
_UNCOMPRESSED = (b"1.2.840.10008.1.2", b"1.2.840.10008.1.2.1", b"1.2.840.10008.1.2.2")
_EXPORT = "export the whole series again from the PACS, without double slices and localisers"


def read_itk_volume(path: Path, what: str, series_uid: str | None) -> tuple[np.ndarray, np.ndarray, str | None]:
    """Read a folder with one DICOM series (or the one named by its UID), or one file that ITK knows.

    Args:
        path: the folder or file.
        what: how messages name it.
        series_uid: which series of the folder; None when it holds one only.

    Returns:
        The array ``(i, j, k)`` in file order (more axes for colour or time), the affine to RAS in mm, and
        ``"ct"``, ``"mr"`` or None.

    Raises:
        InputError: nothing readable, too large, no or several series, lost, uneven, shifted or mixed slices.
    """
    import SimpleITK

    try:
        if path.is_dir():
            image, first = _read_series(path, what, series_uid)
        else:
            check_scan_size(_information(path)["size"], what)
            image, first = SimpleITK.ReadImage(str(path)), path
        modality = _itk_modality(first)
        array = SimpleITK.GetArrayFromImage(image)
    except RuntimeError as error:
        raise InputError(
            f"{what} cannot be read",
            got=str(error).strip().splitlines()[-1],
            wanted="readable DICOM slices of one series",
            fix="export the series again from the PACS",
        ) from error
    if image.GetNumberOfComponentsPerPixel() > 1 or image.GetDimension() > 3:
        return array, np.eye(4), modality  # refused by the caller, with one message for all formats
    dimension = image.GetDimension()
    affine = np.eye(4)
    affine[:dimension, :dimension] = np.array(image.GetDirection()).reshape(dimension, dimension) * image.GetSpacing()
    affine[:dimension, 3] = image.GetOrigin()
    affine[:2] *= -1  # ITK's LPS -> RAS
    return np.ascontiguousarray(array.transpose()), affine, modality


def _read_series(path: Path, what: str, series_uid: str | None) -> tuple[Any, Path]:
    """Read one DICOM series of a folder with SimpleITK; returns the image and its first file."""
    import SimpleITK

    series = SimpleITK.ImageSeriesReader.GetGDCMSeriesIDs(str(path))
    if not series:
        raise InputError(
            f"{what}: no DICOM series in the folder",
            wanted="a folder with the slices of one series",
            fix="name the folder that holds the DICOM files themselves, or a NIfTI file",
        )
    if series_uid is None and len(series) > 1:
        raise InputError(
            f"{what}: more than one DICOM series in the folder",
            got=f"{len(series)} series: {', '.join(series)}",
            wanted="one series",
            fix="put each series into its own folder, or name one with series_uid",
        )
    if series_uid is not None and series_uid not in series:
        raise InputError(f"{what}: no such series", got=series_uid, wanted=f"one of {', '.join(series)}")
    files = SimpleITK.ImageSeriesReader.GetGDCMSeriesFileNames(str(path), series_uid or series[0])
    slices = [_information(file) for file in files]
    check_scan_size([*slices[0]["size"][:2], len(slices) * (slices[0]["size"][2:] or (1,))[0]], what)
    _check_alike(slices, what)
    if len(slices) > 1:
        _check_places(slices, what)
    reader = SimpleITK.ImageSeriesReader()
    reader.SetFileNames(files)
    if slices[0]["components"] == 1:
        # the first slice's type would be that of all: whole numbers, where others have a slope of their own
        reader.SetOutputPixelType(SimpleITK.sitkFloat32)
    return reader.Execute(), Path(files[0])


def _information(path: str | Path) -> dict[str, Any]:
    """What a file's header says, without its pixels."""
    import SimpleITK

    reader = SimpleITK.ImageFileReader()
    reader.SetFileName(str(path))
    reader.ReadImageInformation()
    tags = {key: reader.GetMetaData(key) for key in (_DICOM_POSITION, _DICOM_DIRECTION) if reader.HasMetaDataKey(key)}
    size = reader.GetSize()
    bits = reader.GetMetaData(_STORED[0]).strip() if reader.HasMetaDataKey(_STORED[0]) else ""
    promised = math.prod(size) * (int(bits) // 8 if bits.isdigit() else 1)
    if promised > Path(path).stat().st_size and _is_plain_dicom(path):  # the rest would be whatever memory holds
        raise RuntimeError(f"{promised} bytes of pixels promised by a file of {Path(path).stat().st_size} bytes")
    return {
        "size": size,
        "components": reader.GetNumberOfComponents(),
        "stored": tuple(reader.GetMetaData(key).strip() for key in _STORED if reader.HasMetaDataKey(key)),
        "spacing": tuple(round(v, 4) for v in reader.GetSpacing()[:2]),
        "position": _numbers(tags.get(_DICOM_POSITION, ""), 3),
        "direction": _numbers(tags.get(_DICOM_DIRECTION, ""), 6),
    }


def _is_plain_dicom(path: str | Path) -> bool:
    """Whether a file is DICOM that is not compressed, by its transfer syntax."""
    with Path(path).open("rb") as stream:
        head = stream.read(2048)
    at = head.find(_SYNTAX) + len(_SYNTAX)
    length = int.from_bytes(head[at : at + 2], "little")
    return head[128:132] == b"DICM" and head[at + 2 : at + 2 + length].rstrip(b"\0 ") in _UNCOMPRESSED


def _numbers(text: str, count: int) -> np.ndarray | None:
    try:
        numbers = np.array(text.split("\\"), dtype=float)
    except ValueError:
        return None
    return numbers if numbers.shape == (count,) and np.isfinite(numbers).all() else None


def _check_alike(slices: list[dict[str, Any]], what: str) -> None:
    for key, words in _SAME_EVERYWHERE.items():
        different = sorted({str(one[key]) for one in slices})
        if len(different) > 1:
            raise InputError(
                f"{what}: slices of different kinds", got=f"{words} {', '.join(different[:4])}",
                wanted="one kind", fix=_EXPORT,
            )  # fmt: skip


def _check_places(slices: list[dict[str, Any]], what: str) -> None:
    """A lost or shifted slice would move all that lies above it: ITK stacks slices as if they were even."""
    if any(one["position"] is None or one["direction"] is None for one in slices):
        raise InputError(
            f"{what}: slices without a position", got="no usable Image Position or Orientation (Patient)",
            wanted="both in every slice", fix=_EXPORT,
        )  # fmt: skip
    direction = slices[0]["direction"]
    if max(np.abs(one["direction"] - direction).max() for one in slices) > 1e-3:
        raise InputError(f"{what}: slices of different directions", wanted="one direction", fix=_EXPORT)
    normal = np.cross(direction[:3], direction[3:])
    places = np.array([one["position"] for one in slices])
    heights = places @ normal
    gaps = np.abs(np.diff(heights))
    middle = float(np.median(gaps))
    if middle < 1e-3 or gaps.max() > 1.2 * middle or gaps.min() < 0.8 * middle:
        raise InputError(
            f"{what}: slices are missing or unevenly spaced",
            got=f"{len(slices)} slices, distances from {gaps.min():.2f} to {gaps.max():.2f} mm",
            wanted=f"one distance ({middle:.2f} mm)",
            fix=_EXPORT,
        )
    # a slice may lie straight above the one below, or the gantry was tilted
    aside = np.linalg.norm(np.diff(places - np.outer(heights, normal), axis=0), axis=1)
    if aside.max() > 0.02 * middle + 0.01:
        raise InputError(
            f"{what}: each slice is shifted against the one below (gantry tilt)", got=f"up to {aside.max():.2f} mm",
            wanted="slices straight above each other", fix="correct the tilt first: dcm2niix does when it converts",
        )  # fmt: skip


def _itk_modality(path: Path) -> str | None:
    import SimpleITK

    reader = SimpleITK.ImageFileReader()
    reader.SetFileName(str(path))
    reader.ReadImageInformation()
    value = reader.GetMetaData(_DICOM_MODALITY).strip().lower() if reader.HasMetaDataKey(_DICOM_MODALITY) else ""
    return value if value in ("ct", "mr") else None
