"""Experiment runs on a real SQLite store: contents, resuming, failures, and a server that is away."""

from __future__ import annotations

import json
import logging
import os
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from monai_semgan.handlers import ExperimentRun, read_metrics
from monai_semgan.utils import InputError

pytestmark = pytest.mark.filterwarnings("ignore:unclosed database:ResourceWarning")


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> str:
    """One data base for all tests: making its tables takes seconds."""
    folder = tmp_path_factory.mktemp("store")
    run = ExperimentRun(folder, "first", tracking_uri=f"sqlite:///{folder / 'shared.db'}")
    run.start()
    run.finish()
    return run.tracking_uri


@pytest.fixture
def make(tmp_path, store):
    def make_run(**options) -> ExperimentRun:
        return ExperimentRun(tmp_path, "ct_liver", "SemanticGAN L8 64px seed0", **{"tracking_uri": store, **options})

    return make_run


def stored(run: ExperimentRun):
    from mlflow import MlflowClient

    return MlflowClient(run.tracking_uri).get_run(run.run_id)


def history(run: ExperimentRun, name: str) -> list[tuple[int, float]]:
    from mlflow import MlflowClient

    return [(m.step, m.value) for m in MlflowClient(run.tracking_uri).get_metric_history(run.run_id, name)]


def artifacts(run: ExperimentRun, folder: str | None = None) -> list[str]:
    from mlflow import MlflowClient

    return [item.path for item in MlflowClient(run.tracking_uri).list_artifacts(run.run_id, folder)]


def test_a_run_with_everything(make, tmp_path):
    config = tmp_path / "train.json"
    config.write_text("{}")
    run = make(params={"gan": {"lr": 0.002}}, tags={"method": "SemanticGAN"}, artifacts=[config], device="cpu")
    assert not (tmp_path / "mlflow_run.json").exists()
    assert run.run_id is None
    run.log_metrics({"gan/loss": 1.0, "gan/r1": 0.1}, step=64)
    run.log_metrics({"gan/loss": 0.5}, step=128)
    run.log_params({"seed": 0})
    run.log_image(np.zeros((8, 8, 3), np.uint8), "samples", step=64)
    run.log_text("hello", "notes/a.txt")
    run.log_config({"x": Path("y")})
    run.log_datalist({"labelled": [{"name": "ct01"}], "test": {"ct": []}})
    run.finish()
    found = stored(run)
    assert found.info.status == "FINISHED"
    assert found.info.run_name.startswith("SemanticGAN L8 64px seed0 20")
    assert found.data.params == {
        "gan.lr": "0.002", "seed": "0", "scans.labelled": "1", "scans.test.ct": "0",
    }  # fmt: skip
    assert found.data.tags["method"] == "SemanticGAN"
    assert found.data.tags["device"].startswith("cpu")
    assert len(found.data.tags["split.sha256"]) == 64
    assert found.inputs.dataset_inputs[0].dataset.name == "ct_liver"
    assert "ct01" not in str(found.inputs.dataset_inputs)
    assert history(run, "gan/loss") == [(64, 1.0), (128, 0.5)]
    assert read_metrics(tmp_path / "metrics.csv")["gan/loss"] == [(64, 1.0), (128, 0.5)]
    assert sorted(artifacts(run, "config")) == [
        "config/config.json", "config/datalist.json", "config/train.json",
    ]  # fmt: skip
    assert any("samples" in path and path.endswith(".png") for path in artifacts(run, "images"))
    assert json.loads((tmp_path / "mlflow_run.json").read_text())["status"] == "FINISHED"


