"""Masks come out on exactly the grid of the input, whole or not at all."""

from __future__ import annotations

import csv

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.data import DataLoader

import monai_semgan.handlers.segmentation_writer as writer_module
from monai_semgan.data import TolerantDataset
from monai_semgan.engines import ScanEvaluator
from monai_semgan.handlers import SegmentationWriter
from monai_semgan.utils import InputError
from tests.scans import (
    AFFINES,
    SHAPE,
    BrightnessNetwork,
    ReportingInferer,
    make_scan,
    make_transforms,
    write_scan,
)


def run(items, output_dir, inferer=None):
    preprocessing, postprocessing = make_transforms()
    data = DataLoader(TolerantDataset(items, preprocessing), batch_size=1)
    evaluator = ScanEvaluator(
        torch.device("cpu"), data, BrightnessNetwork(), inferer=inferer or ReportingInferer(),
        postprocessing=postprocessing, val_handlers=[SegmentationWriter(output_dir)],
    )  # fmt: skip
    evaluator.run()
    return evaluator


def rows(path):
    with path.open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def dice(a, b):
    return 2 * np.logical_and(a, b).sum() / (a.sum() + b.sum())


@pytest.mark.parametrize(
    ("orientation", "sform", "qform"),
    [("RAS", 1, 1), ("LAS", 2, 1), ("LPI", 4, 0), ("oblique", 1, 1), ("RAS", 0, 1)],
)
def test_the_mask_has_the_grid_of_its_file(tmp_path, orientation, sform, qform):
    affine = AFFINES[orientation]
    volume, liver = make_scan(affine)
    path = write_scan(tmp_path / "in" / "a.nii.gz", volume, affine, sform, qform)
    evaluator = run([{"name": "a", "image": str(path)}], tmp_path / "out")
    evaluator.raise_failures()
    source, mask = nib.load(path), nib.load(tmp_path / "out" / "a_seg.nii.gz")
    assert mask.shape == SHAPE
    assert mask.get_data_dtype() == np.uint8
    assert np.array_equal(mask.affine, source.affine)  # to the bit
    for field in ("sform_code", "qform_code", "quatern_b", "qoffset_x", "srow_x", "xyzt_units"):
        assert np.array_equal(mask.header[field], source.header[field]), field
    assert np.array_equal(mask.header["pixdim"][:4], source.header["pixdim"][:4])
    assert bytes(mask.header["descrip"]).strip(b"\0") == b""  # may name the patient
    assert dice(np.asarray(mask.dataobj) > 0, liver > 0) > 0.85


def test_a_bad_scan_amid_good_ones(tmp_path):
    volume, _ = make_scan(AFFINES["LAS"])
    good = [write_scan(tmp_path / f"{n}.nii.gz", volume, AFFINES["LAS"]) for n in ("a", "c")]
    broken = tmp_path / "b.nii.gz"
    broken.write_bytes(good[0].read_bytes()[:300])
    items = [{"name": p.name[0], "image": str(p)} for p in (good[0], broken, good[1])]
    evaluator = run(items, tmp_path / "out")
    assert evaluator.completed == ["a", "c"]
    names = sorted(p.name for p in (tmp_path / "out").iterdir())
    assert names == ["a_seg.nii.gz", "c_seg.nii.gz", "report.csv", "report_cases.csv"]
    cases = {row["case"]: row for row in rows(tmp_path / "out" / "report_cases.csv")}
    assert cases["a"]["status"] == "done"
    assert cases["b"]["status"] == "failed"
    assert "b.nii.gz" in cases["b"]["message"]
    with pytest.raises(InputError, match="b: "):
        evaluator.raise_failures()


