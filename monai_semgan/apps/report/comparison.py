"""This run beside other runs and baselines of the same data."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..tracked_runs.columns import metric_value, score_names
from ..tracked_runs.listing import short_name
from ..tracked_runs.tracked_run import TrackedRun, format_duration
from .evaluation import Evaluation, domain_title, read_evaluation
from .markup import Markup, table, tag

__all__ = ["comparison", "others_of", "trainings_of"]

_MOST = 12


def others_of(run: TrackedRun, runs: Sequence[TrackedRun]) -> list[tuple[TrackedRun, Evaluation]]:
    """Evaluated runs of the same split, newest first, with what they found; at most twelve.

    A run without a hash of its split is compared with those of its experiment whose data set has the same name.
    """
    own = {member.id for member in run.members}
    found = []
    for other in runs:
        if other.id in own or not other.scores or not _same_data(run, other):
            continue
        evaluation = read_evaluation(other)
        found.append((other, evaluation))
        if len(found) == _MOST:
            break
    return found


def comparison(run: TrackedRun, evaluation: Evaluation, others: Sequence[tuple[TrackedRun, Evaluation]]) -> list[Any]:
    """A table of the runs, and differences on the same patients."""
    if not others:
        return [tag("p", "No other evaluated run of the same split is tracked here.")]
    organ = evaluation.organs[0]
    domains = evaluation.domains
    head = ["run", "method", "labels", "seed", "stage", *(domain_title(domain) for domain in domains), "took", "id"]
    classes = ["", "minor", "number", "number", "minor", *["number"] * len(domains), "number minor", "minor"]
    lines = [_line(run, evaluation, domains, organ, strong=True)]
    lines += [_line(other, found, domains, organ) for other, found in others]
    same = "the same split" if run.split else "the same experiment and data set (the run has no hash of its split)"
    caption = f"Mean Dice by the stage that each run stands for; runs of {same}"
    parts: list[Any] = [table(head, lines, classes, f"{organ[:1].upper()}{organ[1:]}. {caption}" if organ else caption)]
    if run.split:
        parts += _differences(run, evaluation, others, organ)
    return parts


def trainings_of(run: TrackedRun, runs: Sequence[TrackedRun]) -> list[Any]:
    """The trainings of a benchmark with their Dice in every domain; nothing for another run."""
    own = [other for other in runs if other.parent == run.id]
    if not own:
        return []
    names = score_names(own)
    head = ["training", "method", "labels", "seed", "state", *(domain_title(n.rpartition("/")[0]) for n in names), "id"]
    rows = []
    for other in reversed(own):
        values = [metric_value(other, name) for name in names]
        scores = ["-" if value is None else f"{value:.3f}" for value in values]
        about = [short_name(other), other.method, other.labelled, other.seed, other.status.lower()]
        rows.append([*about, *scores, other.id[:8]])
    classes = ["", "minor", "number", "number", "minor", *["number"] * len(names), "minor"]
    return [table(head, rows, classes, "Mean Dice by the stage that each training stands for")]


def _same_data(run: TrackedRun, other: TrackedRun) -> bool:
    if run.split or other.split:
        return run.split == other.split
    names = [one.params.get("dataset_dir") for one in (run, other)]
    return run.experiment == other.experiment and names[0] is not None and names[0] == names[1]


def _line(run: TrackedRun, found: Evaluation, domains: Sequence[str], organ: str, strong: bool = False) -> Markup:
    means = [found.interval(domain, found.main_stage, organ).mean for domain in domains]
    cells = [
        (short_name(run) + (" (this run)" if strong else ""), ""), (run.method, "minor"), (run.labelled, "number"),
        (run.seed, "number"), (found.main_stage, "minor"),
        *(("-" if mean is None else f"{mean:.3f}", "number") for mean in means),
        (format_duration(run.seconds), "number minor"), (run.id[:8], "minor"),
    ]  # fmt: skip
    return tag(
        "tr", *(tag("td", text, class_=name or None) for text, name in cells), class_="strong" if strong else None
    )


def _differences(
    run: TrackedRun, evaluation: Evaluation, others: Sequence[tuple[TrackedRun, Evaluation]], organ: str
) -> list[Any]:
    from ..benchmark.compare import paired_difference

    candidates = [(stage, evaluation, f"this run, {stage}") for stage in evaluation.stages[1:]]
    candidates += [(found.main_stage, found, f"{short_name(other)} ({other.id[:8]})") for other, found in others]
    lines = []
    for stage, found, title in candidates:
        for domain in evaluation.domains:
            first = _by_name(evaluation, domain, evaluation.main_stage, organ)
            second = _by_name(found, domain, stage, organ)
            both = [name for name in first if name in second]
            if not both:
                continue
            paired = paired_difference(
                np.array([[first[name]] for name in both]), np.array([[second[name]] for name in both]), resamples=200
            )
            sure = paired.t_low is not None and (paired.t_low > 0 or paired.t_high < 0)  # type: ignore[operator]
            between = "-" if paired.t_low is None else f"{paired.t_low:+.3f} to {paired.t_high:+.3f}"
            lines.append(tag(
                "tr", tag("td", title), tag("td", stage, class_="minor"), tag("td", domain_title(domain)),
                tag("td", paired.patients, class_="number"), tag("td", f"{paired.mean:+.3f}", class_="number"),
                tag("td", between, class_="number"), class_="strong" if sure else None,
            ))  # fmt: skip
    if not lines:
        return []
    head = ["compared with", "stage", "domain", "n", "difference", "95 % interval"]
    caption = (
        f"Dice of this run's {evaluation.main_stage} less that of the other, patient by patient; bold where the "
        "interval leaves out 0. One training each: another seed may change the sign, and of many comparisons some are "
        "bold by chance"
    )
    return [table(head, lines, ["", "minor", "", "number", "number", "number"], caption)]


def _by_name(found: Evaluation, domain: str, stage: str, organ: str) -> dict[str, float]:
    return {row["name"]: row["dice"] for row in found.patients(domain, stage, organ) if row["dice"] is not None}
