"""The same seed gives the same weights and masks: with one worker and with two, and from what MLflow holds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from monai_semgan.data import build_slice_bank, slice_bank
from monai_semgan.utils import write_model_settings
from tests.bundle_command import BundleCommand
from tests.faults.jobs import JOBS, write_data
from tests.scans import BrightnessNetwork, make_transforms

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::RuntimeWarning", "ignore::FutureWarning")


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> BundleCommand:
    return BundleCommand(monkeypatch, capsys)


def test_a_run_is_repeated_from_what_mlflow_holds(tmp_path: Path, run: BundleCommand) -> None:
    """Nothing is taken from the first run but its MLflow record."""
    from mlflow import MlflowClient

    options = {**JOBS["supervised"].options, "dataset_dir": write_data(tmp_path), "learning_rate": 0.003, "seed": 11}
    first = run("ct_liver_supervised/train.json", output_dir=tmp_path / "first", **options)
    assert first.code == 0, first.errors

    client = MlflowClient(f"sqlite:///{tmp_path / 'first' / 'mlruns.db'}")
    (experiment,) = client.search_experiments(filter_string="name = 'ct_liver_supervised'")
    held = [
        found for found in client.search_runs([experiment.experiment_id]) if "mlflow.parentRunId" not in found.data.tags
    ]
    (record,) = held
    config = Path(client.download_artifacts(record.info.run_id, "config/resolved.json", str(tmp_path)))
    assert json.loads(config.read_text(encoding="utf-8"))["learning_rate"] == 0.003
    again = run(str(config), output_dir=tmp_path / "again")
    assert again.code == 0, again.errors

    one, other = (torch.load(tmp_path / n / "supervised" / "model.pt", weights_only=True) for n in ("first", "again"))
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)
    tables = [(tmp_path / n / "eval" / "summary.json").read_text(encoding="utf-8") for n in ("first", "again")]
    assert _scores(json.loads(tables[0])) == _scores(json.loads(tables[1]))


def _scores(summary: Any) -> Any:
    if isinstance(summary, dict):
        return {key: _scores(value) for key, value in summary.items() if "seconds" not in key}
    return summary


def test_slices_from_disk_give_the_same_weights(
    tmp_path: Path, run: BundleCommand, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And the second training, which finds them there, prepares none."""
    options = {**JOBS["supervised"].options, "dataset_dir": write_data(tmp_path), "run": "$@train#trainer.run()"}
    kept = {**options, "slice_cache_dir": tmp_path / "slices", "slices_on_device": True}
    made: list[int] = []
    prepare = slice_bank._prepare
    monkeypatch.setattr(slice_bank, "_prepare", lambda *given: made.append(len(given[0])) or prepare(*given))
    weights = []
    for name, given in (("plain", options), ("first", kept), ("second", kept)):
        made.append(0)
        done = run("ct_liver_supervised/train.json", output_dir=tmp_path / name, **given)
        assert done.code == 0, done.errors
        weights.append(torch.load(tmp_path / name / "supervised" / "model.pt", weights_only=True))
    assert made[:3] == made[3:6]
    assert made[6:] == [0]
    for other in weights[1:]:
        assert all(torch.equal(value, other[name]) for name, value in weights[0].items())


def test_slices_do_not_depend_on_the_number_of_workers(tmp_path: Path) -> None:
    images = sorted((write_data(tmp_path) / "ct" / "images").glob("*.nii.gz"))
    items = [{"image": str(path), "name": path.name} for path in images]
    preprocessing, _ = make_transforms(32)
    one, two = (build_slice_bank(items, preprocessing, None, num_workers=workers) for workers in (1, 2))
    assert torch.equal(one.images, two.images)
    assert one.cases == two.cases


def test_masks_do_not_depend_on_the_number_of_workers(tmp_path: Path, run: BundleCommand) -> None:
    scans, weights = write_data(tmp_path) / "ct" / "images", tmp_path / "weights" / "model.pt"
    weights.parent.mkdir()
    torch.save(BrightnessNetwork().state_dict(), weights)
    write_model_settings({"image_size": 32, "fov_mm": 352.0}, weights)
    masks = []
    for workers in (1, 2):
        out = tmp_path / f"out{workers}"
        options = {**JOBS["inference"].options, "dataset_dir": scans, "checkpoint": weights, "num_workers": workers}
        done = run("ct_liver/configs/inference.json", output_dir=out, **options)
        assert done.code == 0, done.errors
        masks.append({path.name: path.read_bytes() for path in sorted(out.glob("*"))})
    assert len(masks[0]) == 4 + 2
    assert masks[0] == masks[1]
