"""What a user gets for bad input on the command line: one message to act on, and nothing half-written.

Run in this process by the same calls as the command's, a few in one of their own. A stand-in that finds the
liver by its brightness takes the place of a trained network where the network does not matter.
"""

from __future__ import annotations

import csv
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch

from monai_semgan.utils import write_model_settings
from tests.bundle_command import TINY, BundleCommand, run_bundle
from tests.scans import AFFINES, BrightnessNetwork, make_scan, write_scan

# MONAI warns that a configuration is code; nibabel that a file is cut off
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::RuntimeWarning")

AFFINE = AFFINES["LAS"]
VOLUME, LIVER = make_scan(AFFINE)
MOVED = AFFINE + np.outer([50, 0, 0, 0], [0, 0, 0, 1])
HOLED = np.where(LIVER > 0, np.nan, VOLUME).astype(np.float32)
BUNDLE_CONFIGS = [
    "ct_liver/train.json", "ct_liver_supervised/train.json", "ct_liver_adversarial_semi/train.json",
    "ct_abdomen_transfer/train.json", "ct_liver_one_shot/train.json",
    "ct_liver_generative_segmentation/train.json",
]  # fmt: skip
# the made-up scans show a liver and nothing else
ON_LIVERS = {"ct_abdomen_transfer/train.json": {"strong": "['liver']", "weak": "[]"}}
STAND_INS = {
    "network_def": {"_target_": "tests.scans.BrightnessNetwork"},
    "inferer": {"_target_": "tests.scans.ReportingInferer"},
    "device": "$torch.device('cpu')",
    "modality": "ct",
}


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> BundleCommand:
    return BundleCommand(monkeypatch, capsys)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Three scans: a labelled one, an unlabelled one, one for validation."""
    folder = tmp_path / "data"
    for name in ("c0", "c1", "c2"):
        write_scan(folder / "ct" / "images" / f"{name}.nii.gz", VOLUME, AFFINE)
        write_scan(folder / "ct" / "labels" / f"{name}.nii.gz", LIVER, AFFINE)
    splits = {"ct_train": ["c0", "c1"], "ct_val": ["c2"], "labelled": {"1": ["c0"]}}
    (folder / "splits.json").write_text(json.dumps(splits), encoding="utf-8")
    return folder


def image(folder: Path, name: str = "c0") -> Path:
    return folder / "ct" / "images" / f"{name}.nii.gz"


def mask(folder: Path, name: str = "c0") -> Path:
    return folder / "ct" / "labels" / f"{name}.nii.gz"


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def write_colour(path: Path) -> None:
    kind = np.dtype([("R", "u1"), ("G", "u1"), ("B", "u1")])
    nib.save(nib.Nifti1Image(np.zeros(VOLUME.shape, dtype=kind), AFFINE), path)


BAD_SCANS: dict[str, tuple[Callable[[Path], Any], str]] = {
    "holes": (lambda path: write_scan(path, HOLED, AFFINE), "NaN or infinite voxels"),
    "constant": (lambda path: write_scan(path, VOLUME * 0, AFFINE), "an empty scan: got 0 in every voxel"),
    "series": (lambda path: write_scan(path, np.stack([VOLUME] * 2, -1), AFFINE), "not a single volume: got 4-D"),
    "colour": (write_colour, "a colour image"),
    "cut": (cut, "cannot be read.*copy the file again"),
    "text": (lambda path: path.write_text("hello"), "cannot be read"),
    "nothing": (lambda path: path.write_bytes(b""), "cannot be read: got .*[Ee]mpty file"),
}
BAD_DATA: dict[str, tuple[Callable[[Path], Any], str]] = {
    **{
        name: (lambda folder, spoil=spoil: spoil(image(folder)), f"c0: scan .*c0.nii.gz.*{text}")
        for name, (spoil, text) in BAD_SCANS.items()
    },
    "unlabelled scan": (lambda folder: cut(image(folder, "c1")), "c1: scan .*cannot be read"),
    "validation scan": (lambda folder: cut(mask(folder, "c2")), "c2: mask .*cannot be read"),
    "folder missing": (shutil.rmtree, "data set folder .*data is missing"),
    "folder empty": (lambda folder: (shutil.rmtree(folder), folder.mkdir()), "got nothing; wanted splits.json"),
    "no mask": (lambda folder: mask(folder).unlink(), "labelled scan c0 has no mask.*add the mask"),
    "no masks to validate": (lambda folder: mask(folder, "c2").unlink(), "no validation scan has a mask: got c2"),
    "no image": (lambda folder: image(folder, "c1").unlink(), "1 listed files are missing: got .*c1.nii.gz"),
    "other shape": (
        lambda folder: write_scan(mask(folder), LIVER[:-1], AFFINE),
        r"c0: mask .* does not lie on its scan .*got shape \(31, 28, 8\); wanted \(32, 28, 8\)",
    ),
    "other place": (lambda folder: write_scan(mask(folder), LIVER, MOVED), "c0: mask .*got a shift of 50.0 mm"),
    "cut mask": (lambda folder: cut(mask(folder)), "c0: mask .*cannot be read"),
    "fractions": (
        lambda folder: write_scan(mask(folder), LIVER * np.float32(0.5), AFFINE),
        "not a mask: got values from 0 to 0.5",
    ),
    "other label": (lambda folder: write_scan(mask(folder), LIVER * 255, AFFINE), "the value 255 alone; wanted the"),
    "no liver": (lambda folder: write_scan(mask(folder), LIVER * 0, AFFINE), "shows no organ. What to do: check"),
    "splits": (lambda folder: (folder / "splits.json").write_text("{"), "splits.json cannot be read"),
}


@pytest.mark.parametrize("case", BAD_DATA)
def test_training_on_bad_data(case: str, data: Path, tmp_path: Path, run: BundleCommand) -> None:
    spoil, message = BAD_DATA[case]
    spoil(data)
    options = {**TINY, "dataset_dir": data, "output_dir": tmp_path / "out", "labelled": 1, "modality": "ct"}
    done = run("ct_liver/train.json", **options)
    assert done.code == 1
    assert_matches(done.message, message)
    assert "Traceback" not in done.errors
    assert not (tmp_path / "out").exists()


def assert_matches(text: str, pattern: str) -> None:
    assert re.search(pattern, text, re.DOTALL), text


SETTINGS = [
    ("--labeled", 4, r"setting --labeled: got a name that is not known.*did you mean --labelled\?"),
    ("--output", "x", "setting --output: got a name that is not known"),
    ("--labelled", "many", "setting --labelled: got many; wanted a whole number"),
    ("--mixed_precision", "true", r"setting --mixed_precision: got true; wanted True"),
    ("--batch_size", -2, "setting --batch_size: got -2; wanted 0 or more"),
    ("--batch_size", 0, "option batch_size: got 0; wanted batch_size at least 1"),
    ("--labelled", 5, "no split with 5 labelled scans .*wanted one of 1"),
    ("--modality", "xray", 'option modality: got \'xray\'; wanted "auto", "ct" or "mr"'),
    ("--checkpoint_every", 0, "option checkpoint_every: got 0"),
    ("--device", "$torch.device('cuda:77')", "device cuda:77 cannot be used here"),
    ("--train#trainer#max_epoch", 2, "setting --train#trainer#max_epoch: .*did you mean --train#trainer#max_epochs"),
]


@pytest.mark.parametrize("config", BUNDLE_CONFIGS)
@pytest.mark.parametrize(("option", "value", "message"), SETTINGS)
def test_settings_of_a_training(
    config: str, option: str, value: Any, message: str, data: Path, tmp_path: Path, run: BundleCommand
) -> None:
    options = {"dataset_dir": data, "output_dir": tmp_path / "out", "labelled": 1, "modality": "ct"}
    options |= ON_LIVERS.get(config, {})
    if option != "--device":
        options["device"] = "$torch.device('cpu')"
    done = run(config, **{**options, option.removeprefix("--"): value})
    assert done.code == 1
    assert_matches(done.message, message)
    assert "Traceback" not in done.errors
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [("image_size", 50, "image_size: got 50; wanted a power of two"), ("spatial_resolution", 12, "spatial_resolution")],
)
def test_sizes_of_the_networks(option: str, value: int, message: str, data: Path, run: BundleCommand) -> None:
    options = {**TINY, "dataset_dir": data, "output_dir": data / "out", "labelled": 1, "modality": "ct"}
    done = run("ct_liver/train.json", **{**options, option: value})
    assert (done.code, "Traceback" in done.errors) == (1, False)
    assert_matches(done.message, message)


def test_an_output_folder_that_is_a_file(data: Path, run: BundleCommand) -> None:
    (data / "file").touch()
    options = {**TINY, "dataset_dir": data, "output_dir": data / "file", "labelled": 1, "modality": "ct"}
    done = run("ct_liver/train.json", **options)
    assert done.code == 1
    assert_matches(done.message, "output folder .*file.*give another --output_dir")


def test_an_overlay_with_an_unknown_name(data: Path, tmp_path: Path, run: BundleCommand) -> None:
    overlay = tmp_path / "mine.json"
    overlay.write_text('{"labeled": 4}', encoding="utf-8")
    done = run(["ct_liver/train.json", str(overlay)], dataset_dir=data, output_dir=tmp_path / "out")
    assert done.code == 1
    assert_matches(done.message, "setting 'labeled' in .*mine.json: got a name that is not known")


# ---- inference and evaluation with a stand-in network ---------------------------------------------------------
@pytest.fixture
def weights(tmp_path: Path) -> Path:
    path = tmp_path / "weights" / "model.pt"
    path.parent.mkdir()
    torch.save(BrightnessNetwork().state_dict(), path)
    write_model_settings({"image_size": 32, "fov_mm": 352.0}, path)
    return path


def infer(run: BundleCommand, folder: Path, out: Path, weights: Path, **options: Any) -> Any:
    given = {"dataset_dir": folder, "output_dir": out, "checkpoint": weights, **STAND_INS, **options}
    return run("ct_liver/configs/inference.json", **given)


def test_good_scans_of_a_batch_are_done(tmp_path: Path, weights: Path, run: BundleCommand) -> None:
    scans, out = tmp_path / "scans", tmp_path / "out"
    for name, (spoil, _) in BAD_SCANS.items():
        spoil(write_scan(scans / f"{name}.nii.gz", VOLUME, AFFINE))
    for name in ("a_good", "z_good"):
        write_scan(scans / f"{name}.nii.gz", VOLUME, AFFINE)
    (scans / "damaged").mkdir()
    (scans / "damaged" / "1.dcm").write_bytes(b"\0" * 128 + b"DICM" + b"junk")
    done = infer(run, scans, out, weights)
    bad = {**{name: text for name, (_, text) in BAD_SCANS.items()}, "damaged": "no DICOM series"}
    assert done.code == 1
    assert_matches(done.message, f"^{len(bad)} of {len(bad) + 2} scans gave no result")
    for name, text in bad.items():
        assert_matches(done.message, rf"\n  {name}: .*{text}")
    assert {path.name for path in out.iterdir()} == {
        "a_good_seg.nii.gz", "z_good_seg.nii.gz", "report.csv", "report_cases.csv",
    }  # fmt: skip
    rows = {row["case"]: row for row in read_csv(out / "report_cases.csv")}
    assert {name for name, row in rows.items() if row["status"] == "failed" and row["message"]} == set(bad)
    found = np.asarray(nib.load(out / "a_good_seg.nii.gz").dataobj)
    assert 2 * (found & LIVER).sum() / (found.sum() + LIVER.sum()) > 0.8


def read_csv(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(path.read_text(encoding="utf-8").splitlines()))


@pytest.mark.parametrize(
    ("folder", "message"),
    [("gone", "gone is missing"), (".", "no scans below"), ("notes.txt", "notes.txt is not a scan")],
)
def test_folders_without_scans(folder: str, message: str, tmp_path: Path, weights: Path, run: BundleCommand) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "notes.txt").write_text("x")
    done = infer(run, tmp_path / "empty" / folder, tmp_path / "out", weights)
    assert (done.code, "Traceback" in done.errors) == (1, False)
    assert_matches(done.message, message)
    assert not (tmp_path / "out").exists()


def write_foreign(path: Path) -> None:
    torch.save({"other": torch.zeros(1)}, path)


BAD_WEIGHTS: dict[str, tuple[Callable[[Path], Any], str]] = {
    "missing": (Path.unlink, "Weights .*model.pt: got no such file.*train first"),
    "cut": (cut, "model.pt cannot be read: got a cut-off file"),
    "nothing": (lambda path: path.write_bytes(b""), "got an empty file"),
    "text": (lambda path: path.write_text("hello"), "no PyTorch file"),
    "foreign": (write_foreign, "got missing level; not wanted other; wanted the 1 tensors"),
    "no settings": (lambda path: path.with_suffix(".json").unlink(), "model.json: got no such file.*copy model.json"),
    "bad settings": (lambda path: path.with_suffix(".json").write_text("{"), "model.json: got no valid JSON"),
    "other settings": (lambda path: path.with_suffix(".json").write_text("{}"), "model.json: got no entry 'image_"),
}


@pytest.mark.parametrize("case", BAD_WEIGHTS)
@pytest.mark.parametrize("config", ["inference", "evaluate"])
def test_weights_that_cannot_be_used(
    config: str, case: str, data: Path, tmp_path: Path, weights: Path, run: BundleCommand
) -> None:
    spoil, message = BAD_WEIGHTS[case]
    spoil(weights)
    options = {"dataset_dir": data, "output_dir": tmp_path / "out", "checkpoint": weights, **STAND_INS}
    if config == "evaluate":
        options |= {"labelled": 1, "student_inferer": STAND_INS["inferer"]}
    done = run(f"ct_liver/configs/{config}.json", **options)
    assert (done.code, "Traceback" in done.errors) == (1, False)
    assert_matches(done.message, message)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"data_dir": "x"}, "setting --data_dir: .*did you mean --dataset_dir"),
        ({"dataset": "x"}, "setting --dataset: got x; wanted a component"),
        ({"num_workers": "three"}, "setting --num_workers: got three; wanted a whole number"),
        ({"output_dir": 2024}, r"setting --output_dir: got 2024; wanted a path \(write ./NAME"),
    ],
)
def test_settings_of_inference(
    options: dict, message: str, data: Path, tmp_path: Path, weights: Path, run: BundleCommand
) -> None:
    done = infer(run, data, tmp_path / "out", weights, **options)
    assert (done.code, "Traceback" in done.errors) == (1, False)
    assert_matches(done.message, message)
    assert not (tmp_path / "out").exists()


def evaluate(run: BundleCommand, data: Path, out: Path, weights: Path, **options: Any) -> Any:
    given = {
        "dataset_dir": data, "output_dir": out, "checkpoint": weights, "labelled": 1, "experiment": "$None",
        "run": "['$@evaluation.run()', '$@evaluation.raise_failures()']", **STAND_INS, **options,
        "encoder_inferer": STAND_INS["inferer"], "student_inferer": STAND_INS["inferer"],
    }  # fmt: skip
    return run("ct_liver/configs/evaluate.json", **given)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda data: cut(image(data, "c2")), "ct/c2: scan .*cannot be read"),
        (lambda data: write_scan(mask(data, "c2"), LIVER[:-1], AFFINE), "ct/c2: .*different grids|does not lie"),
        (lambda data: write_scan(mask(data, "c2"), LIVER, MOVED), "ct/c2: .*different places"),
        (lambda data: write_scan(mask(data, "c2"), LIVER * 255, AFFINE), "ct/c2: mask .*the value 255 alone"),
    ],
)
def test_evaluation_with_a_bad_scan(
    spoil: Callable, message: str, data: Path, tmp_path: Path, weights: Path, run: BundleCommand
) -> None:
    splits = {"ct_train": ["c0"], "ct_val": ["c1", "c2"], "labelled": {"1": ["c0"]}}
    (data / "splits.json").write_text(json.dumps(splits), encoding="utf-8")
    spoil(data)
    done = evaluate(run, data, tmp_path / "out", weights)
    assert done.code == 1
    assert_matches(done.message, "^1 of 2 test scans gave no result")
    assert_matches(done.message, message)
    summary = json.loads((tmp_path / "out" / "summary.json").read_text(encoding="utf-8"))
    assert summary["domains"]["ct"]["dice"]["n"] == 1
    assert list(summary["not_scored"]) == ["ct/c2"]


def test_evaluation_of_an_unknown_domain(data: Path, tmp_path: Path, weights: Path, run: BundleCommand) -> None:
    done = evaluate(run, data, tmp_path / "out", weights, domains="[mri]")
    assert (done.code, "Traceback" in done.errors) == (1, False)
    assert_matches(done.message, "option domains: .*got mri; wanted some of ct")


# ---- in a process of its own ----------------------------------------------------------------------------------
def test_the_command_ends_with_the_message(data: Path, tmp_path: Path) -> None:
    done = run_bundle(
        "ct_liver/train.json", dataset_dir=data, output_dir=tmp_path / "out", labeled=4, encoder_iteration=10
    )
    assert done.code == 1
    assert "Traceback" not in done.errors
    tail = done.errors.strip().splitlines()[-3:]
    assert tail[0] == "ERROR: 2 settings cannot be used:"
    assert "--labelled?" in tail[1]
    assert "--encoder_iterations?" in tail[2]
    assert not (tmp_path / "out").exists()
