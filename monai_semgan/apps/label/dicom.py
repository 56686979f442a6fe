"""DICOM series in a studies folder: taken in with MONAI Label's own conversion, answered as DICOM SEG if asked."""

from __future__ import annotations

import json
import logging
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from monailabel.datastore.utils.convert import dicom_to_nifti, nifti_to_dicom_seg

from ...data import find_scans
from ...utils import InputError, write_json_atomic
from ...utils.names import safe_name

__all__ = ["import_dicom_series", "series_of", "to_dicom_seg"]

logger = logging.getLogger(__name__)
SOURCES = "dicom_sources.json"


def import_dicom_series(studies: Path, app_dir: Path) -> dict[str, str]:
    """Convert series in folders below ``studies`` to ``studies/NAME.nii.gz``, those that are not there yet.

    Returns:
        Name of the image to the folder of its series; kept in ``app_dir/dicom_sources.json``. A series that cannot be
        converted is logged and left out.
    """
    sources = series_of(app_dir)
    try:
        found = [scan for scan in find_scans(studies) if os.path.isdir(scan["image"])]
    except InputError:  # an empty folder: images can be uploaded later
        return sources
    for scan in found:
        name = safe_name(scan["name"])
        target = studies / f"{name}.nii.gz"
        if target.exists() or app_dir.resolve() in Path(scan["image"]).resolve().parents:
            continue
        try:
            os.replace(_converted(scan, studies), target)
            sources[name] = scan["image"]
        except Exception as error:  # GDCM, SimpleITK and the file system raise many kinds
            logger.warning("DICOM series %s is left out: %s", scan["image"], error)
    write_json_atomic(app_dir / SOURCES, sources)
    return sources


def series_of(app_dir: Path) -> dict[str, str]:
    """Images that were made of DICOM series, and the folders of these."""
    path = app_dir / SOURCES
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


def to_dicom_seg(mask: str | Path, series: str | Path, colours: Mapping[str, Any], labels: Mapping[str, int]) -> str:
    """A mask on the grid of a series as a DICOM segmentation object; returns its path.

    Raises:
        InputError: the mask is empty, which DICOM SEG cannot hold.
    """
    present = set(np.unique(np.asanyarray(nib.load(mask).dataobj)).tolist())
    infos = [
        {"name": name, "description": name, "color": colours.get(name, (255, 0, 0)), "model_name": "monai-semgan"}
        for name, value in sorted(labels.items(), key=lambda item: item[1])
        if value in present
    ]
    if not infos:
        raise InputError(
            "the mask is empty", wanted="an organ in it: DICOM SEG has no empty segments", fix="ask for NIfTI"
        )
    made = str(nifti_to_dicom_seg(str(series), str(mask), infos, use_itk=False))
    _put_into_frame_of(Path(series), Path(made))
    return made


def _put_into_frame_of(series: Path, segmentation: Path) -> None:
    """Say that both lie in one coordinate system: the conversion makes up a frame of its own."""
    import pydicom

    source = next(pydicom.dcmread(path, stop_before_pixels=True) for path in sorted(series.iterdir()) if path.is_file())
    found = pydicom.dcmread(segmentation)
    if "FrameOfReferenceUID" in source:
        found.FrameOfReferenceUID = source.FrameOfReferenceUID
        found.save_as(segmentation)


def _converted(scan: Mapping[str, str], folder: Path) -> Path:
    """NIfTI file of one series, on the file system of ``folder``."""
    with tempfile.TemporaryDirectory(dir=folder, prefix=".dicom-") as own:
        source = scan["image"]
        if "series_uid" in scan:  # several series in one folder: MONAI Label's conversion takes the first
            import SimpleITK

            for path in SimpleITK.ImageSeriesReader.GetGDCMSeriesFileNames(source, scan["series_uid"]):
                os.symlink(os.path.abspath(path), os.path.join(own, os.path.basename(path)))
            source = own
        made = Path(dicom_to_nifti(source))
    if made.parent == folder:
        return made
    target = folder / f".{made.name}"
    with made.open("rb") as read, target.open("wb") as write:
        write.write(read.read())
    made.unlink()
    return target
