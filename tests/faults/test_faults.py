"""Commands that are killed, refused their writes, or run for long: the tools beside this file, in small."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.faults.jobs import TRAININGS
from tests.faults.stages import STAGES

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")


_QUICK = ("supervised", "inference", "benchmark", *STAGES)


def tool(repository: Path, name: str, *words: str, timeout: float = 280) -> str:
    """Run a tool in a process of its own: what is forked should have one thread."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "MPLBACKEND": "Agg"}
    command = [sys.executable, "-W", "ignore", "-m", f"tests.faults.{name}", *words]
    done = subprocess.run(command, cwd=repository, env=environment, capture_output=True, text=True, timeout=timeout)
    assert done.returncode == 0, done.stdout + done.stderr[-2000:]
    return done.stdout


def test_a_few_kills(repository: Path, tmp_path: Path) -> None:
    tool(repository, "kill", "--kills", "2", "--seed", "4", "--jobs", *_QUICK, "--out", str(tmp_path))
    results = json.loads((tmp_path / "kills.json").read_text(encoding="utf-8"))
    assert {name: result["kills"] for name, result in results.items()} == dict.fromkeys(_QUICK, 2)


@pytest.mark.slow
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("job", [*TRAININGS, "inference", "benchmark", *STAGES])
def test_a_hundred_kills(job: str, repository: Path, tmp_path: Path) -> None:
    tool(repository, "kill", "--kills", "100", "--jobs", job, "--out", str(tmp_path), timeout=7200)


def test_a_few_refused_writes(repository: Path, tmp_path: Path) -> None:
    tool(repository, "refuse", "--trials", "5", "--out", str(tmp_path))


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_many_refused_writes(repository: Path, tmp_path: Path) -> None:
    tool(repository, "refuse", "--trials", "50", "--out", str(tmp_path), timeout=3600)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_two_thousand_iterations_keep_their_memory(repository: Path, tmp_path: Path) -> None:
    tool(repository, "long_run", "--iterations", "2000", "--out", str(tmp_path), timeout=3600)
    found = json.loads((tmp_path / "long_run.json").read_text(encoding="utf-8"))
    assert found["memory_mib_a_thousand"] < 20
    assert max(found["files"]) - min(found["files"]) <= 3
    first, second = found["cpu_ms_an_iteration"]
    assert second < 1.5 * first


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_a_folder_of_three_hundred_scans_keeps_its_memory(repository: Path, tmp_path: Path) -> None:
    tool(repository, "long_folder", "--scans", "300", "--out", str(tmp_path), timeout=3600)
    found = json.loads((tmp_path / "long_folder.json").read_text(encoding="utf-8"))
    first, _, last = found["memory_mib"]
    assert last - first < 20
    assert max(found["files"]) - min(found["files"]) <= 3
    assert found["cpu_ms_a_scan"][1] < 1.5 * found["cpu_ms_a_scan"][0]
