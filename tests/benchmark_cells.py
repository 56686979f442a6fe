"""A benchmark of two made-up bundles, and jobs that write their scores without training anything."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from monai_semgan.apps.benchmark import BenchmarkMethod, Cell, Preset, plan_cells, rows
from monai_semgan.apps.benchmark.process import Ended
from monai_semgan.apps.evaluation_report import CASE_COLUMNS
from monai_semgan.utils import write_csv_atomic

CONFIG = {
    "imports": ["$import os"], "output_dir": "runs", "dataset_dir": "$x", "iterations": 100, "channels": [4, 8],
    "learning_rate": 0.001, "seed": 0, "labelled": 8, "network": {"_target_": "UNet"}, "experiment": {}, "run": [],
}  # fmt: skip
METHODS = {
    "plain": BenchmarkMethod("plain", "Plain", "one", {"network": ("plain", "Plain")}, seconds={"iterations": 0.5}),
    "two_stage": BenchmarkMethod(
        "two_stage", "Two stages", "two",
        {"encoder": ("two_encoder", "Two stages, encoder"), "optimised": ("two_optimised", "Two stages, optimised")},
        {"learning_rate": 0.1},
    ),
}  # fmt: skip
PRESET = Preset("small", "a test's budget", {"channels": [2]}, {"plain": {"iterations": 10}})


def write_bundles(folder: Path, **changes: object) -> Path:
    """Two bundles with nothing but their configuration."""
    for name in ("one", "two"):
        path = folder / "bundles" / name / "configs" / "train.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({**CONFIG, **changes}), encoding="utf-8")
    return folder / "bundles"


def make_cells(
    folder: Path, labelled: tuple[int, ...] = (1, 4), seeds: tuple[int, ...] = (0, 1), preset: Preset = PRESET
) -> list[Cell]:
    """The plan of the two methods in ``folder/out``."""
    bundles = write_bundles(folder) if not (folder / "bundles").is_dir() else folder / "bundles"
    splits = {number: f"split{number}" for number in labelled}
    return plan_cells(list(rows.BENCHMARK_METHODS.values()), preset, splits, seeds, "data", folder / "out", bundles)


@pytest.fixture
def two_methods(monkeypatch: pytest.MonkeyPatch) -> None:
    """The table of methods holds the two of this file."""
    monkeypatch.setattr(rows, "BENCHMARK_METHODS", METHODS)
    for module in ("plan", "collect"):
        monkeypatch.setattr(f"monai_semgan.apps.benchmark.{module}.BENCHMARK_METHODS", METHODS)


def write_scores(cell: Cell, dice: Mapping[str, float] | None = None, lost: tuple[str, ...] = ()) -> None:
    """The table that an evaluation leaves behind; patients in ``lost`` gave no result."""
    table = []
    for domain, base in (dice or {"ct": 0.9, "mr": 0.6}).items():
        for number in range(3):
            name = f"{domain}{number}"
            if name in lost:
                table.append({"domain": domain, "name": name, "message": "cannot be read"})
                continue
            table += [
                {
                    "domain": domain, "name": name, "stage": stage, "organ": "liver",
                    "dice": base + 0.01 * number + 0.001 * cell.seed, "hd95_mm": "nan" if number == 0 else 10.0,
                    "assd_mm": 2.0, "volume_error_percent": 1.0, "seconds": 0.5,
                }
                for stage in cell.method.rows
            ]  # fmt: skip
    write_csv_atomic(cell.per_case, table, CASE_COLUMNS)


class FakeJob:
    """Has ended when it is asked for the ``looks``-th time; then its work is done."""

    def __init__(self, work: Callable[[], int], looks: int = 1) -> None:
        self.work, self.looks, self.interrupted, self.killed = work, looks, 0, 0

    def poll(self) -> Ended | None:
        self.looks -= 1
        if self.interrupted:
            return Ended(-2, 1.0, 0.5)
        return None if self.looks > 0 else Ended(self.work(), 2.0, 1.5)

    def interrupt(self) -> None:
        self.interrupted += 1

    def kill(self) -> None:
        self.killed += 1


class FakeBundles:
    """Launches fake jobs; ``codes``: key of a cell -> exit code, 0 unless named."""

    def __init__(self, codes: Mapping[str, int] | None = None, lost: tuple[str, ...] = (), looks: int = 1) -> None:
        self.codes, self.lost, self.looks = dict(codes or {}), lost, looks
        self.started: list[str] = []
        self.environments: list[dict[str, str]] = []
        self.jobs: list[FakeJob] = []

    def __call__(self, cell: Cell, environment: Mapping[str, str]) -> FakeJob:
        self.started.append(cell.key)
        self.environments.append(dict(environment))

        def work() -> int:
            code = self.codes.get(cell.key, 0)
            cell.log.parent.mkdir(parents=True, exist_ok=True)
            cell.log.write_text("begin\n\nERROR: the disk is full. What to do: make room\n", encoding="utf-8")
            if code == 0 or self.lost:
                write_scores(cell, lost=self.lost)
            return code

        self.jobs.append(FakeJob(work, self.looks))
        return self.jobs[-1]
