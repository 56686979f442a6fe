"""Read a DICOM series or an ITK file with SimpleITK, and refuse series with lost slices."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from ..utils import InputError

__all__ = ["read_itk_volume"]

_DICOM_MODALITY = "0008|0060"
_DICOM_POSITION = "0020|0032"


def read_itk_volume(
    path: Path, what: str, series_uid: str | None
) -> tuple[np.ndarray, np.ndarray, str | None]:
    """Read a folder with one DICOM series (or the one named by its UID), or one file that ITK knows.

    Args:
        path: the folder or file.
        what: how messages name it.
        series_uid: which series of the folder; None when it holds one only.

    Returns:
        The array ``(i, j, k)`` in file order (more axes for colour or time), the affine to RAS in mm, and
        ``"ct"``, ``"mr"`` or None.

    Raises:
        InputError: nothing readable, no or several series, lost or uneven slices.
    """
    import SimpleITK

    try:
        if path.is_dir():
            image, first = _read_series(path, what, series_uid)
        else:
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
    affine[:dimension, :dimension] = (
        np.array(image.GetDirection()).reshape(dimension, dimension) * image.GetSpacing()
    )
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
    reader = SimpleITK.ImageSeriesReader()
    reader.SetFileNames(files)
    reader.MetaDataDictionaryArrayUpdateOn()
    image = reader.Execute()
    _check_slice_gaps(reader, image, len(files), what)
    return image, Path(files[0])


def _check_slice_gaps(reader: Any, image: Any, count: int, what: str) -> None:
    """A lost slice would shift all that lies above it: the volume is put together as if slices were even."""
    if count < 3 or not all(reader.HasMetaDataKey(k, _DICOM_POSITION) for k in range(count)):
        return
    normal = np.array(image.GetDirection()).reshape(3, 3)[:, 2]
    places = [
        np.array(reader.GetMetaData(k, _DICOM_POSITION).split("\\"), dtype=float) @ normal
        for k in range(count)
    ]
    gaps = np.abs(np.diff(places))
    if gaps.max() > 1.2 * np.median(gaps) or gaps.min() < 0.8 * np.median(gaps):
        raise InputError(
            f"{what}: slices are missing or unevenly spaced",
            got=f"{count} slices, distances from {gaps.min():.2f} to {gaps.max():.2f} mm",
            wanted=f"one distance ({np.median(gaps):.2f} mm)",
            fix="export the whole series again from the PACS, without double slices and localisers",
        )


def _itk_modality(path: Path) -> str | None:
    import SimpleITK

    reader = SimpleITK.ImageFileReader()
    reader.SetFileName(str(path))
    reader.ReadImageInformation()
    value = (
        reader.GetMetaData(_DICOM_MODALITY).strip().lower() if reader.HasMetaDataKey(_DICOM_MODALITY) else ""
    )
    return value if value in ("ct", "mr") else None
