"""A real tracking server on this machine: away and back, a training that goes on, and a model that is fetched."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from zipfile import ZipFile
from zipimport import zipimporter

import mlflow
import nibabel as nib
import numpy as np
import pytest
from mlflow import MlflowClient

from monai_semgan.__main__ import main
from monai_semgan.apps import BundleSegmenter, log_bundle_model
from monai_semgan.handlers import ExperimentRun, fetch_model_files, find_version
from monai_semgan.utils import InputError
from tests.bundles.test_bundles import ROOT, write_weights
from tests.scans import AFFINES, make_scan, write_scan

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(os.name == "nt", reason="ends a group of processes"),
    pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::UserWarning"),
]


class Server:
    """`mlflow server` with its data base and artifacts in one folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.uri = f"http://127.0.0.1:{self.port}"
        self.process: subprocess.Popen | None = None

    def start(self) -> str:
        if self.process is None:
            command = [
                sys.executable, "-m", "mlflow", "server", "--backend-store-uri", f"sqlite:///{self.folder}/a.db",
                "--artifacts-destination", str(self.folder / "artifacts"), "--host", "127.0.0.1",
                "--port", str(self.port), "--workers", "1",
            ]  # fmt: skip
            environment = {**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
            with (self.folder / "server.log").open("w") as log:
                self.process = subprocess.Popen(
                    command, cwd=self.folder, env=environment, stdout=log, stderr=log, start_new_session=True
                )
            self._wait()
        return self.uri

    def _wait(self) -> None:
        for _ in range(1000):
            assert self.process is not None
            assert self.process.poll() is None, (self.folder / "server.log").read_text()
            try:
                with urllib.request.urlopen(f"{self.uri}/health", timeout=5) as answer:
                    if answer.status == 200:
                        return
            except OSError:
                time.sleep(0.2)
        pytest.fail("the server did not start")

    def stop(self) -> None:
        if self.process is not None:
            os.killpg(self.process.pid, signal.SIGTERM)
            self.process.wait(timeout=30)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = Server(tmp_path_factory.mktemp("server"))
    yield server
    server.stop()


@pytest.fixture(autouse=True)
def global_address() -> Iterator[None]:
    before = os.environ.get("MLFLOW_TRACKING_URI")  # MLflow writes its address there, for all that comes later
    yield
    mlflow.set_tracking_uri(before)


def new_run(folder: Path, uri: str, **options: Any) -> ExperimentRun:
    return ExperimentRun(folder, "ct_liver", "SemanticGAN L8 64px seed0", tracking_uri=uri, **options)


def files(client: MlflowClient, run_id: str, folder: str = "") -> set[str]:
    found = client.list_artifacts(run_id, folder)
    return {f.path for f in found if not f.is_dir}.union(*(files(client, run_id, f.path) for f in found if f.is_dir))


def test_away_then_back(server: Server, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    """Has to be the first: the server is started in the middle of it."""
    assert server.process is None
    config = tmp_path / "train.json"
    config.write_text("{}")
    out = tmp_path / "out"
    began = time.time() * 1000
    run = new_run(
        out, server.uri, params={"lr": 1, "deep": {"x": 2}}, tags={"method": "semantic_gan"}, artifacts=[config],
        datalist={"labelled": [{"name": "ct01"}]}, config={"seed": 0}, console=True,
    )  # fmt: skip
    run.start(fresh=True)
    run.start_stage("gan")
    for step in range(8, 40, 8):
        run.log_metrics({"gan/loss": 1 / step, "other": 1.0}, step)
        run.flush()
    print("something to keep")
    run.log_image(np.full((4, 4, 3), 9, np.uint8), "samples", 32)
    run.finish_stage("gan")
    run.log_table([{"name": "a", "dice": 0.5}], "evaluation/per_case.json")
    run.set_tags({"later": "yes"})
    run.finish()
    assert run.run_id is None
    assert main(["mlflow-sync", str(out)]) == 2
    assert "nothing is lost" in capsys.readouterr().err
    ended = time.time() * 1000

    server.start()
    assert main(["mlflow-sync", str(out)]) == 0
    assert not (out / "mlflow_unsent").exists()
    stored = json.loads((out / "mlflow_run.json").read_text())
    client = MlflowClient(server.uri)
    found = client.get_run(stored["run_id"])
    assert found.info.status == "FINISHED"
    assert found.info.run_name.startswith("SemanticGAN L8 64px seed0 20")
    assert began - 1 <= found.info.start_time <= found.info.end_time <= ended + 1
    assert found.data.params == {"lr": "1", "deep.x": "2", "scans.labelled": "1"}
    assert (found.data.tags["method"], found.data.tags["later"]) == ("semantic_gan", "yes")
    assert [(m.step, m.value) for m in client.get_metric_history(stored["run_id"], "gan/loss")] == [
        (step, 1 / step) for step in range(8, 40, 8)
    ]
    assert {i.dataset.name for i in found.inputs.dataset_inputs} == {"ct_liver", "ct_liver labelled"}
    names = files(client, stored["run_id"])
    assert {
        "config/train.json", "config/resolved.json", "config/datalist.json", "log/console.log",
        "evaluation/per_case.json",
    } <= names  # fmt: skip
    assert any(name.startswith("images/samples+step+32") for name in names)
    stage = client.get_run(stored["stages"]["gan"])
    assert stage.data.tags["mlflow.parentRunId"] == stored["run_id"]
    assert stage.info.status == "FINISHED"
    assert set(stage.data.metrics) == {"gan/loss"}
    kept = client.download_artifacts(stored["run_id"], "log/console.log", str(tmp_path))
    assert "something to keep\n" in Path(kept).read_text()
    assert main(["mlflow-sync", str(out)]) == 0
    assert "nothing waits" in capsys.readouterr().out


def test_a_training_goes_on_in_its_run_and_in_its_stages(server: Server, tmp_path: Path) -> None:
    uri = server.start()
    first = new_run(tmp_path, uri, params={"lr": 1})
    first.start(fresh=True)
    first.start_stage("gan")
    first.log_metrics({"gan/loss": 1.0}, 8)
    first.flush()
    ids = first.run_id, dict(first._link.stages)
    first._link.status = "gone"  # as after a kill: nobody closes the run
    again = new_run(tmp_path, uri, params={"lr": 1})
    again.start()
    again.start_stage("gan")
    again.log_metrics({"gan/loss": 0.5}, 16)
    again.finish_stage("gan")
    again.log_table([{"dice": 0.1}], "evaluation/t.json")
    again.log_table([{"dice": 0.2}], "evaluation/t.json")
    again.describe("| a |")
    again.finish()
    assert (again.run_id, again._link.stages) == ids
    client = MlflowClient(uri)
    for run_id in (ids[0], ids[1]["gan"]):
        assert [(m.step, m.value) for m in client.get_metric_history(run_id, "gan/loss")] == [(8, 1.0), (16, 0.5)]
        assert client.get_run(run_id).info.status == "FINISHED"
    tables = json.loads(client.get_run(ids[0]).data.tags["mlflow.loggedArtifacts"])
    assert tables == [{"path": "evaluation/t.json", "type": "table"}]
    mlflow.set_tracking_uri(uri)
    experiment = client.get_run(ids[0]).info.experiment_id
    assert client.load_table(experiment, "evaluation/t.json", run_ids=[ids[0]])["dice"].tolist() == [0.2]
    assert client.get_run(ids[0]).data.tags["mlflow.note.content"] == "| a |"


def test_a_model_is_registered_fetched_and_used(server: Server, tmp_path: Path) -> None:
    uri = server.start()
    write_weights("ct_liver_supervised", tmp_path)
    run = new_run(tmp_path / "out", uri, datalist={"labelled": ["a"]}, tags={"method": "supervised"})
    logged = []
    for value in (0.5, 0.4, 0.6):
        run.log_metrics({"supervised/validation_dice_ct": value}, round(100 * value))
        logged.append(
            log_bundle_model(
                run, ROOT / "ct_liver_supervised", tmp_path / "model.pt", "liver", "supervised/validation_dice_ct"
            )
        )
    run.finish()
    assert [(entry["version"], entry["champion"]) for entry in logged] == [("1", True), ("2", False), ("3", True)]
    version = MlflowClient(uri).get_model_version_by_alias("liver", "champion")
    assert version.tags["key_metric.value"] == "0.6"
    assert version.tags["method"] == "supervised"
    assert len(version.tags["key_metric.split"]) == 64

    assert find_version("models:/liver@champion", uri).address == "models:/liver/3"
    assert find_version("models:/liver/2", uri).tags["method"] == "supervised"
    for address in ("models:/liver/9", "models:/liver@nobody", "models:/nothing/1"):
        with pytest.raises(InputError, match="look at the Models page"):
            find_version(address, uri)

    folder = fetch_model_files("models:/liver@champion", tmp_path / "fetched", uri)
    assert (folder / "models" / "model.pt").read_bytes() == (tmp_path / "model.pt").read_bytes()
    assert {path.suffix for path in folder.rglob("*") if path.is_file()} == {".pt", ".json", "", ".txt"}

    mlflow.set_tracking_uri(uri)
    model = mlflow.pyfunc.load_model("models:/liver@champion")
    assert model.metadata.signature.params is not None
    assert model.input_example == ["scan.nii.gz"]
    whole = mlflow.artifacts.download_artifacts("models:/liver@champion", dst_path=str(tmp_path))
    (package,) = map(str, Path(whole).rglob("monai_semgan.zip"))
    assert str(ROOT.parent) not in (Path(whole) / "MLmodel").read_text()
    assert zipimporter(package).find_spec("monai_semgan") is not None
    assert "monai_semgan/apps/bundle_segmenter.py" in ZipFile(package).namelist()
    volume, _ = make_scan(AFFINES["LPI"])
    path = write_scan(tmp_path / "scan.nii.gz", volume, AFFINES["LPI"])
    mask = model.predict(str(path))
    assert (mask.shape, mask.dtype) == (volume.shape, np.uint8)
    image = nib.load(path)
    grid = {
        "spacing_mm": [float(s) for s in nib.affines.voxel_sizes(image.affine)],
        "axcodes": "".join(nib.aff2axcodes(image.affine)),
    }
    assert np.array_equal(model.predict(np.asarray(image.dataobj, np.float32), params=grid), mask)
    (written,) = model.predict([str(path)], params={"output_dir": str(tmp_path / "masks")})
    assert np.array_equal(np.asarray(nib.load(written).dataobj), mask)
    assert np.allclose(nib.load(written).affine, image.affine)
    assert np.array_equal(BundleSegmenter(folder, "cpu")(path), mask)
