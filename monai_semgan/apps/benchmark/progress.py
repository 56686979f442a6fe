"""What the benchmark says about each finished cell."""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from pathlib import Path

from ...handlers import format_duration
from . import marker
from .collect import collect_cell
from .plan import Cell

__all__ = ["Progress"]


class Progress:
    """Counts the cells and guesses the time left from those that were run by this command.

    Args:
        cells: all cells.
        workers: how many run at once.
    """

    def __init__(self, cells: Sequence[Cell], workers: int = 1) -> None:
        self.total = len(cells)
        self.workers = workers
        self.done = sum(marker.is_finished(cell) for cell in cells)
        self._before = self.done
        self._started = time.monotonic()

    def start(self, output_dir: Path) -> str:
        """The first line."""
        found = f", {self.done} of them finished before" if self.done else ""
        return f"{self.total} trainings{found}, {self.workers} at a time; logs in {output_dir / 'cells'}"

    def line(self, cell: Cell) -> str:
        """The line of a finished cell: mean Dice of every domain and row, cost, time left."""
        self.done += 1
        left = (time.monotonic() - self._started) / (self.done - self._before) * (self.total - self.done)
        record = marker.read_marker(cell.folder) or {}
        cost = record.get("cpu_seconds")
        spent = f"{format_duration(record.get('wall_seconds', 0.0))}" + (
            "" if cost is None else f", {format_duration(cost)} of CPU"
        )
        parts = [f"[{self.done}/{self.total}] {cell.title}: {_scores(cell, record)} | {spent}"]
        if self.done < self.total:
            parts.append(f"about {format_duration(left)} left")
        lacking = marker.patients_without_result(cell)
        if lacking:
            parts.append(f"NO RESULT for {', '.join(lacking)}, see {cell.log}")
        return " | ".join(parts)


def _scores(cell: Cell, record: dict) -> str:
    """``ct .892, mr_t2spir .711``; with several rows, each with its name before."""
    rows = collect_cell(cell.folder, record)
    organ = next((row["organ"] for row in rows), "")
    texts = {}
    for name in dict.fromkeys(row["row"] for row in rows):
        own = [row for row in rows if row["row"] == name and row["organ"] == organ]
        means = []
        for domain in dict.fromkeys(row["domain"] for row in own):
            known = [row["dice"] for row in own if row["domain"] == domain and row["dice"] is not None]
            means.append(f"{domain} {statistics.fmean(known):.3f}" if known else f"{domain} -")
        texts[name] = ", ".join(means)
    if len(texts) == 1:
        return next(iter(texts.values()))
    return "; ".join(f"{name.removeprefix(cell.method.name + '_')} {text}" for name, text in texts.items())
