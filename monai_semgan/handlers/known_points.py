"""What a continued MLflow run holds already, so that a training that repeats some steps counts none twice."""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Sequence
from pathlib import Path
from typing import Any

__all__ = ["FOLDER_TAG", "KnownPoints", "close_lost_runs", "folder_mark"]

FOLDER_TAG = "results_folder.sha256"


class KnownPoints:
    """Passes on the metrics of a continued run that it does not have: same name, step and value.

    A training that was killed goes on from its last checkpoint and logs what came after that again, and MLflow keeps
    every point that it is given. Values that differ (speeds, or an evaluation of other weights) are kept.
    """

    def __init__(self) -> None:
        self._points: dict[tuple[str, str], set[tuple[int, float]]] = {}

    def new(self, client: Any, run_id: str, metrics: Sequence[Any]) -> list[Any]:
        """Those of ``metrics`` (``mlflow.entities.Metric``) that the run does not have."""
        for name in {metric.key for metric in metrics}:
            if (run_id, name) not in self._points:
                history = client.get_metric_history(run_id, name)
                self._points[run_id, name] = {(point.step, point.value) for point in history}
        return [m for m in metrics if (m.step, m.value) not in self._points[run_id, m.key]]


def folder_mark(folder: Path) -> str:
    """A results folder on this machine as a hash: its name may say who the patient is."""
    return hashlib.sha256(f"{platform.node()}:{folder}".encode()).hexdigest()[:16]


def close_lost_runs(client: Any, experiment_id: str, folder: Path) -> None:
    """Close as FAILED what a process left open that was killed after it had made its run and before it kept the id."""
    wanted = f"tags.`{FOLDER_TAG}` = '{folder_mark(folder)}' and attributes.status = 'RUNNING'"
    for lost in client.search_runs([experiment_id], filter_string=wanted):
        client.set_terminated(lost.info.run_id, "FAILED")
