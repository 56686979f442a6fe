"""Run the cells of a benchmark, some at a time; what is finished is not run again."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from . import marker
from .plan import Cell
from .process import Ended, last_message

__all__ = ["Job", "run_cells"]

_PAUSE = 0.1  # seconds between two looks at the processes
_PATIENCE = 60.0  # seconds that a training has to stop by itself


class Job(Protocol):
    """A started cell."""

    def poll(self) -> Ended | None:
        """How it ended, or None while it runs."""

    def interrupt(self) -> None:
        """Ask it to stop."""

    def kill(self) -> None:
        """End it."""


def run_cells(
    cells: Sequence[Cell],
    launch: Callable[[Cell, Mapping[str, str]], Job],
    workers: int = 1,
    finished: Callable[[Cell], None] = lambda cell: None,
    say: Callable[[str], None] = print,
) -> dict[str, str]:
    """Run every cell that is not finished; one that fails does not stop the others.

    A cell that was interrupted or has failed is started again with the same output folder, so that its training
    goes on from the last checkpoint. On Ctrl-C the running ones are asked to stop and waited for.

    Args:
        cells: all cells; those that are finished are passed over.
        launch: starts the process of a cell with these variables added to its environment.
        workers: how many at once. With more than one, each gets its share of the cores (``OMP_NUM_THREADS``)
            unless the environment has that variable already.
        finished: called after each cell that has finished, before the next one starts.
        say: takes the lines about cells that gave no result.

    Returns:
        key of each cell that gave no result -> why.
    """
    failures: dict[str, str] = {}
    waiting = [cell for cell in cells if not marker.is_finished(cell)]
    running: list[tuple[Cell, Job]] = []
    environment = _threads(workers)
    try:
        while waiting or running:
            for cell in _next_cells(waiting, running, workers):
                waiting.remove(cell)
                if cell.needs in failures:
                    failures[cell.key] = f"not run: it needs {cell.needs}"
                    say(f"{cell.title}: {failures[cell.key]}, which gave no result")
                    continue
                marker.start(cell)
                running.append((cell, launch(cell, environment)))
            ended = [(cell, job, end) for cell, job in running if (end := job.poll()) is not None]
            for cell, job, end in ended:
                running.remove((cell, job))
                if _settle(cell, end):
                    finished(cell)
                else:
                    failures[cell.key] = f"exit code {end.code}: {last_message(cell.log)}"
                    say(f"{cell.title} FAILED, {failures[cell.key]}\n  see {cell.log}")
            if running and not ended:
                time.sleep(_PAUSE)
    finally:
        _stop(running)
    return failures


def _next_cells(waiting: Sequence[Cell], running: Sequence[tuple[Cell, Job]], workers: int) -> list[Cell]:
    """The first waiting cells that there is room for and whose predecessor is not still to come."""
    to_come = {cell.key for cell in waiting} | {cell.key for cell, _ in running}
    ready = [cell for cell in waiting if cell.needs not in to_come]
    return ready[: max(0, workers - len(running))]


def _threads(workers: int) -> dict[str, str]:
    if workers == 1 or "OMP_NUM_THREADS" in os.environ:
        return {}
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return {"OMP_NUM_THREADS": str(max(1, cores // workers))}


def _settle(cell: Cell, end: Ended) -> bool:
    """Write down how a cell ended; True when there are scores.

    An evaluation that could not score some patients ends with an error, and with the scores of all others: those
    patients are told in the tables.
    """
    scored = cell.per_case.is_file() and (end.code == 0 or bool(marker.patients_without_result(cell)))
    marker.add_attempt(cell, "finished" if scored else "failed", end.code, end.wall_seconds, end.cpu_seconds)
    return scored


def _stop(running: Sequence[tuple[Cell, Job]]) -> None:
    """Stop what still runs, gently first; a second Ctrl-C ends it at once."""
    left = list(running)
    for _, job in left:
        job.interrupt()
    patience = time.monotonic() + _PATIENCE
    while left:
        try:
            for cell, job in list(left):
                end = job.poll()
                if end is not None:
                    left.remove((cell, job))
                    done = end.code == 0 and cell.per_case.is_file()  # it was about to end anyway
                    status = "finished" if done else "stopped"
                    marker.add_attempt(cell, status, end.code, end.wall_seconds, end.cpu_seconds)
            if left:
                time.sleep(_PAUSE)
        except KeyboardInterrupt:
            patience = 0.0
        if left and time.monotonic() > patience:
            for _, job in left:
                job.kill()
