"""The top of the page: what it is, and the key numbers with their intervals."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...metrics import FAILURE_DICE
from ..tracked_runs.listing import short_name
from ..tracked_runs.tracked_run import TrackedRun, format_duration
from .evaluation import Evaluation, MeanInterval, domain_title
from .markup import Markup, tag

__all__ = ["interval_text", "verdict"]

_FEW = 5  # patients, below which an interval says little
_BIASED = 10.0  # per cent of the volume


def verdict(run: TrackedRun, evaluation: Evaluation, others: int) -> Markup:
    """Name, one line about the training, a card for each domain, and what to keep in mind.

    Args:
        run: whose page it is.
        evaluation: its scores.
        others: how many other runs the page compares it with.
    """
    parts: list[Any] = [
        tag("p", run.experiment, class_="eyebrow"),
        tag("h1", short_name(run), " ", tag("span", run.status.lower(), class_=f"badge {_mood(run)}")),
        tag("p", _line(run), class_="lead"),
    ]
    if evaluation:
        stage = evaluation.main_stage
        for organ in evaluation.organs:
            cards = [_card(evaluation, domain, stage, organ) for domain in evaluation.domains]
            heading = f"{organ[:1].upper()}{organ[1:]}: mean Dice over test patients ({stage})".removeprefix(": ")
            parts += [tag("h2", heading, class_="small"), tag("div", *cards, class_="cards")]
    elif run.is_benchmark:
        text = "A benchmark of several trainings: each has a page of its own, with its patients and pictures."
        parts.append(tag("p", text, class_="notice"))
    else:
        reason = "it is still running" if run.status == "RUNNING" else f"its state is {run.status.lower()}"
        text = "No evaluation yet: " + (reason if run.status != "FINISHED" else "this run has no test scores") + "."
        parts.append(tag("p", text, class_="notice"))
    if evaluation.rows:
        parts.append(tag("p", _summary(evaluation), class_="summary"))
    notes = _notes(run, evaluation, others)
    if notes:
        parts.append(tag("ul", *(tag("li", note) for note in notes), class_="notes"))
    return tag("header", *parts, id="verdict")


def interval_text(interval: MeanInterval, digits: int = 3) -> str:
    """``0.85 to 0.90``; a dash where there is none."""
    if interval.low is None or interval.high is None:
        return "-"
    return f"{interval.low:.{digits}f} to {interval.high:.{digits}f}"


def _card(evaluation: Evaluation, domain: str, stage: str, organ: str) -> Markup:
    dice = evaluation.interval(domain, stage, organ)
    distance = evaluation.interval(domain, stage, organ, "hd95_mm")
    failed = evaluation.failure_count(domain, stage, organ)
    lines: list[Any] = []
    if dice.low is not None:
        lines.append(tag("p", "95 %: ", tag("b", interval_text(dice))))
    if dice.worst is not None:
        lines.append(tag("p", f"{dice.count} patient{'s' * (dice.count != 1)}, worst ", tag("b", f"{dice.worst:.3f}")))
    if distance.mean is not None:
        lines.append(tag("p", f"HD95 {distance.mean:.1f} mm"))
    lines.append(
        tag("p", f"{failed} failed" if failed else f"none below {FAILURE_DICE:g}", class_="bad" if failed else "good")
    )
    value = "no result" if dice.mean is None else f"{dice.mean:.3f}"
    head = tag("p", domain_title(domain), class_="domain")
    return tag("div", head, tag("p", value, class_="value"), *lines, class_="card failed" if failed else "card")


def _line(run: TrackedRun) -> str:
    words = []
    data = run.params.get("dataset_dir")
    if run.method:
        words.append(f"method {run.method}")
    if data:
        words.append(f"data set {data.rstrip('/').rpartition('/')[2]}")
    if run.labelled:
        unlabelled = run.params.get("scans.unlabelled")
        words.append(f"{run.labelled} labelled" + (f" and {unlabelled} unlabelled scans" if unlabelled else " scans"))
    if run.seed:
        words.append(f"seed {run.seed}")
    words.append(f"{run.started:%d %B %Y, %H:%M}")
    if run.seconds is not None:
        words.append(format_duration(run.seconds))
    return " · ".join(words)


def _summary(evaluation: Evaluation) -> str:
    """The weakest domain, the worst patient and the failures, in words."""
    stage = evaluation.main_stage
    places = [(d, o) for o in evaluation.organs for d in evaluation.domains]
    scored = [(dice.mean, d, o) for d, o in places if (dice := evaluation.interval(d, stage, o)).mean is not None]
    total = sum(evaluation.interval(d, stage, o).count for d, o in places)
    failed = sum(evaluation.failure_count(d, stage, o) for d, o in places)
    words = [f"{failed or 'None'} of {max(total, failed)} results failed (Dice below {FAILURE_DICE:g} or no result)."]
    if scored:
        mean, domain, organ = min(scored, key=lambda entry: entry[0])
        worst = evaluation.patients(domain, stage, organ)[0]
        of_what = f"{organ} on " if len(evaluation.organs) > 1 else ""
        value = "no Dice" if worst["dice"] is None else f"{worst['dice']:.3f}"
        if len(scored) > 1:
            place = f"{of_what}{domain_title(domain)}"
            words.insert(0, f"Weakest on {place}, {mean:.3f}; worst patient there {worst['name']}, {value}.")
        else:
            words.insert(0, f"Worst patient {worst['name']}, {value}.")
    return " ".join(words)


def _notes(run: TrackedRun, evaluation: Evaluation, others: int) -> list[str]:
    notes = []
    if run.status in ("FAILED", "KILLED"):
        notes.append(f"The run ended as {run.status.lower()}: what is below may be incomplete.")
    if run.tags.get("git.dirty") == "true":
        notes.append("The code had changes that were not committed, so the commit alone does not reproduce this run.")
    if evaluation.rows:
        notes += _score_notes(evaluation)
        notes.append("One training: what another seed would change is not in these intervals.")
    elif evaluation:
        notes.append("The run holds no table of patients, so there are means without intervals.")
    if others:
        plural = "run" if others == 1 else "runs"
        notes.append(f"{others} other {plural} of the same data stand under “Other runs”.")
    return notes


def _score_notes(evaluation: Evaluation) -> list[str]:
    stage, notes = evaluation.main_stage, []
    places = [(domain, organ) for domain in evaluation.domains for organ in evaluation.organs]
    count = sum(evaluation.failure_count(domain, stage, organ) for domain, organ in places)
    if count:
        notes.append(f"{count} result{'s' * (count != 1)} below Dice {FAILURE_DICE:g} or missing: see “Worst first”.")
    for domain, organ in places:
        error = evaluation.interval(domain, stage, organ, "volume_error_percent").mean
        if error is not None and abs(error) >= _BIASED:
            what = f"Masks of {organ or 'the organ'} on {domain_title(domain)} are"
            notes.append(f"{what} {abs(error):.0f} % too {'large' if error > 0 else 'small'} on average.")
    few = [d for d, o in places if 0 < evaluation.interval(d, stage, o).count < _FEW]
    if few:
        names = _listed([domain_title(domain) for domain in dict.fromkeys(few)])
        notes.append(f"Fewer than {_FEW} patients in {names}: such an interval is wide, and its shape a guess.")
    return notes


def _listed(words: Sequence[str]) -> str:
    return " and ".join(filter(None, [", ".join(words[:-1]), words[-1]]))


def _mood(run: TrackedRun) -> str:
    return {"FINISHED": "good", "FAILED": "bad", "KILLED": "bad"}.get(run.status, "busy")
