"""Runs side by side: what was set differently, and what came out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .listing import short_name
from .text_table import Column, fit_table, plain
from .tracked_run import TrackedRun, format_duration

__all__ = ["compare_runs", "comparison_table"]

_TAGS = ("mlflow.source.git.commit", "git.dirty", "split.sha256", "device", "mlflow.source.name")


def compare_runs(runs: Sequence[TrackedRun], everything: bool = False) -> list[dict[str, Any]]:
    """What differs between runs, and their metrics.

    Args:
        runs: two or more.
        everything: also what is the same, and the last values of the trainings' own metrics.

    Returns:
        rows ``{"kind", "name", "values", "difference"}``: ``kind`` is ``"parameter"``, ``"code and data"`` (commit,
        split, device, versions) or ``"metric"`` (last value); ``values`` one a run, None where a run has none;
        ``difference`` of the second from the first for the metrics of two runs.
    """
    tags = [
        {name: value for name, value in run.tags.items() if name in _TAGS or name.startswith("version.")}
        for run in runs
    ]
    rows = _rows("parameter", [run.params for run in runs], everything)
    rows += _rows("code and data", tags, everything)
    # A training's own metrics are many, and their last values say little: the evaluation comes first.
    metrics = _rows("metric", [run.metrics for run in runs], True)
    if not everything:
        metrics = [row for row in metrics if row["name"].startswith("test/") and "/quality/" not in row["name"]]
    for row in metrics:
        first, *rest = row["values"]
        if len(rest) == 1 and first is not None and rest[0] is not None:
            row["difference"] = rest[0] - first
    metrics.sort(key=lambda row: not row["name"].startswith("test/"))
    return rows + metrics


def comparison_table(runs: Sequence[TrackedRun], rows: Sequence[Mapping[str, Any]], width: int | None = None) -> str:
    """The comparison as text for a terminal of ``width`` characters."""
    about = [
        ("run", [plain(short_name(run)) for run in runs]),
        ("experiment", [plain(run.experiment) for run in runs]),
        ("started", [f"{run.started:%Y-%m-%d %H:%M}" for run in runs]),
        ("took", [format_duration(run.seconds) for run in runs]),
        ("status", [run.status.lower() for run in runs]),
    ]
    parts = [_part("", runs, [name for name, _ in about], [values for _, values in about], [], width)]
    for kind in dict.fromkeys(row["kind"] for row in rows):
        own = [row for row in rows if row["kind"] == kind]
        names = [plain(row["name"]) for row in own]
        values = [[_text(value) for value in row["values"]] for row in own]
        differences = ["" if row["difference"] is None else f"{row['difference']:+.4g}" for row in own]
        parts.append(_part(kind, runs, names, values, differences, width))
    if not any(row["kind"] == "parameter" for row in rows):
        parts.insert(1, "No parameter differs.")
    if not any(row["kind"] == "metric" for row in rows):
        parts.append("None of them was evaluated; --all shows the metrics of the trainings.")
    return "\n\n".join(parts)


def _part(
    title: str, runs: Sequence[TrackedRun], names: list[str], values: Any, differences: list[str], width: int | None
) -> str:
    columns = [Column(title, names, 99, shrinks=True)]
    for place, run in enumerate(runs):
        cells = [row[place] for row in values]
        columns.append(Column(run.id[:8], cells, 90 - place, shrinks=True, right=title == "metric"))
    if any(differences):
        columns.append(Column("difference", differences, 80, right=True))
    return fit_table(columns, width)


def _rows(kind: str, parts: Sequence[Mapping[str, Any]], everything: bool) -> list[dict[str, Any]]:
    rows = []
    for name in sorted({name for part in parts for name in part}):
        values = [part.get(name) for part in parts]
        if everything or any(value != values[0] for value in values):
            rows.append({"kind": kind, "name": name, "values": values, "difference": None})
    return rows


def _text(value: Any) -> str:
    if value is None:
        return "-"
    return f"{value:.4g}" if isinstance(value, float) else plain(str(value))
