"""One table from the tables of all finished cells."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ...metrics import SCORE_NAMES
from ...utils.errors import InputError
from ...utils.files import write_csv_atomic
from .marker import marked_folders, read_marker
from .rows import BENCHMARK_METHODS, BenchmarkMethod

__all__ = ["RESULT_COLUMNS", "collect_cell", "collect_costs", "collect_results", "finished_cells"]

RESULT_COLUMNS = (
    "method", "row", "title", "labelled", "seed", "domain", "name", "organ", *SCORE_NAMES, "reconstruction_error",
    "seconds", "message",
)  # fmt: skip


def finished_cells(output_dir: Path) -> list[tuple[Path, dict[str, Any]]]:
    """Folder and marker of every finished cell, those of earlier commands in this folder included."""
    found = [(folder, read_marker(folder) or {}) for folder in marked_folders(output_dir)]
    order = {name: number for number, name in enumerate(BENCHMARK_METHODS)}
    return sorted(
        (
            (folder, marker)
            for folder, marker in found
            if marker["status"] == "finished" and per_case_file(folder).is_file()
        ),
        key=lambda pair: (pair[1]["labelled"], pair[1]["seed"], order.get(pair[1]["method"], len(order))),
    )


def per_case_file(folder: Path) -> Path:
    """The scores in the folder of a cell."""
    return folder / "run" / "eval" / "per_case.csv"


def collect_results(output_dir: Path) -> list[dict[str, Any]]:
    """Gather ``per_case.csv`` of every finished cell and write ``results.csv``, atomically.

    Returns:
        a row for each patient, organ and row of the tables, as in the file: scores are numbers, or None where
        one is not defined; a patient without any result has a ``message`` and a row all the same.

    Raises:
        InputError: a table cannot be read.
    """
    rows = [row for folder, marker in finished_cells(output_dir) for row in collect_cell(folder, marker)]
    write_csv_atomic(output_dir / "results.csv", rows, RESULT_COLUMNS)
    return rows


def collect_cell(folder: Path, marker: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The rows of one cell."""
    path = per_case_file(folder)
    try:
        with path.open(newline="", encoding="utf-8") as stream:
            table = list(csv.DictReader(stream))
        return _rows(table, marker)
    except (OSError, ValueError, KeyError) as error:
        raise InputError(
            f"scores in {path} cannot be read", got=f"{type(error).__name__}: {error}",
            wanted="the table of an evaluation", fix="delete that file and give the command again",
        ) from error  # fmt: skip


def collect_costs(output_dir: Path) -> list[dict[str, Any]]:
    """What each finished cell cost: method, labelled, seed, CPU and wall seconds, evaluation included."""
    return [
        {name: marker.get(name) for name in ("method", "title", "labelled", "seed", "cpu_seconds", "wall_seconds")}
        for _, marker in finished_cells(output_dir)
    ]


def _rows(table: Sequence[Mapping[str, str]], marker: Mapping[str, Any]) -> list[dict[str, Any]]:
    method = BENCHMARK_METHODS.get(marker["method"]) or BenchmarkMethod(marker["method"], marker["title"], "")
    stages = list(dict.fromkeys(line["stage"] for line in table if line["stage"])) or list(method.rows)
    organs = list(dict.fromkeys(line["organ"] for line in table if line["organ"])) or [""]
    own = {name: marker[name] for name in ("method", "labelled", "seed")}
    rows = []
    for line in table:
        # a patient that gave no result has one line without stage and organ: it is missing in all of them
        for stage in [line["stage"]] if line["stage"] else stages:
            for organ in [line["organ"]] if line["organ"] else organs:
                row, title = method.row(stage)
                rows.append({
                    **own, "row": row, "title": title, "domain": line["domain"], "name": line["name"], "organ": organ,
                    **{score: _number(line.get(score)) for score in SCORE_NAMES},
                    "reconstruction_error": _number(line.get("reconstruction_error")),
                    "seconds": _number(line.get("seconds")), "message": line.get("message") or "",
                })  # fmt: skip
    return rows


def _number(text: str | None) -> float | None:
    value = float(text) if text else float("nan")
    return value if value == value else None
