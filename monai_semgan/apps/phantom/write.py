"""Write phantom scans as NIfTI and as DICOM series."""

from __future__ import annotations

import shutil
import uuid
from pathlib import Path

import nibabel as nib
import numpy as np

from ...utils import atomic_path
from .scan import PhantomScan

__all__ = ["write_dicom_series", "write_nifti"]


def write_nifti(scan: PhantomScan, image_path: Path, label_path: Path) -> None:
    """Write image (int16) and mask (uint8) with the same affine, each atomically; the mask comes last."""
    for array, path in ((scan.image, image_path), (scan.label, label_path)):
        picture = nib.Nifti1Image(array, scan.affine)
        picture.header.set_xyzt_units("mm")
        picture.set_qform(scan.affine, code=1)
        picture.set_sform(scan.affine, code=1)
        with atomic_path(path) as temporary:
            nib.save(picture, temporary)


def write_dicom_series(scan: PhantomScan, folder: Path, name: str, description: str) -> None:
    """Write one axial DICOM series, one file a slice, into ``folder``, which appears once it is complete.

    Args:
        scan: what to write. CT numbers are stored with RescaleIntercept -1024.
        folder: of the series; replaced if it exists.
        name: of the subject, stored as PatientName and PatientID.
        description: SeriesDescription; with the name it determines the UIDs.
    """
    import SimpleITK as sitk  # noqa: N813

    folder = Path(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = folder.parent / f".tmp-{uuid.uuid4().hex[:12]}"
    temporary.mkdir()
    intercept = -1024 if scan.modality == "CT" else 0
    stored = scan.image.astype(np.int32) - intercept
    # DICOM's axes are LPS; turning the second axis makes the rows run from front to back.
    stored = stored[:, ::-1]
    spacing = np.abs(np.diag(scan.affine)[:3])
    origin = np.array(
        [-scan.affine[0, 3], -(scan.affine[1, 3] + spacing[1] * (stored.shape[1] - 1)), scan.affine[2, 3]]
    )
    series, study, frame = (_uid(f"{name}/{description}/{part}") for part in ("series", "study", "frame"))
    common = {
        "0008|0060": scan.modality,
        "0008|0016": "1.2.840.10008.5.1.4.1.1.2" if scan.modality == "CT" else "1.2.840.10008.5.1.4.1.1.4",
        "0008|0008": "DERIVED\\SECONDARY\\AXIAL",
        "0008|0020": "20000101",
        "0008|0030": "120000",
        "0008|103e": description,
        "0010|0010": name,
        "0010|0020": name,
        "0018|5100": "HFS",
        "0018|0050": f"{spacing[2]:.6f}",
        "0018|0088": f"{spacing[2]:.6f}",
        "0020|000d": study,
        "0020|000e": series,
        "0020|0052": frame,
        "0020|0011": "1",
        "0020|0037": "1\\0\\0\\0\\1\\0",
    }
    if scan.modality == "CT":
        common |= {"0028|1052": str(intercept), "0028|1053": "1", "0028|1054": "HU"}
    writer = sitk.ImageFileWriter()
    writer.KeepOriginalImageUIDOn()
    try:
        for k in range(stored.shape[2]):
            picture = sitk.GetImageFromArray(np.ascontiguousarray(stored[:, :, k].T[None]).astype(np.int16) + 0)
            picture.SetSpacing([float(s) for s in spacing])
            position = origin + (0, 0, k * spacing[2])
            picture.SetOrigin([float(p) for p in position])
            tags = common | {
                "0008|0018": _uid(f"{name}/{description}/{k}"),
                "0020|0013": str(k + 1),
                "0020|0032": "\\".join(f"{p:.6f}" for p in position),
                "0020|1041": f"{position[2]:.6f}",
            }
            for tag, value in tags.items():
                picture.SetMetaData(tag, value)
            if intercept:
                # The writer subtracts the intercept itself: hand it Hounsfield units.
                picture = _copy_with_meta(picture, sitk.Cast(picture + intercept, sitk.sitkInt16))
            writer.SetFileName(str(temporary / f"{k + 1:04d}.dcm"))
            writer.Execute(picture)
        shutil.rmtree(folder, ignore_errors=True)
        temporary.rename(folder)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def _copy_with_meta(source, target):
    for key in source.GetMetaDataKeys():
        target.SetMetaData(key, source.GetMetaData(key))
    return target


def _uid(text: str) -> str:
    """A DICOM UID that depends on ``text`` alone (root 2.25: a UUID as a number)."""
    return f"2.25.{uuid.uuid5(uuid.NAMESPACE_URL, 'monai-semgan-phantom/' + text).int}"