def test_default_store_is_in_the_results_folder(tmp_path, store, monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    (tmp_path / "eval").mkdir()
    shutil.copy(store.removeprefix("sqlite:///"), tmp_path / "eval" / "mlruns.db")  # saves making the tables
    run = ExperimentRun(tmp_path / "eval", "another_experiment")
    run.log_text("x", "x.txt")
    run.finish()
    assert (tmp_path / "eval" / "mlruns.db").exists()
    assert list((tmp_path / "eval" / "mlruns").rglob("x.txt"))


def test_address_from_the_environment_and_an_explicit_one(tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    assert ExperimentRun(tmp_path, "a").tracking_uri == "http://127.0.0.1:9"
    assert ExperimentRun(tmp_path, "a", tracking_uri="sqlite:///x.db").tracking_uri == "sqlite:///x.db"


def test_unfinished_runs_are_continued_and_finished_ones_are_not(make):
    first = make(params={"lr": 1})
    first.start()
    resumed = make(params={"lr": 2, "new": 1})  # the first process was killed
    resumed.log_metrics({"loss": 1.0}, step=8)
    assert resumed.run_id == first.run_id
    resumed.finish("FAILED")
    assert stored(first).info.status == "FAILED"
    again = make()
    again.start()
    assert again.run_id == first.run_id
    assert stored(again).info.status == "RUNNING"
    again.finish()
    assert stored(again).data.params == {"lr": "1", "new": "1"}
    assert stored(again).data.tags["resumed.lr"] == "2"
    new = make()
    new.start()
    assert new.run_id != first.run_id
    new.finish()


def test_training_from_scratch_closes_a_stale_run(make):
    stale = make()
    stale.start()
    fresh = make(params={"seed": 1})  # logs before it knows that it is fresh
    fresh.log_params({"size": 64})
    assert fresh.run_id == stale.run_id
    fresh.start(fresh=True)
    assert fresh.run_id != stale.run_id
    assert stored(stale).info.status == "FAILED"
    assert stored(fresh).data.params == {"seed": "1", "size": "64"}
    fresh.start(fresh=True)
    assert stored(fresh).info.status == "RUNNING"
    fresh.finish()


def test_an_evaluation_joins_the_finished_run(make):
    training = make()
    training.log_metrics({"gan/loss": 1.0}, 8)
    training.finish()
    evaluation = make(continue_run="always")
    evaluation.log_metrics({"test/ct/dice": 0.9}, 8)
    evaluation.finish()
    assert evaluation.run_id == training.run_id
    assert set(stored(training).data.metrics) == {"gan/loss", "test/ct/dice"}
    assert stored(training).info.status == "FINISHED"


def test_context_manager_notes_failures(make):
    with pytest.raises(RuntimeError), make() as run:
        raise RuntimeError("boom")
    assert stored(run).info.status == "FAILED"
    run.finish()
    assert stored(run).info.status == "FAILED"


def test_server_away(make, tmp_path, caplog):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    run = make(tracking_uri=f"http://127.0.0.1:{port}", params={"a": 1})
    begin = time.monotonic()
    with caplog.at_level(logging.WARNING, logger="monai_semgan"):
        for step in range(8, 80, 8):
            run.log_metrics({"loss": 1 / step}, step)
            run.log_image(np.zeros((4, 4, 3), np.uint8), "samples", step)
        run.finish()
    assert time.monotonic() - begin < 10
    warnings = [record for record in caplog.records if record.name.startswith("monai_semgan")]
    assert len(warnings) == 1
    assert "metrics.csv" in warnings[0].getMessage()
    assert len(read_metrics(tmp_path / "metrics.csv")["loss"]) == 9
    assert "MLFLOW_HTTP_REQUEST_MAX_RETRIES" not in os.environ


def test_metrics_of_an_outage_are_delivered_afterwards(make, monkeypatch, caplog):
    run = make(params={"a": 1})
    run.log_metrics({"loss": 1.0}, 8)
    client = run._link.client
    send = client.log_batch

    def away(*args, **kwargs):
        raise ConnectionError("away")

    monkeypatch.setattr(client, "log_batch", away)
    run.log_metrics({"loss": 0.5}, 16)
    run.flush()
    monkeypatch.setattr(client, "log_batch", send)
    run.flush()  # still resting after the failure
    assert history(run, "loss") == [(8, 1.0)]
    run.finish()
    assert history(run, "loss") == [(8, 1.0), (16, 0.5)]
    assert caplog.text.count("away") == 1


def test_deliveries_are_batched(make, monkeypatch):
    run = make()
    run.start()
    calls = []
    send = run._link.client.log_batch
    monkeypatch.setattr(run._link.client, "log_batch", lambda *a, **k: (calls.append(k), send(*a, **k))[1])
    for step in range(300):
        run.log_metrics({f"m{n}": 0.0 for n in range(5)}, step)
    run.finish()
    assert [len(call["metrics"]) for call in calls] == [1000, 500]


def test_other_processes_track_nothing(make, tmp_path, monkeypatch):
    monkeypatch.setenv("RANK", "1")
    run = make()
    run.log_metrics({"loss": 1.0}, 8)
    run.log_params({"a": 1})
    run.finish()
    assert list(tmp_path.iterdir()) == []


def test_model_without_pickle(make, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run = make()
    network = torch.nn.Sequential(torch.nn.Conv2d(1, 2, 3, padding=1), torch.nn.LeakyReLU(0.2)).train()
    assert run.log_model(network, torch.zeros(2, 1, 8, 8))
    assert network.training
    assert stored(run).info.status == "RUNNING"
    run.finish()
    model = stored(run).outputs.model_outputs[0]
    from mlflow import MlflowClient

    location = MlflowClient(run.tracking_uri).get_logged_model(model.model_id).artifact_location
    names = [path.name for path in Path(location.removeprefix("file://")).rglob("*") if path.is_file()]
    assert any(name.endswith(".pt2") for name in names)
    assert not any(name.endswith((".pkl", ".pickle", ".pth")) for name in names)
    assert not (tmp_path / "mlruns").exists()  # nothing is left where the command was given


def test_a_network_that_cannot_be_exported_is_left_out(make, caplog):
    class Undecided(torch.nn.Module):
        def forward(self, x):
            return x if x.sum() > 0 else -x

    run = make()
    assert run.log_model(Undecided(), torch.zeros(2, 1)) is False
    assert "left out" in caplog.text
    run.log_metrics({"loss": 1.0}, 8)
    run.finish()
    assert history(run, "loss") == [(8, 1.0)]


SCRIPT = """
import os, signal, sys
from monai_semgan.handlers import ExperimentRun
run = ExperimentRun(sys.argv[1], "ct_liver", tracking_uri=sys.argv[2])
run.log_metrics({"loss": 1.0}, int(sys.argv[4]))
print(run.run_id, flush=True)
if sys.argv[3] == "kill":
    os.kill(os.getpid(), signal.SIGKILL)
if sys.argv[3] == "raise":
    raise RuntimeError("boom")
"""


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "kill") or os.name == "nt", reason="needs SIGKILL")
def test_killed_failed_and_forgotten_processes(make, tmp_path, store, repository):
    ids = []
    for step, end in enumerate(("kill", "raise", "forget")):
        answer = subprocess.run(
            [sys.executable, "-c", SCRIPT, str(tmp_path), store, end, str(step)],
            capture_output=True, text=True, timeout=60, cwd=repository, check=False,
        )  # fmt: skip
        ids.append(answer.stdout.split()[-1])
        run = make()
        run._link.run_id = ids[-1]
        assert stored(run).info.status == {"kill": "RUNNING", "raise": "FAILED", "forget": "FINISHED"}[end]
    assert len(set(ids)) == 1
    assert [step for step, _ in history(run, "loss")] == [0, 1, 2]


def test_wrong_option(tmp_path):
    with pytest.raises(InputError, match="continue_run"):
        ExperimentRun(tmp_path, "a", continue_run="maybe")