@pytest.mark.parametrize("orientation", ["RAS", "LPI"])
def test_report_counts_slices_as_the_file_does(tmp_path, orientation):
    volume, _ = make_scan(AFFINES[orientation])
    path = write_scan(tmp_path / "a.nii.gz", volume, AFFINES[orientation])
    run([{"name": "a", "image": str(path)}], tmp_path / "out").raise_failures()
    mask = np.asarray(nib.load(tmp_path / "out" / "a_seg.nii.gz").dataobj)
    table = rows(tmp_path / "out" / "report.csv")
    assert [int(row["slice"]) for row in table] == list(range(SHAPE[2]))
    assert [int(row["liver_pixels"]) for row in table] == mask.sum(axis=(0, 1)).tolist()
    errors = [float(row["reconstruction_error"]) for row in table]  # the inferer counts from the feet
    assert errors == sorted(errors, reverse=orientation == "LPI")


def test_nothing_is_half_written_and_an_earlier_result_stays(tmp_path, monkeypatch):
    volume, _ = make_scan(AFFINES["RAS"])
    item = {"name": "a", "image": str(write_scan(tmp_path / "a.nii.gz", volume, AFFINES["RAS"]))}
    out = tmp_path / "out"
    run([item], out).raise_failures()
    before = {p.name: p.read_bytes() for p in out.iterdir()}

    def die_midway(image, path):
        path.write_bytes(b"half")
        raise OSError("No space left on device")

    monkeypatch.setattr(writer_module.nib, "save", die_midway)
    evaluator = run([item], out)
    assert evaluator.failures == [("a", "OSError: No space left on device")]
    after = {p.name: p.read_bytes() for p in out.iterdir()}
    assert after.keys() == before.keys()
    assert after["a_seg.nii.gz"] == before["a_seg.nii.gz"]
    assert after["report.csv"] == before["report.csv"]
    case = rows(out / "report_cases.csv")[0]
    assert case["status"] == "done"
    assert case["message"].startswith("earlier result kept")
    monkeypatch.undo()
    run([item], out).raise_failures()
    assert (out / "report_cases.csv").read_bytes() == before["report_cases.csv"]


def test_names_stay_inside_the_folder_and_never_share_a_file(tmp_path):
    volume, _ = make_scan(AFFINES["RAS"])
    paths = [write_scan(tmp_path / f"{k}.nii.gz", volume, AFFINES["RAS"]) for k in range(3)]
    items = [{"name": n, "image": str(p)} for n, p in zip(("../../x", "a/b", "a_b"), paths, strict=True)]
    run(items, tmp_path / "out" / "deep").raise_failures()
    assert sorted(p.name for p in (tmp_path / "out" / "deep").glob("*.nii.gz")) == [
        "_.._x_seg.nii.gz", "a_b-2_seg.nii.gz", "a_b_seg.nii.gz",
    ]  # fmt: skip
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["deep"]


def test_a_foreign_report_is_left_alone(tmp_path):
    (tmp_path / "report.csv").write_text("my,own\n1,2\n")
    volume, _ = make_scan(AFFINES["RAS"])
    item = {"name": "a", "image": str(write_scan(tmp_path / "in" / "a.nii.gz", volume, AFFINES["RAS"]))}
    with pytest.raises(InputError, match="not a report"):
        run([item], tmp_path)
    assert (tmp_path / "report.csv").read_text() == "my,own\n1,2\n"


def test_a_mask_off_the_grid_is_refused(tmp_path):
    volume, _ = make_scan(AFFINES["RAS"])
    path = write_scan(tmp_path / "a.nii.gz", volume, AFFINES["RAS"])
    with pytest.raises(ValueError, match="is Invertd missing"):
        writer_module._on_source_grid(np.zeros((8, 8, 8), np.uint8), np.eye(4), str(path), "a")
    with pytest.raises(ValueError, match="one label map"):
        writer_module._as_label_array(torch.zeros(2, 4, 4, 4), "a")
    with pytest.raises(ValueError, match="whole numbers"):
        writer_module._as_label_array(torch.full((1, 4, 4, 4), 0.5), "a")


def test_other_formats_take_the_affine_of_the_prediction():
    affine = AFFINES["oblique"]
    image, own = writer_module._on_source_grid(np.zeros(SHAPE, np.uint8), affine, "folder/of/dicom", "a")
    assert np.allclose(image.affine, affine)
    assert np.allclose(own, affine)
    assert int(image.header["sform_code"]) == int(image.header["qform_code"]) == 1
