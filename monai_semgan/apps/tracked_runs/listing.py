"""Lists of runs: which ones, and as what."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from .columns import metric_value, score_names
from .text_table import Column, fit_table, plain
from .tracked_run import TrackedRun, format_duration

__all__ = ["filter_runs", "list_table", "run_record", "short_name"]

_MOST_DOMAINS = 6


def filter_runs(runs: Sequence[TrackedRun], **wanted: str | None) -> list[TrackedRun]:
    """Runs whose ``experiment``, ``bundle``, ``method`` and ``status`` are as wanted.

    Upper and lower case are the same. The end of a value may be left out: ``--status fin``.
    """
    asked = {name: value.lower() for name, value in wanted.items() if value}
    return [
        run for run in runs if all(str(getattr(run, name)).lower().startswith(value) for name, value in asked.items())
    ]


def list_table(runs: Sequence[TrackedRun], metrics: Sequence[str] = (), width: int | None = None) -> str:
    """The runs as a table for a terminal of ``width`` characters.

    Args:
        runs: in the order to show.
        metrics: what to show of each, see ``metric_value``; by default Dice in every domain.
        width: of the terminal; None for as wide as it takes.
    """
    names = list(metrics) or score_names(runs)[:_MOST_DOMAINS]
    columns = [
        Column("id", [run.id[:8] for run in runs], 99),
        Column("run", [plain(short_name(run)) for run in runs], 90, shrinks=True),
        Column("experiment", [plain(run.experiment) for run in runs], 20, shrinks=True),
        Column("method", [plain(run.method) for run in runs], 15),
        Column("labels", [run.labelled for run in runs], 25, right=True),
        Column("seed", [run.seed for run in runs], 24, right=True),
        Column("status", [run.status.lower() for run in runs], 60),
        Column("started", [f"{run.started:%m-%d %H:%M}" for run in runs], 50),
        Column("took", [format_duration(run.seconds) for run in runs], 22, right=True),
        Column("split", [run.split[:6] for run in runs], 10),
        Column("stage", [plain(next(iter(run.scores), "")) for run in runs], 40),
    ]
    for place, name in enumerate(names):
        values = [metric_value(run, name) for run in runs]
        title = plain(name.removesuffix("/dice") if not metrics else name)
        columns.append(Column(title, [_number(value) for value in values], 80 - place, right=True))
    table = fit_table(columns, width)
    if not metrics and names:
        table += "\n\nNumbers: mean Dice over the test patients of each domain, by the stage that is named."
    return table


def run_record(run: TrackedRun) -> dict[str, Any]:
    """Everything about a run, for JSON; CSV takes the plain values of it."""
    return {
        "id": run.id, "name": run.name, "experiment": run.experiment, "bundle": run.bundle, "method": run.method,
        "labelled": run.labelled, "seed": run.seed, "status": run.status,
        "started": run.started.isoformat(timespec="seconds"), "seconds": run.seconds, "split": run.split,
        "commit": run.tags.get("mlflow.source.git.commit", ""), "device": run.tags.get("device", ""),
        "store": run.store.title, "parent": run.parent or "", "metrics": run.metrics, "params": run.params,
    }  # fmt: skip


def short_name(run: TrackedRun) -> str:
    """The run's name without the time at its end, which stands in a column of its own."""
    return re.sub(r" \d{4}-\d\d-\d\d \d\d:\d\d:\d\d$", "", run.name)


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}" if abs(value) < 100 else f"{value:.4g}"
