"""The page as a whole."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from ... import __version__
from ..tracked_runs.tracked_run import TrackedRun
from .comparison import comparison, others_of, trainings_of
from .evaluation import read_evaluation
from .markup import Markup, join, tag
from .pictures import Pictures
from .provenance import model_card, provenance
from .results import results, worst_first
from .style import STYLE
from .training import curves, more_pictures, reconstructions, samples
from .verdict import verdict

__all__ = ["build_report"]

# The page holds everything itself; should something foreign ever get in, a browser does not fetch or run it.
_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"


def build_report(run: TrackedRun, runs: Sequence[TrackedRun] = (), bundles_dir: Path | None = None) -> str:
    """The HTML page about ``run``: no script, nothing from outside.

    Args:
        run: a training or an evaluation.
        runs: all runs that are known, among which those of the same data are chosen for comparison.
        bundles_dir: where the bundles with their cards are; by default ``bundles`` here or in the checkout.
    """
    evaluation = read_evaluation(run)
    others = others_of(run, runs) if evaluation else []
    pictures = Pictures(run)
    nothing = [] if run.is_benchmark else [tag("p", "No evaluation yet: there is nothing to show here.")]
    # Pictures that belong somewhere are taken first: "more pictures" shows the others.
    worst, scores = worst_first(evaluation, pictures), results(evaluation, pictures) if evaluation else []
    beside = comparison(run, evaluation, others) if evaluation else []
    sections: list[tuple[str, str, str, list[Any]]] = [
        ("trainings", "Trainings", "Trainings of this benchmark", trainings_of(run, runs)),
        ("worst", "Worst", "Worst first", worst or nothing),
        ("patients", "Results", "Results by domain and patient", scores or nothing),
        ("others", "Other runs", "Other runs of the same data", beside),
        ("samples", "Samples", "Generated from fixed latents", samples(pictures)),
        ("reconstructions", "Real slices", "Real slices and what the network makes of them", reconstructions(pictures)),
        ("curves", "Curves", "Scores by labelled scans" if run.is_benchmark else "Training curves", curves(run)),
        ("pictures", "More pictures", "More pictures", more_pictures(pictures)),
        ("origin", "Data and code", "What was trained on what", provenance(run)),
        ("card", "Model card", "Model card", model_card(run, bundles_dir)),
    ]
    sections = [entry for entry in sections if entry[3]]
    links = [tag("a", short, href=f"#{name}") for name, short, _, _ in sections]
    body = [
        verdict(run, evaluation, len(others)),
        tag("nav", *links),
        tag("main", *(tag("section", tag("h2", title), parts, id=name) for name, _, title, parts in sections)),
        _footer(run, pictures),
    ]
    head = [
        tag("meta", charset="utf-8"),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", http_equiv="Content-Security-Policy", content=_POLICY),
        tag("title", f"{run.experiment}: {run.name}"),
        tag("style", STYLE),
    ]
    page = tag("html", tag("head", *head), tag("body", *body), lang="en")
    return join([Markup("<!doctype html>\n"), page, Markup("\n")])


def _footer(run: TrackedRun, pictures: Pictures) -> Markup:
    parts: list[Any] = [
        tag("p", f"Made by monai-semgan {__version__} on {datetime.now():%Y-%m-%d %H:%M} from MLflow run {run.id}. "
                 "Research only: not a medical device. Pictures and tables may show names of scans.")
    ]  # fmt: skip
    if pictures.left_out:
        names = "; ".join(f"{path} ({reason})" for path, reason in list(pictures.left_out.items())[:20])
        parts.append(tag("p", f"Pictures left out: {names}."))
    return tag("footer", *parts)
