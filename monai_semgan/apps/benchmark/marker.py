"""``cell.json``: what a cell was started with, how far it came and what it cost."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from ...utils.errors import InputError
from ...utils.files import write_json_atomic
from .plan import CELLS_FOLDER, Cell

__all__ = ["MARKER", "add_attempt", "check_markers", "is_finished", "patients_without_result", "read_marker", "start"]

MARKER = "cell.json"


def read_marker(folder: Path) -> dict[str, Any] | None:
    """The marker in a cell's folder; None where there is none.

    Raises:
        InputError: the file is not a marker.
    """
    path = folder / MARKER
    try:
        marker = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(marker["attempts"], list):
            raise TypeError("attempts")
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"marker {path} cannot be read", got=f"{type(error).__name__}: {error}", fix=f"delete the folder {folder}"
        ) from error
    return marker


def is_finished(cell: Cell) -> bool:
    """Whether nothing is left to do; scores that were deleted are made again."""
    marker = read_marker(cell.folder)
    return marker is not None and marker["status"] == "finished" and cell.per_case.is_file()


def start(cell: Cell) -> None:
    """Write down what the cell is started with, before anything else is in its folder."""
    marker = read_marker(cell.folder) or {"attempts": []}
    marker.update(
        status="started",
        method=cell.method.name,
        title=cell.method.title,
        preset=cell.preset,
        dataset=cell.dataset,
        labelled=cell.labelled,
        seed=cell.seed,
        settings_hash=cell.settings_hash,
        given=dict(cell.given),
        settings=dict(cell.settings),
    )
    write_json_atomic(cell.folder / MARKER, marker)


def add_attempt(cell: Cell, status: str, code: int, wall_seconds: float, cpu_seconds: float | None) -> None:
    """Write down how an attempt ended: ``"finished"``, ``"failed"`` or ``"stopped"``; costs add up over attempts."""
    marker = read_marker(cell.folder) or {"attempts": []}
    attempt = {"status": status, "code": code, "wall_seconds": wall_seconds, "cpu_seconds": cpu_seconds}
    attempts = [*marker["attempts"], attempt]
    known = all(one["cpu_seconds"] is not None for one in attempts)
    marker.update(
        status=status,
        attempts=attempts,
        wall_seconds=round(sum(one["wall_seconds"] for one in attempts), 2),
        cpu_seconds=round(sum(one["cpu_seconds"] for one in attempts), 2) if known else None,
    )
    write_json_atomic(cell.folder / MARKER, marker)


def patients_without_result(cell: Cell) -> list[str]:
    """``domain/name`` of the patients that the evaluation could not score."""
    try:
        with cell.per_case.open(newline="", encoding="utf-8") as stream:
            return [f"{row['domain']}/{row['name']}" for row in csv.DictReader(stream) if row.get("message")]
    except OSError:
        return []


def check_markers(cells: Sequence[Cell], output_dir: Path) -> None:
    """Hold what is in the results folder against what is planned, before anything is run.

    Raises:
        InputError: it holds another preset or data set, or a planned cell was started with other settings.
    """
    for folder in marked_folders(output_dir):
        marker = read_marker(folder) or {}
        for name in ("preset", "dataset"):
            planned = getattr(cells[0], name)
            if marker.get(name) != planned:
                raise InputError(
                    f"results folder {output_dir}", got=f"results of {name} {marker.get(name)}",
                    wanted=f"a new folder, or one with results of {name} {planned}", fix="give another --output_dir",
                )  # fmt: skip
    problems = [problem for cell in cells if (problem := _changed(cell))]
    if problems:
        more = f"\n  and {len(problems) - 8} more" if len(problems) > 8 else ""
        raise InputError(
            f"results folder {output_dir}: {len(problems)} trainings were started with other settings:"
            + "".join(f"\n  {problem}" for problem in problems[:8]) + more,
            fix="give another --output_dir, change the settings back, or delete these folders to train anew",
        )  # fmt: skip


def marked_folders(output_dir: Path) -> Iterable[Path]:
    """Folders of all cells that were ever started here."""
    return sorted(path.parent for path in (output_dir / CELLS_FOLDER).glob(f"*/*/{MARKER}"))


def _changed(cell: Cell) -> str:
    marker = read_marker(cell.folder)
    if marker is None or marker.get("settings_hash") == cell.settings_hash:
        return ""
    before, now = marker.get("settings", {}), json.loads(json.dumps(cell.settings))
    changes = [
        f"{name} was {before.get(name, 'not there')} and is now {now.get(name, 'not there')}"
        for name in sorted({*before, *now})
        if before.get(name, ...) != now.get(name, ...)
    ]
    return f"{cell.folder} ({'; '.join(changes[:4])}{'; ...' if len(changes) > 4 else ''})"
