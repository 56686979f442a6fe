"""Runs below the run, and what happens to pictures and files while MLflow is away, on a real SQLite store."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from mlflow import MlflowClient

from monai_semgan.handlers import ExperimentRun, send_unsent

pytestmark = pytest.mark.filterwarnings("ignore:unclosed database:ResourceWarning")


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> str:
    """One data base for all tests: making its tables takes seconds."""
    folder = tmp_path_factory.mktemp("store")
    with ExperimentRun(folder, "first", tracking_uri=f"sqlite:///{folder / 'shared.db'}") as run:
        return run.tracking_uri


@pytest.fixture
def make(tmp_path, store):
    def make_run(**options) -> ExperimentRun:
        return ExperimentRun(tmp_path / "out", "ct_liver", "SemanticGAN L8", **{"tracking_uri": store, **options})

    return make_run


def values(client: MlflowClient, run_id: str, name: str) -> list[tuple[int, float]]:
    return [(m.step, m.value) for m in client.get_metric_history(run_id, name)]


def fail_from_now(run: ExperimentRun, monkeypatch) -> None:
    """MLflow goes away in the middle of a training."""

    def away(*args, **kwargs):
        raise ConnectionError("away")

    for name in ("log_batch", "log_artifact", "log_text", "log_image", "get_run", "set_terminated", "create_run"):
        monkeypatch.setattr(run._link.client, name, away)


def test_a_stage_has_its_curves_and_its_end(make, store):
    run = make(tags={"method": "semantic_gan"})
    run.start(fresh=True)
    for stage in ("gan", "encoder"):
        run.start_stage(stage)
        run.log_metrics({f"{stage}/loss": 1.0}, 8)
        if stage == "gan":
            run.finish_stage(stage)
    run.start_stage("evaluation", "test/")
    run.log_metrics({"test/ct/dice": 0.9}, 500)
    run.finish("FAILED")
    client = MlflowClient(store)
    below = {name: client.get_run(run_id) for name, run_id in run._link.stages.items()}
    assert {name: set(stage.data.metrics) for name, stage in below.items()} == {
        "gan": {"gan/loss"}, "encoder": {"encoder/loss"}, "evaluation": {"test/ct/dice"},
    }  # fmt: skip
    assert {name: stage.info.status for name, stage in below.items()} == {
        "gan": "FINISHED", "encoder": "FAILED", "evaluation": "FAILED",
    }  # fmt: skip
    for stage in below.values():
        assert stage.data.tags["mlflow.parentRunId"] == run.run_id
        assert stage.data.tags["method"] == "semantic_gan"
        assert stage.info.run_name.startswith("SemanticGAN L8 ")
    assert set(client.get_run(run.run_id).data.metrics) == {"gan/loss", "encoder/loss", "test/ct/dice"}


def test_an_outage_in_the_middle_loses_nothing(make, store, tmp_path, monkeypatch, caplog):
    run = make()
    run.start(fresh=True)
    run.start_stage("gan")
    run.log_metrics({"gan/loss": 1.0}, 8)
    run.flush()
    report = tmp_path / "report.txt"
    report.write_text("first")
    with monkeypatch.context() as patch:
        fail_from_now(run, patch)
        run.log_metrics({"gan/loss": 0.5}, 16)
        run.flush()
        run.log_image(np.zeros((4, 4, 3), np.uint8), "samples", 16)
        run.log_artifact(report, "x")
        report.write_text("changed after it was logged")
        run.finish_stage("gan")
    waiting = list((tmp_path / "out" / "mlflow_unsent").glob("*/records.jsonl"))
    assert len(waiting) == 1
    run.finish()  # MLflow is back
    assert len([r for r in caplog.records if "mlflow-sync" in r.getMessage()]) == 1
    assert not (tmp_path / "out" / "mlflow_unsent").exists()
    client = MlflowClient(store)
    for run_id in (run.run_id, run._link.stages["gan"]):
        assert values(client, run_id, "gan/loss") == [(8, 1.0), (16, 0.5)]
        assert client.get_run(run_id).info.status == "FINISHED"
    names = [item.path for item in client.list_artifacts(run.run_id, "images")]
    assert len([name for name in names if name.endswith(".png")]) == 1
    kept = client.download_artifacts(run.run_id, "x/report.txt", str(tmp_path))
    assert Path(kept).read_text() == "first"


def test_what_a_killed_process_kept_is_sent_by_the_one_that_goes_on(make, store, tmp_path, monkeypatch):
    first = make(params={"lr": 1})
    first.start(fresh=True)
    with monkeypatch.context() as patch:
        fail_from_now(first, patch)
        first.log_metrics({"loss": 1.0}, 8)
        first.flush()
    first._link.status = "gone"  # as after a kill: nobody closes the run
    again = make(params={"lr": 1})
    again.log_metrics({"loss": 0.5}, 16)
    again.finish()
    assert again.run_id == first.run_id
    assert values(MlflowClient(store), again.run_id, "loss") == [(8, 1.0), (16, 0.5)]
    assert not (tmp_path / "out" / "mlflow_unsent").exists()


def test_a_run_that_failed_while_mlflow_was_away_is_another_one_than_the_next(make, store, tmp_path):
    lost = make(tracking_uri="http://127.0.0.1:9", params={"seed": 0})
    lost.start(fresh=True)
    lost.log_metrics({"loss": 1.0}, 8)
    lost.finish("FAILED")
    fresh = make(tracking_uri="http://127.0.0.1:9", params={"seed": 1})
    fresh.start(fresh=True)
    fresh.log_metrics({"loss": 0.1}, 8)
    fresh.finish()
    said: list[str] = []
    assert send_unsent(tmp_path / "out", store, said.append) > 0
    assert len(said) == 2
    client = MlflowClient(store)
    ids = [line.rsplit(" ", 1)[1] for line in said]
    found = {client.get_run(run_id).data.params["seed"]: client.get_run(run_id).info for run_id in ids}
    assert {seed: info.status for seed, info in found.items()} == {"0": "FAILED", "1": "FINISHED"}
    assert json.loads((tmp_path / "out" / "mlflow_run.json").read_text())["run_id"] == found["1"].run_id


def test_the_use_of_the_machine_and_the_console(make, store, tmp_path, capsys):
    run = make(console=True)
    run._system.every_seconds = 0.0
    run.start(fresh=True)
    print("epoch 1")
    run.flush()
    run.finish()
    assert capsys.readouterr().out == "epoch 1\n"
    client = MlflowClient(store)
    assert "system/cpu_utilization_percentage" in client.get_run(run.run_id).data.metrics
    kept = client.download_artifacts(run.run_id, "log/console.log", str(tmp_path))
    assert Path(kept).read_text().startswith("epoch 1\n")
    assert not (tmp_path / "out" / "metrics.csv").exists()
