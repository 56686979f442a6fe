"""Read every run of some stores, and find the one that somebody means."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Sequence
from typing import Any

from ...utils.errors import InputError
from .stores import Store, quietly
from .tracked_run import TrackedRun

__all__ = ["all_runs", "find_run", "read_runs"]

_PARENT = "mlflow.parentRunId"
_MOST_SHOWN = 5
_SHORTEST_PREFIX = 4


def read_runs(stores: Sequence[Store]) -> list[TrackedRun]:
    """Every training, evaluation and benchmark, newest first; nested runs are inside of those they belong to.

    Trainings of a benchmark (a parent with the tag ``benchmark``) are runs of their own and name it as ``parent``.

    Raises:
        InputError: a store stopped answering.
    """
    found: list[TrackedRun] = []
    for store in stores:
        try:
            with quietly():
                own = list(_every(store))
        except Exception as error:
            raise InputError(
                f"MLflow store {store.title} cannot be read", got=f"{type(error).__name__}: {str(error)[:200]}",
                fix="look whether the server is up and the file whole",
            ) from error  # fmt: skip
        found += _nest(own)
    return sorted(found, key=lambda run: run.run.info.start_time or 0, reverse=True)


def all_runs(runs: Sequence[TrackedRun]) -> list[TrackedRun]:
    """The runs and those nested in them."""
    return [member for run in runs for member in run.members]


def find_run(runs: Sequence[TrackedRun], wanted: str) -> TrackedRun:
    """The run that ``wanted`` names: an id or its beginning, a name or an unambiguous part of it, or ``latest``.

    Raises:
        InputError: there is none (with the nearest ids), or there are several.
    """
    every = all_runs(runs)
    if not every:
        raise InputError("there is no run yet", fix="train something first, or name another store with --tracking_uri")
    if wanted == "latest":
        return runs[0]
    for found in _matches(runs, every, wanted.strip()):
        if len(found) == 1:
            return found[0]
        if found:
            raise InputError(f"several runs are meant by {wanted!r}:\n{_lines(found)}", fix="give more of the run's id")
    nearest = _nearest(every, wanted)
    raise InputError(
        f"no run {wanted!r}; the nearest are:\n{_lines(nearest)}",
        fix="give one of these ids, or see them all with: monai-semgan runs",
    )


def _matches(runs: Sequence[TrackedRun], every: Sequence[TrackedRun], wanted: str) -> Iterator[list[TrackedRun]]:
    """What is meant, the surest reading first; by name a run comes before those nested in it."""
    if len(wanted) >= _SHORTEST_PREFIX:
        yield [run for run in every if run.id.startswith(wanted.lower())]
    for some in (runs, every):
        yield [run for run in some if run.name == wanted]
        if wanted:
            yield [run for run in some if wanted.lower() in run.name.lower()]


def _nearest(runs: Sequence[TrackedRun], wanted: str) -> list[TrackedRun]:
    def likeness(run: TrackedRun) -> float:
        texts = (run.id, run.id[: len(wanted)], run.name)
        return max(difflib.SequenceMatcher(None, wanted.lower(), text.lower()).ratio() for text in texts)

    return sorted(runs, key=likeness, reverse=True)[:_MOST_SHOWN]


def _lines(runs: Sequence[TrackedRun]) -> str:
    shown = [f"  {run.id}  {run.experiment}: {run.name}" for run in runs[:_MOST_SHOWN]]
    more = len(runs) - _MOST_SHOWN
    return "\n".join([*shown, *([f"  and {more} more"] if more > 0 else [])])


def _every(store: Store) -> Iterator[TrackedRun]:
    experiments = {entry.experiment_id: entry.name for entry in _pages(store.client.search_experiments)}
    for start in range(0, len(experiments), 50):
        ids = list(experiments)[start : start + 50]
        for run in _pages(lambda page_token, ids=ids: store.client.search_runs(ids, page_token=page_token)):
            yield TrackedRun(store, run, experiments[run.info.experiment_id])


def _pages(ask: Any) -> Iterator[Any]:
    token = None
    while True:
        page = ask(page_token=token)
        yield from page
        token = page.token
        if not token:
            return


def _nest(runs: Sequence[TrackedRun]) -> list[TrackedRun]:
    by_id = {run.id: run for run in runs}
    roots = []
    for run in runs:
        above = by_id.get(run.run.data.tags.get(_PARENT, ""))
        if above is None or above is run:
            roots.append(run)
        elif above.is_benchmark:
            run.parent = above.id
            roots.append(run)
        else:
            above.children.append(run)
    return roots
