"""Values of runs by the names that people type, and which direction is better."""

from __future__ import annotations

import difflib
import math
import statistics
from collections.abc import Callable, Sequence
from typing import Any

from ...utils.errors import InputError
from .tracked_run import TrackedRun

__all__ = ["fact", "lower_is_better", "metric_value", "score_names", "sorted_runs"]

_FACTS: dict[str, Callable[[TrackedRun], Any]] = {
    "started": lambda run: run.started.isoformat(timespec="seconds"),
    "took": lambda run: run.seconds,
    "name": lambda run: run.name,
    "status": lambda run: run.status,
    "labelled": lambda run: float(run.labelled) if run.labelled.isdigit() else None,
    "seed": lambda run: float(run.seed) if run.seed.isdigit() else None,
}
_LOWER = ("loss", "hd95", "assd", "error", "failures", "aurc", "fid", "distance", "frechet", "seconds")


def fact(run: TrackedRun, name: str) -> Any:
    """A property of the run that is not a metric; None when it has none."""
    return _FACTS[name](run)


def metric_value(run: TrackedRun, name: str) -> float | None:
    """A metric by its full name, ``domain/score`` or ``score`` (mean over domains) of the run's first stage."""
    if name in run.metrics:
        return run.metrics[name]
    domains = next(iter(run.scores.values()), {})
    domain, _, score = name.rpartition("/")
    if domain:
        return domains.get(domain, {}).get(score)
    known = [scores[score] for scores in domains.values() if score in scores]
    return statistics.fmean(known) if known else None


def score_names(runs: Sequence[TrackedRun], score: str = "dice") -> list[str]:
    """``domain/score`` of every domain that a run was judged on: the one that most runs have first."""
    counts: dict[str, int] = {}
    for run in runs:
        for domain, scores in next(iter(run.scores.values()), {}).items():
            if score in scores:
                counts[domain] = counts.get(domain, 0) + 1
    return [f"{domain}/{score}" for domain in sorted(counts, key=lambda name: (-counts[name], name))]


def lower_is_better(name: str) -> bool:
    """Whether small values of a metric are the good ones."""
    return any(word in name.rpartition("/")[2].lower() for word in _LOWER)


def sorted_runs(runs: Sequence[TrackedRun], by: str, reverse: bool = False) -> list[TrackedRun]:
    """Runs by a fact (newest first, otherwise rising) or by a metric, best first; those without it stand last.

    Raises:
        InputError: nothing of that name; with the nearest.
    """
    if by in _FACTS:
        values, falling = [fact(run, by) for run in runs], by == "started"
    else:
        name = _full_name(runs, by)
        values, falling = [metric_value(run, name) for run in runs], not lower_is_better(name)
    known = [pair for pair in zip(values, runs, strict=True) if _known(pair[0])]
    ordered = sorted(known, key=lambda pair: pair[0], reverse=falling != reverse)
    return [run for _, run in ordered] + [r for v, r in zip(values, runs, strict=True) if not _known(v)]


def _known(value: Any) -> bool:
    return value is not None and not (isinstance(value, float) and math.isnan(value))


def _full_name(runs: Sequence[TrackedRun], name: str) -> str:
    if any(metric_value(run, name) is not None for run in runs):
        return name
    every = sorted({metric for run in runs for metric in run.metrics})
    holding = [metric for metric in every if name in metric]
    if len(holding) == 1:
        return holding[0]
    nearest = holding[:5] or difflib.get_close_matches(name, [*_FACTS, *every], 5, 0.3)
    raise InputError(
        "--sort", got=name, wanted="started, took, name, status, labelled, seed, dice, ct/dice or a metric's name",
        fix=f"nearest here: {', '.join(nearest)}" if nearest else None,
    )  # fmt: skip
