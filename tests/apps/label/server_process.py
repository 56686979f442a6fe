"""A real MONAI Label server in a process of its own, and a client for it."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import requests
from requests_toolbelt.multipart import decoder

from tests.bundle_command import REPOSITORY

PATIENCE = 600  # seconds until a server has to be there, or a training done, on a busy machine


class LabelServer:
    """``python -m monai_semgan label-app`` on a free port of 127.0.0.1."""

    def __init__(self, studies: Path, *options: str) -> None:
        self.studies, self.options = studies, options
        self.log = studies.parent / f"{studies.name}.log"
        self.process: subprocess.Popen | None = None
        self.url = ""

    def start(self) -> LabelServer:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        self.url = f"http://127.0.0.1:{port}"
        command = [
            sys.executable, "-W", "ignore", "-m", "monai_semgan", "label-app", "--studies", str(self.studies),
            "--port", str(port), "--device", "cpu", "--no-scoring", *self.options,
        ]  # fmt: skip
        environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), "MLFLOW_DISABLE_TELEMETRY": "true"}
        with self.log.open("a") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log, cwd=REPOSITORY, env=environment)
        self.wait(lambda: self._answers(), "the server did not start")
        return self

    def kill(self) -> None:
        """As ``kill -9`` does."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def stop(self) -> None:
        assert self.process is not None
        self.process.terminate()
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.kill()

    def _answers(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, self.log.read_text()[-3000:]
        try:
            return requests.get(f"{self.url}/info/", timeout=20).ok
        except requests.ConnectionError:
            return False

    def wait(self, done: Any, otherwise: str) -> Any:
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            found = done()
            if found:
                return found
            time.sleep(0.3)
        raise AssertionError(f"{otherwise}\n{self.log.read_text()[-3000:]}")

    # ---- what a client asks ----------------------------------------------------------------------
    def get(self, path: str) -> Any:
        answer = requests.get(f"{self.url}/{path}", timeout=PATIENCE)
        assert answer.ok, answer.text
        return answer.json()

    def ask(self, method: str, path: str, **options: Any) -> requests.Response:
        return requests.request(method, f"{self.url}/{path}", timeout=PATIENCE, **options)

    def segment(self, model: str, image: str, files: Any = None, **params: Any) -> tuple[np.ndarray, dict[str, Any]]:
        """Mask and parameters of an answer."""
        answer = self.ask("POST", f"infer/{model}?image={image}", data={"params": json.dumps(params)}, files=files)
        assert answer.ok, answer.text
        parts = {
            part.headers[b"Content-Disposition"].split(b'name="')[1].split(b'"')[0].decode(): part.content
            for part in decoder.MultipartDecoder.from_response(answer).parts
        }
        return read_nifti(parts["image"]), json.loads(parts["params"])

    def save_label(self, image: str, path: Path, tag: str = "final") -> requests.Response:
        with path.open("rb") as file:
            return self.ask("PUT", f"datastore/label?image={image}&tag={tag}", files={"label": (path.name, file)})

    def train(self, model: str, **params: Any) -> dict[str, Any]:
        """Train to the end; returns the task as the server tells it."""
        answer = self.ask("POST", f"train/{model}", json=params)
        assert answer.ok, answer.text
        return self.wait(self._finished, "the training did not end")

    def _finished(self) -> dict[str, Any] | None:
        task = self.get("train/")
        return None if task["status"] in ("RUNNING", "SUBMITTED") else task

    def training_details(self, word: str) -> bool:
        """Whether a line of the running training's output has ``word``."""
        answer = self.ask("GET", "train/")
        return answer.ok and any(word in line for line in answer.json().get("details", []))

    def version(self, model: str) -> int:
        return self.get("info/")["models"][model]["version"]


def read_nifti(content: bytes) -> np.ndarray:
    import gzip

    if content[:2] == b"\x1f\x8b":
        content = gzip.decompress(content)
    return np.asanyarray(nib.Nifti1Image.from_bytes(content).dataobj).copy()


def dice(first: np.ndarray, second: np.ndarray) -> float:
    first, second = first > 0, second > 0
    return 2.0 * float((first & second).sum()) / max(1, int(first.sum() + second.sum()))
