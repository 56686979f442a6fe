"""What may be wrong in a results folder after a kill: half-written files, results counted twice, other weights."""

from __future__ import annotations

import csv
import json
import sqlite3
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import torch
from PIL import Image

__all__ = ["broken_files", "counted_twice", "finished_runs", "other_weights", "same_table"]

_ONCE = {
    "per_case.csv": ("domain", "name", "stage", "organ"),
    "report.csv": ("case", "slice"),
    "report_cases.csv": ("case",),
    "results.csv": ("method", "row", "labelled", "seed", "domain", "name", "organ"),
}  # fmt: skip
_MEASURED = ("seconds", "time", "latency")


def broken_files(out: Path) -> list[str]:
    """Files that are not whole, by their own names; what a killed writer left under a temporary name is not counted."""
    return [f"{path}: {problem}" for path in _files(out) if (problem := _broken(path))]


def _files(out: Path) -> Iterator[Path]:
    for path in sorted(out.rglob("*")):
        if path.is_file() and not path.name.startswith(".tmp-"):
            yield path


def _broken(path: Path) -> str:
    try:
        if path.suffix == ".pt":
            torch.load(path, weights_only=True)
        elif path.suffix == ".json":
            json.loads(path.read_text(encoding="utf-8"))
        elif path.suffix == ".csv":
            with path.open(newline="", encoding="utf-8") as stream:
                rows = list(csv.reader(stream))
            if not path.read_text(encoding="utf-8").endswith("\n") and path.name != "metrics.csv":
                return "no end of the last line"
            if path.name != "metrics.csv" and len({len(row) for row in rows}) > 1:
                return "lines of different lengths"
        elif path.suffix == ".png":
            with Image.open(path) as image:
                image.load()
        elif path.name.endswith(".nii.gz"):
            np.asarray(nib.load(path).dataobj)
        elif path.suffix == ".db":
            with sqlite3.connect(path) as base:
                answer = base.execute("pragma integrity_check").fetchone()[0]
            base.close()
            return "" if answer == "ok" else str(answer)
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return ""


def counted_twice(out: Path, finished: int = 1) -> list[str]:
    """Rows, values and MLflow points that stand twice; runs that were left open, or other than ``finished`` of them.

    A command that is given again after its run was closed makes a second run: that is what users are told.
    """
    found = []
    for path in _files(out):
        if path.name in _ONCE:
            keys = Counter(tuple(row.get(k, "") for k in _ONCE[path.name]) for row in _rows(path))
            found += [f"{path}: {key} {count} times" for key, count in keys.items() if count > 1]
        elif path.name == "metrics.csv":
            points = Counter((row["step"], k) for row in _rows(path) for k, v in row.items() if v and k not in _FIXED)
            found += [f"{path}: {key} {count} times" for key, count in points.items() if count > 1]
        elif path.name == "mlruns.db":
            found += [f"{path}: {problem}" for problem in _mlflow_problems(path, finished)]
    return found


_FIXED = ("step", "time")


def finished_runs(out: Path) -> int:
    """Runs in the folder's MLflow data base that were closed as finished; stages below a run are not counted."""
    path = out / "mlruns.db"
    return _states(path).get("FINISHED", 0) if path.is_file() else 0


def _states(path: Path) -> Counter[str]:
    base = sqlite3.connect(path)
    try:
        below = "select run_uuid from tags where key = 'mlflow.parentRunId'"
        return Counter(state for (state,) in base.execute(f"select status from runs where run_uuid not in ({below})"))
    except sqlite3.OperationalError:  # killed while the tables were made
        return Counter()
    finally:
        base.close()


def _mlflow_problems(path: Path, finished: int) -> Iterator[str]:
    base = sqlite3.connect(path)
    try:
        states = _states(path)
        if states.get("FINISHED") != finished or states.get("RUNNING"):
            yield f"runs {dict(states)}, wanted {finished} finished and none left open"
        points = base.execute("select run_uuid, key, step, value, count(*) from metrics group by 1, 2, 3, 4")
        for _, key, step, value, count in points:
            if count > 1:
                yield f"{key} at step {step} has {value} {count} times"
    finally:
        base.close()


def other_weights(one: Path, other: Path) -> list[str]:
    """Names of tensors and plain values that differ between two checkpoints, bit for bit."""
    a, b = (dict(_flatten(torch.load(path, weights_only=True))) for path in (one, other))
    if a.keys() != b.keys():
        return sorted(a.keys() ^ b.keys())
    return [k for k in a if not (torch.equal(a[k], b[k]) if isinstance(a[k], torch.Tensor) else a[k] == b[k])]


def _flatten(state: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(state, (dict, list, tuple)):
        for key, value in state.items() if isinstance(state, dict) else enumerate(state):
            yield from _flatten(value, f"{prefix}/{key}")
    else:
        yield prefix, state


def same_table(one: Path, other: Path) -> bool:
    """Whether two tables are the same but for what was measured by the clock."""
    return [_plain(row) for row in _rows(one)] == [_plain(row) for row in _rows(other)]


def _plain(row: dict[str, str]) -> dict[str, str]:
    return {k: v for k, v in row.items() if not any(word in k for word in _MEASURED)}


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))
