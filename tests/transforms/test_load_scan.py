"""Loading: what is good comes through unchanged, what is not is refused in plain words."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK
import torch

from monai_semgan.transforms import LoadScan, LoadScand, scan_name
from monai_semgan.utils import InputError


def _save(path: Path, array: np.ndarray, affine: np.ndarray | None = None) -> str:
    nib.save(nib.Nifti1Image(array, np.diag([-2.0, 3.0, 4.0, 1.0]) if affine is None else affine), path)
    return str(path)


def _scan(shape=(6, 5, 4)) -> np.ndarray:
    return np.arange(np.prod(shape), dtype=np.int16).reshape(shape)


def test_nifti_keeps_values_and_affine(tmp_path: Path) -> None:
    out = LoadScan()(_save(tmp_path / "ct00.nii.gz", _scan()))
    assert out.shape == (1, 6, 5, 4)
    assert out.dtype == torch.float32
    np.testing.assert_array_equal(out[0].numpy(), _scan())
    np.testing.assert_array_equal(out.affine.numpy(), np.diag([-2.0, 3, 4, 1]))
    assert out.meta["name"] == "ct00"
    assert "modality" not in out.meta


def test_flat_and_one_more_axis_of_length_one(tmp_path: Path) -> None:
    assert LoadScan()(_save(tmp_path / "a.nii", _scan()[..., 0])).shape == (1, 6, 5, 1)
    assert LoadScan()(_save(tmp_path / "b.nii", _scan()[..., None])).shape == (1, 6, 5, 4)


@pytest.mark.parametrize(
    ("array", "words"),
    [
        (np.zeros((3, 3, 3, 2), np.float32), "not a single volume"),
        (np.full((3, 3, 3), 5, np.float32), "an empty scan"),
        (np.array([[[1.0, np.nan]]]), "1 NaN or infinite"),
        (np.array([[[1.0, np.inf, -np.inf]]]), "2 NaN or infinite"),
    ],
)
def test_unusable_scans(tmp_path: Path, array: np.ndarray, words: str) -> None:
    with pytest.raises(InputError, match=words) as caught:
        LoadScan()(_save(tmp_path / "bad.nii.gz", array))
    assert "bad.nii.gz" in str(caught.value)
    assert "What to do" in str(caught.value)


def test_colour(tmp_path: Path) -> None:
    colour = np.zeros((3, 3, 3), np.dtype([("R", "u1"), ("G", "u1"), ("B", "u1")]))
    with pytest.raises(InputError, match="colour"):
        LoadScan()(_save(tmp_path / "rgb.nii.gz", colour))


def test_missing_truncated_and_foreign_files(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no\.nii\.gz is missing"):
        LoadScan()(tmp_path / "no.nii.gz")
    whole = _save(tmp_path / "whole.nii.gz", np.random.default_rng(0).normal(size=(20, 20, 20)))
    cut = tmp_path / "cut.nii.gz"
    cut.write_bytes(Path(whole).read_bytes()[:5000])
    with pytest.raises(InputError, match=r"cut\.nii\.gz cannot be read.*copy the file again"):
        LoadScan()(cut)
    (tmp_path / "junk.nii").write_bytes(b"junk" * 200)
    with pytest.raises(InputError, match="cannot be read"):
        LoadScan()(tmp_path / "junk.nii")
    (tmp_path / "a.png").write_bytes(b"x")
    with pytest.raises(InputError, match="unknown kind of file"):
        LoadScan()(tmp_path / "a.png")


def test_masks(tmp_path: Path) -> None:
    label = np.zeros((6, 5, 4), np.float64)
    label[1, 2, 3] = 13
    out = LoadScan(label=True)(_save(tmp_path / "m.nii.gz", label))
    assert out.dtype == torch.uint8
    assert out.unique().tolist() == [0, 13]
    with pytest.raises(InputError, match=r"unknown label values: got \[13\]"):
        LoadScan(label=True, label_values=[1, 2])(tmp_path / "m.nii.gz")
    for wrong in (label * 0.1, -label, label * 100):
        with pytest.raises(InputError, match="not a mask"):
            LoadScan(label=True)(_save(tmp_path / "w.nii.gz", wrong))


def test_masks_have_to_lie_on_their_scan(tmp_path: Path) -> None:
    image = _save(tmp_path / "a.nii.gz", _scan())
    mask = np.zeros((6, 5, 4), np.uint8)
    near, far = np.diag([-2.0, 3.0, 4.0, 1.0]), np.diag([-2.0, 3.0, 4.0, 1.0])
    near[0, 3], far[0, 3] = 0.2, 30
    load = LoadScand(["image", "label"])
    out = load({"image": image, "label": _save(tmp_path / "n.nii.gz", mask, near), "name": "patient 1"})
    assert torch.equal(out["label"].affine, out["image"].affine)
    assert out["image"].meta["name"] == "patient 1"
    with pytest.raises(InputError, match=r"shift of 30\.0 mm"):
        load({"image": image, "label": _save(tmp_path / "f.nii.gz", mask, far)})
    with pytest.raises(InputError, match="shape"):
        load({"image": image, "label": _save(tmp_path / "s.nii.gz", mask[:-1])})


def test_missing_mask_key(tmp_path: Path) -> None:
    image = _save(tmp_path / "a.nii.gz", _scan())
    assert set(LoadScand(["image", "label"], allow_missing_keys=True)({"image": image})) == {"image"}
    with pytest.raises(KeyError):
        LoadScand(["image", "label"])({"image": image})


def write_dicom(folder: Path, array: np.ndarray, modality: str = "CT", uid: str = "1.2.3", leave_out=()) -> None:
    """Write an axial series ``(x, y, z)`` with rescale -1024, 1.5 x 1.5 x 5 mm, as a scanner would.

    ITK stores ``(value - intercept) / slope`` when it is given the rescale tags.
    """
    folder.mkdir(parents=True, exist_ok=True)
    writer = SimpleITK.ImageFileWriter()
    writer.KeepOriginalImageUIDOn()
    for k in range(array.shape[2]):
        if k in leave_out:
            continue
        plane = SimpleITK.GetImageFromArray(array[:, :, k].T.astype(np.int16)[None])
        plane.SetSpacing((1.5, 1.5, 5.0))
        tags = {
            "0008|0060": modality,
            "0008|0016": "1.2.840.10008.5.1.4.1.1.2",
            "0008|0018": f"{uid}.{k + 1}",
            "0020|000d": "1.2.9",
            "0020|000e": uid,
            "0020|0032": f"10\\20\\{5 * k}",
            "0020|0037": "1\\0\\0\\0\\1\\0",
            "0020|0013": str(k + 1),
            "0028|1052": "-1024",
            "0028|1053": "1",
        }
        for key, value in tags.items():
            plane.SetMetaData(key, value)
        writer.SetFileName(str(folder / f"{uid}_{array.shape[2] - k:03d}.dcm"))
        writer.Execute(plane)


def test_dicom_series(tmp_path: Path) -> None:
    array = np.random.default_rng(0).integers(-1000, 300, (6, 5, 4))
    write_dicom(tmp_path / "study", array)
    out = LoadScan()(tmp_path / "study")
    np.testing.assert_array_equal(out[0].numpy(), array)
    assert out.meta["modality"] == "ct"
    assert out.meta["name"] == "study"
    # LPS in DICOM, RAS here: x and y turn their sign.
    expected = np.diag([-1.5, -1.5, 5.0, 1.0])
    expected[:3, 3] = (-10, -20, 0)
    np.testing.assert_allclose(out.affine.numpy(), expected, atol=1e-6)


def test_dicom_folders_that_are_not_one_whole_series(tmp_path: Path) -> None:
    array = np.random.default_rng(0).integers(-1000, 300, (6, 5, 6))
    write_dicom(tmp_path / "gap", array, leave_out=(3,))
    with pytest.raises(InputError, match="slices are missing"):
        LoadScan()(tmp_path / "gap")
    write_dicom(tmp_path / "two", array, "MR", uid="1.2.3")
    write_dicom(tmp_path / "two", array, "MR", uid="1.2.4")
    with pytest.raises(InputError, match="2 series"):
        LoadScan()(tmp_path / "two")
    uid = SimpleITK.ImageSeriesReader.GetGDCMSeriesIDs(str(tmp_path / "two"))[0]
    assert LoadScand("image")({"image": tmp_path / "two", "series_uid": uid})["image"].meta["modality"] == "mr"
    (tmp_path / "none").mkdir()
    with pytest.raises(InputError, match="no DICOM series"):
        LoadScan()(tmp_path / "none")


def test_scan_name() -> None:
    assert [scan_name(p) for p in ("a/ct00.nii.gz", "b.v2.nii", "c/series", "d.MHA")] == [
        "ct00",
        "b.v2",
        "series",
        "d",
    ]


@pytest.mark.parametrize("slope", [-2e-25, 1e-30, 1e30])
def test_a_scale_that_leaves_nothing_of_the_values_is_refused(slope: float, tmp_path: Path) -> None:
    path = tmp_path / "scan.nii"
    nib.save(nib.Nifti1Image(np.arange(64, dtype=np.int16).reshape(4, 4, 4), np.diag([2.0, 2.0, 2.0, 1.0])), path)
    content = bytearray(path.read_bytes())
    content[112:116] = np.float32(slope).tobytes()
    path.write_bytes(bytes(content))
    with pytest.raises(InputError, match="no plausible scale of its values: got scl_slope"):
        LoadScan()(path)
