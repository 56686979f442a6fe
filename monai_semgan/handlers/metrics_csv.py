"""Training metrics as a plain CSV file: one row per logged step, whether or not MLflow can be reached."""

from __future__ import annotations

import csv
import math
import os
from collections.abc import Mapping
from pathlib import Path

from monai_semgan.utils import write_csv_atomic

__all__ = ["MetricsCsv", "read_metrics"]

_FIXED = ("step", "time")


class MetricsCsv:
    """Appends rows ``step, time, <metric>, <metric> ...`` to a file; a new metric becomes a new column.

    Appending costs one short write. Only when a metric appears for the first time is the file rewritten
    (atomically) with the wider header. A line torn by a kill is dropped at the next start.

    Args:
        path: the file, e.g. ``<output_dir>/metrics.csv``. It is not touched before the first row.
    """

    def __init__(self, path: str | os.PathLike) -> None:
        self.path = Path(path)
        self._columns: list[str] | None = None

    def append(self, step: int, time: float, metrics: Mapping[str, float]) -> None:
        """Add one row.

        Args:
            step: images seen.
            time: seconds since 1970.
            metrics: name -> value.
        """
        if self._columns is None:
            self._open()
        assert self._columns is not None
        new = [name for name in metrics if name not in self._columns]
        if new:
            self._columns += new
            write_csv_atomic(self.path, self._rows(), self._columns)
        with self.path.open("a", newline="", encoding="utf-8") as stream:
            writer = csv.DictWriter(stream, self._columns, restval="")
            values = {name: repr(float(value)) for name, value in metrics.items()}
            writer.writerow({"step": step, "time": f"{time:.3f}", **values})

    def rewind(self, step: int, prefix: str = "") -> None:
        """Forget the values of the metrics named ``prefix...`` that lie after ``step``.

        A training that is resumed from a checkpoint measures those steps again; without this the file would
        tell two stories.
        """
        if not self.path.exists():
            return
        self._open()
        assert self._columns is not None
        rows = self._rows()
        kept = []
        for row in rows:
            if int(float(row["step"])) > step:
                row = {k: ("" if k.startswith(prefix) and k not in _FIXED else v) for k, v in row.items()}
            if any(value for name, value in row.items() if name not in _FIXED):
                kept.append(row)
        if kept != rows:
            write_csv_atomic(self.path, kept, self._columns)

    def _open(self) -> None:
        """Read the header, and drop a torn last line."""
        self._columns = list(_FIXED)
        if not self.path.exists():
            return
        text = self.path.read_text(encoding="utf-8")
        if not text.startswith("step,"):
            # Somebody else's file: keep it, and begin our own.
            os.replace(self.path, self.path.with_name(self.path.name + ".old"))
            return
        self._columns = next(csv.reader([text.splitlines()[0]]))
        if not text.endswith("\n"):
            write_csv_atomic(self.path, self._rows()[:-1], self._columns)

    def _rows(self) -> list[dict[str, str]]:
        if not self.path.exists():
            return []
        with self.path.open(newline="", encoding="utf-8") as stream:
            return [row for row in csv.DictReader(stream) if row.get("step")]


def read_metrics(path: str | os.PathLike) -> dict[str, list[tuple[int, float]]]:
    """Read a file of :class:`MetricsCsv` as metric -> ``(step, value)`` pairs, ordered by step.

    When a step was logged twice, the later row counts. Ready for ``monai_semgan.visualize.curve_plot``.
    """
    histories: dict[str, dict[int, float]] = {}
    with Path(path).open(newline="", encoding="utf-8") as stream:
        for row in csv.DictReader(stream):
            for name, text in row.items():
                if name in _FIXED or not text:
                    continue
                try:
                    histories.setdefault(name, {})[int(float(row["step"]))] = float(text)
                except (TypeError, ValueError):
                    histories.setdefault(name, {})[int(float(row["step"]))] = math.nan
    return {name: sorted(points.items()) for name, points in histories.items()}
