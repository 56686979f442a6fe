"""A finished phantom run in headless Chromium: the report, and MLflow's own page; are the pictures there?"""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from monai_semgan.__main__ import main
from tests.browser import BROWSER, Browser
from tests.bundle_command import TINY, run_bundle

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(1200),
    pytest.mark.skipif(BROWSER is None, reason="no Chromium or Chrome is installed"),
    pytest.mark.skipif(os.name == "nt", reason="ends a group of processes"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]

PHONE, DESKTOP = 390, 1200
LOADED = "document.readyState === 'complete' && [...document.images].every(image => image.complete)"
FACTS = """JSON.stringify({
  images: document.images.length,
  loaded: [...document.images].filter(image => image.naturalWidth > 1).length,
  wide: [...document.images].filter(image => image.getBoundingClientRect().right > innerWidth).length,
  scroll: document.documentElement.scrollWidth, title: document.title,
  requests: performance.getEntriesByType("resource").filter(entry => !entry.name.startsWith("data:")).length})"""


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Results of the main command on a tiny phantom."""
    folder = tmp_path_factory.mktemp("job")
    options = {**TINY, "phantom_subjects": 3, "labelled": 1, "picture_every": 2, "validate_every": 2}
    done = run_bundle("ct_liver/train.json", phantom_dir=folder / "phantom", output_dir=folder / "out", **options)
    assert done.code == 0, done.errors
    return folder / "out"


@pytest.fixture(scope="module")
def server(run_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of MLflow's pages for that run."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [
        sys.executable, "-m", "mlflow", "ui", "--backend-store-uri", f"sqlite:///{run_folder / 'mlruns.db'}",
        "--host", "127.0.0.1", "--port", str(port), "--workers", "1",
    ]  # fmt: skip
    environment = {**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    log = tmp_path_factory.mktemp("server") / "log"
    with log.open("w") as stream:
        process = subprocess.Popen(
            command, cwd=log.parent, env=environment, stdout=stream, stderr=stream, start_new_session=True
        )
    try:
        for _ in range(1000):
            assert process.poll() is None, log.read_text()
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5):
                    break
            except OSError:
                time.sleep(0.3)
        yield f"http://127.0.0.1:{port}"
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(timeout=60)


def share_of_dark(picture: Path) -> float:
    """Share of nearly black pixels: the pages are light, the pictures of scans are dark."""
    with Image.open(picture) as opened:
        return float((np.asarray(opened.convert("L")) < 12).mean())


def write_report(place: str, out: Path) -> str:
    assert main(["report", "--tracking_uri", place, "--run", "latest", "--out", str(out)]) == 0
    return out.read_text(encoding="utf-8")


def check_report(browser: Browser, page: Path) -> None:
    for width in (DESKTOP, PHONE):
        browser.open(page.as_uri(), width, 3000)
        browser.wait_for(LOADED + " && document.images.length > 0")
        found = json.loads(browser.ask(FACTS))
        assert found["title"].startswith("ct_liver: SemanticGAN")
        assert found["images"] >= 10
        assert found["loaded"] == found["images"]
        assert found["wide"] == 0
        assert found["scroll"] <= width
        assert found["requests"] == 0
        browser.screenshot(page.with_suffix(f".{width}.png"))
        assert share_of_dark(page.with_suffix(f".{width}.png")) > 0.02
    browser.print_pdf(page.with_suffix(".pdf"))
    assert 3 <= len(re.findall(rb"/Type\s*/Page\b", page.with_suffix(".pdf").read_bytes())) <= 30


def check_mlflow(browser: Browser, server: str, picture: Path) -> None:
    from mlflow import MlflowClient

    client = MlflowClient(server)
    experiment = client.get_experiment_by_name("ct_liver")
    runs = client.search_runs([experiment.experiment_id])
    run = next(run for run in runs if "mlflow.parentRunId" not in run.data.tags)
    place = f"{server}/#/experiments/{experiment.experiment_id}/runs/{run.info.run_id}"
    browser.open(f"{place}/artifacts/evaluation/overlays_ct.png?workflowType=machine_learning", 1400, 1000)
    browser.wait_for("[...document.images].some(image => image.complete && image.naturalWidth > 800)")
    browser.screenshot(picture)
    assert run.info.run_name in browser.ask("document.body.innerText")
    assert share_of_dark(picture) > 0.035


def test_the_report_shows_its_pictures_on_a_desk_and_on_a_phone(run_folder: Path, tmp_path: Path) -> None:
    write_report(str(run_folder), tmp_path / "report.html")
    with Browser(tmp_path / "profile") as browser:
        check_report(browser, tmp_path / "report.html")


def test_the_report_from_a_server_is_the_same(run_folder: Path, server: str, tmp_path: Path) -> None:
    there = write_report(server, tmp_path / "http.html")
    here = write_report(str(run_folder), tmp_path / "sqlite.html")
    assert there.count("<img") == here.count("<img") >= 10
    assert there.count("<tr") == here.count("<tr")


def test_the_page_of_mlflow_shows_the_pictures(server: str, tmp_path: Path) -> None:
    with Browser(tmp_path / "profile") as browser:
        check_mlflow(browser, server, tmp_path / "mlflow.png")
