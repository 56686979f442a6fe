"""Training metrics as a plain CSV file: one row per logged step, whether or not MLflow can be reached."""

from __future__ import annotations

import csv
import math
import os
from collections.abc import Collection, Mapping
from pathlib import Path

from monai_semgan.utils import write_csv_atomic

__all__ = ["MetricsCsv", "read_metrics"]

_FIXED = ("step", "time")


class MetricsCsv:
    """Appends rows ``step, time, <metric>, <metric> ...`` to a file; a new metric becomes a new column.

    Appending costs one short write. Only when a metric appears for the first time is the file rewritten
    (atomically) with the wider header. A line torn by a kill is dropped at the next start. What an earlier process
    has logged at the same step gives way to what is logged now: nothing stands there twice.

    Args:
        path: the file, e.g. ``<output_dir>/metrics.csv``. It is not touched before the first row.
    """

    def __init__(self, path: str | os.PathLike) -> None:
        self.path = Path(path)
        self._columns: list[str] | None = None
        self._earlier: dict[int, frozenset[str]] = {}  # step -> metrics in the file as it was found

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
        twice = self._earlier.get(step, frozenset()).intersection(metrics)
        if new or twice:
            self._columns += new
            rows = self._rows()
            if twice:
                rows = [_without(row, twice) if int(float(row["step"])) == step else row for row in rows]
                self._earlier[step] -= twice
            write_csv_atomic(self.path, [row for row in rows if _says_something(row)], self._columns)
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
                row = _without(row, {k for k in row if k.startswith(prefix) and k not in _FIXED})
            if _says_something(row):
                kept.append(row)
        if kept != rows:
            write_csv_atomic(self.path, kept, self._columns)
            self._note_earlier()

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
        self._note_earlier()

    def _note_earlier(self) -> None:
        kinds: dict[frozenset[str], frozenset[str]] = {}  # the many rows of a training share a few sets of names
        self._earlier = {}
        for row in self._rows():
            names = frozenset(k for k, v in row.items() if v and k not in _FIXED)
            step = int(float(row["step"]))
            names |= self._earlier.get(step, frozenset())
            self._earlier[step] = kinds.setdefault(names, names)

    def _rows(self) -> list[dict[str, str]]:
        if not self.path.exists():
            return []
        with self.path.open(newline="", encoding="utf-8") as stream:
            return [row for row in csv.DictReader(stream) if row.get("step")]


def _without(row: dict[str, str], names: Collection[str]) -> dict[str, str]:
    return {name: "" if name in names else value for name, value in row.items()}


def _says_something(row: dict[str, str]) -> bool:
    return any(value for name, value in row.items() if name not in _FIXED)


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
