"""`mlflow models serve` with a logged model of the main bundle: what it answers is what the package itself gives."""

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
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.error import HTTPError

import nibabel as nib
import numpy as np
import pytest

from monai_semgan.apps import BundleSegmenter, log_bundle_model
from monai_semgan.handlers import ExperimentRun, fetch_model_files
from tests.bundles.test_bundles import ROOT, write_weights
from tests.scans import AFFINES, make_scan, write_scan

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(900),
    pytest.mark.skipif(os.name == "nt", reason="ends a group of processes"),
    pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::UserWarning"),
]


class ModelServer:
    """The command of docs/how_to/mlflow.md on a free port, and what a client asks it."""

    def __init__(self, folder: Path, uri: str, model: str) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self.url, self.log = f"http://127.0.0.1:{port}", folder / "serve.log"
        command = [
            sys.executable, "-m", "mlflow", "models", "serve", "--model-uri", model, "--env-manager", "local",
            "--host", "127.0.0.1", "--port", str(port), "--timeout", "600",
        ]  # fmt: skip
        # MLflow starts `uvicorn` by its name: it has to be on the path, as in an activated environment
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
        environment = {**os.environ, "PATH": path, "MLFLOW_TRACKING_URI": uri, "MLFLOW_DISABLE_TELEMETRY": "true"}
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                command, cwd=folder, env=environment, stdout=log, stderr=log, start_new_session=True
            )

    def wait(self) -> None:
        for _ in range(1000):
            assert self.process.poll() is None, self.log.read_text()
            try:
                with urllib.request.urlopen(f"{self.url}/ping", timeout=5):
                    return
            except OSError:
                time.sleep(0.3)
        pytest.fail(f"the server did not start\n{self.log.read_text()}")

    def stop(self) -> None:
        os.killpg(self.process.pid, signal.SIGTERM)
        self.process.wait(timeout=30)

    def ask(self, inputs: Any, **params: Any) -> tuple[int, Any]:
        """Status, and the predictions or the answer as text."""
        body = json.dumps({"inputs": inputs, **({"params": params} if params else {})}).encode()
        request = urllib.request.Request(f"{self.url}/invocations", body, {"Content-Type": "application/json"})
        try:
            with urllib.request.urlopen(request, timeout=600) as answer:
                return answer.status, json.load(answer)["predictions"]
        except HTTPError as error:
            return error.code, error.read().decode()


@pytest.fixture(scope="module")
def logged(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    """The store's address and the model's files: a small untrained student of ``ct_liver``, registered as ``liver``."""
    folder = tmp_path_factory.mktemp("training")
    write_weights("ct_liver", folder)
    uri = f"sqlite:///{(folder / 'mlruns.db').as_posix()}"
    run = ExperimentRun(folder / "out", "ct_liver", tracking_uri=uri)
    run.log_metrics({"student/validation_dice_ct": 0.5}, 1)
    log_bundle_model(run, ROOT / "ct_liver", folder / "model.pt", "liver", "student/validation_dice_ct")
    run.finish()
    return uri, fetch_model_files("models:/liver@champion", folder / "fetched", uri)


@pytest.fixture(scope="module")
def server(logged: tuple[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[ModelServer]:
    running = ModelServer(tmp_path_factory.mktemp("server"), logged[0], "models:/liver@champion")
    try:
        running.wait()
        yield running
    finally:
        running.stop()


@pytest.fixture(scope="module")
def scan(tmp_path_factory: pytest.TempPathFactory) -> Path:
    volume, _ = make_scan(AFFINES["LPI"])
    return Path(write_scan(tmp_path_factory.mktemp("scans") / "scan.nii.gz", volume, AFFINES["LPI"]))


@pytest.fixture(scope="module")
def expected(logged: tuple[str, Path], scan: Path) -> np.ndarray:
    mask = BundleSegmenter(logged[1], "cpu")(scan)
    assert 0 < (mask == 1).mean() < 1
    return mask


def test_a_path_gives_the_mask_that_the_package_gives(server: ModelServer, scan: Path, expected: np.ndarray) -> None:
    for inputs, pick in (([str(scan)], 0), (str(scan), slice(None))):
        status, masks = server.ask(inputs)
        assert status == 200, masks
        assert np.array_equal(np.asarray(masks)[pick], expected)


def test_an_array_does_too(server: ModelServer, scan: Path, expected: np.ndarray) -> None:
    image = nib.load(scan)
    volume = np.asarray(image.dataobj, np.float32)
    grid = {
        "spacing_mm": [float(s) for s in nib.affines.voxel_sizes(image.affine)],
        "axcodes": "".join(nib.aff2axcodes(image.affine)),
    }
    status, mask = server.ask(volume.tolist(), **grid)
    assert status == 200, mask
    assert np.array_equal(mask, expected)
    status, masks = server.ask([volume.tolist(), volume[::-1].tolist()], **grid)
    assert status == 200, masks
    assert np.asarray(masks).shape == (2, *expected.shape)
    assert np.array_equal(masks[0], expected)


def test_masks_are_written_where_they_are_wanted(
    server: ModelServer, scan: Path, expected: np.ndarray, tmp_path: Path
) -> None:
    status, paths = server.ask([str(scan)], output_dir=str(tmp_path / "masks"))
    assert (status, paths) == (200, [str(tmp_path / "masks" / "scan_seg.nii.gz")])
    written = nib.load(paths[0])
    assert np.array_equal(np.asarray(written.dataobj), expected)
    assert np.allclose(written.affine, nib.load(scan).affine)


def test_requests_at_once_are_not_mixed_up(
    server: ModelServer, logged: tuple[str, Path], scan: Path, expected: np.ndarray, tmp_path: Path
) -> None:
    volume, _ = make_scan(AFFINES["RAS"], (30, 34, 6))
    other = write_scan(tmp_path / "other.nii.gz", volume, AFFINES["RAS"])
    masks = {str(scan): expected, str(other): BundleSegmenter(logged[1], "cpu")(other)}
    asked = list(masks) * 4
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(server.ask, asked))
    for path, (status, mask) in zip(asked, answers, strict=True):
        assert status == 200, mask
        assert np.array_equal(mask, masks[path])


def test_what_cannot_be_segmented_is_told_in_a_sentence(server: ModelServer, tmp_path: Path) -> None:
    (tmp_path / "words.nii.gz").write_bytes(b"no scan")
    wrong: list[tuple[Any, dict[str, Any], str]] = [
        ([str(tmp_path / "nothing.nii.gz")], {}, "no such file"),
        (str(tmp_path / "words.nii.gz"), {}, "words.nii.gz"),
        ([[1.0, 2.0], [3.0, 4.0]], {}, "(H, W, D)"),
        ([[1.0, 2.0], [3.0]], {}, "(H, W, D)"),
        (np.zeros((8, 8, 8)).tolist(), {"spacing_mm": [1.0, 0.0, 1.0]}, "spacing_mm"),
        (np.zeros((8, 8, 8)).tolist(), {"axcodes": "XYZ"}, "axcodes"),
    ]
    for inputs, params, told in wrong:
        status, answer = server.ask(inputs, **params)
        assert status == 400, (inputs, answer)
        assert told in answer
        assert "Traceback" not in answer
