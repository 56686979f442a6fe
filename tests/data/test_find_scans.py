"""Scans below a folder."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import SimpleITK

from monai_semgan.data import find_scans
from monai_semgan.transforms import LoadScand
from monai_semgan.utils import InputError


def _touch(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"")


def _dicom(folder: Path, uid: str, value: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    writer = SimpleITK.ImageFileWriter()
    writer.KeepOriginalImageUIDOn()
    for k in range(3):
        plane = SimpleITK.GetImageFromArray(np.full((1, 4, 5), value + k, np.int16))
        for key, text in {
            "0008|0060": "MR",
            "0008|0018": f"{uid}.{k + 1}",
            "0020|000d": "1.2.9",
            "0020|000e": uid,
            "0020|0032": f"0\\0\\{k}",
            "0020|0037": "1\\0\\0\\0\\1\\0",
            "0020|0013": str(k),
        }.items():
            plane.SetMetaData(key, text)
        writer.SetFileName(str(folder / f"{uid}.{k}.dcm"))
        writer.Execute(plane)
        Path(folder / f"{uid}.{k}.dcm").rename(folder / f"{uid}.{k}")  # many archives drop the ending


def test_nifti_files_without_masks_and_hidden_ones(tmp_path: Path) -> None:
    for name in (
        "b.nii.gz",
        "a.nii",
        "deep/er/c.nii.gz",
        "labels/b.nii.gz",
        "x/labels/c.nii",
        ".h/d.nii",
        "note.txt",
    ):
        _touch(tmp_path / name)
    scans = find_scans(tmp_path)
    assert [scan["name"] for scan in scans] == ["a", "b", "c"]
    assert [Path(scan["image"]).name for scan in scans] == ["a.nii", "b.nii.gz", "c.nii.gz"]


def test_names_are_unique(tmp_path: Path) -> None:
    for name in ("p1/ct.nii.gz", "p2/ct.nii.gz", "p2/ct.nii", "p3/mr.nii.gz"):
        _touch(tmp_path / name)
    names = [scan["name"] for scan in find_scans(tmp_path)]
    assert len(set(names)) == 4
    assert {"p1_ct", "p2_ct", "mr"} <= set(names)


def test_single_file(tmp_path: Path) -> None:
    _touch(tmp_path / "a.nii.gz")
    assert find_scans(tmp_path / "a.nii.gz") == [{"image": str(tmp_path / "a.nii.gz"), "name": "a"}]


def test_every_dicom_series_is_a_scan_that_loads(tmp_path: Path) -> None:
    _dicom(tmp_path / "p1", "1.2.3", 10)
    _dicom(tmp_path / "p2", "1.2.4", 20)
    _dicom(tmp_path / "p2", "1.2.5", 30)
    scans = find_scans(tmp_path)
    assert [scan["name"] for scan in scans] == ["p1", "p2_series1", "p2_series2"]
    images = [LoadScand("image")(scan)["image"] for scan in scans]
    assert sorted(float(image.min()) for image in images) == [10, 20, 30]
    assert images[1].meta["name"] == "p2_series1"


def test_nothing_to_find(tmp_path: Path) -> None:
    _touch(tmp_path / "labels" / "a.nii.gz")
    _touch(tmp_path / "note.txt")
    with pytest.raises(InputError, match="no scans below"):
        find_scans(tmp_path)
    with pytest.raises(InputError, match="is missing"):
        find_scans(tmp_path / "no")
    with pytest.raises(InputError, match="is not a scan"):
        find_scans(tmp_path / "note.txt")


def test_a_damaged_series_is_not_lost_without_a_word(tmp_path: Path) -> None:
    (tmp_path / "p1").mkdir()
    (tmp_path / "p1" / "a.dcm").write_bytes(b"\0" * 128 + b"DICM" + b"junk")
    (scan,) = find_scans(tmp_path)
    assert scan["name"] == "p1"
    with pytest.raises(InputError, match="no DICOM series"):
        LoadScand("image")(scan)
