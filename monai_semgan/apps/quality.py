"""How well the estimates of quality that inferers report go with the true Dice."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ..inferers.scan_quality import QUALITY_ESTIMATES
from ..metrics import risk_coverage_curve, summarise_estimate

__all__ = ["format_quality", "quality_curves", "quality_metrics", "summarise_quality"]

ALL_DOMAINS = "all domains"


def summarise_quality(
    rows: Sequence[Mapping[str, Any]], stages: Iterable[str], organs: Iterable[str]
) -> dict[str, Any]:
    """The block ``quality`` of ``summary.json``; empty when no row has an estimate.

    Args:
        rows: of ``per_case.csv``.
        stages: names of the inferers.
        organs: the first is the main one.

    Returns:
        ``{stage: {estimate: {"all": scores, "domains": {domain: scores}}}}`` with the scores of
        ``summarise_estimate``, for the first organ; with several organs also one such entry for each under
        ``organs``. What a stage does not report is left out.
    """
    organs = list(organs)
    quality: dict[str, Any] = {}
    for stage in stages:
        found = {
            organ: estimates
            for organ in organs
            if (estimates := _of_organ([r for r in rows if r.get("stage") == stage and r.get("organ") == organ]))
        }
        if found:
            first = found.get(organs[0], {})
            quality[stage] = {**first, "organs": found} if len(organs) > 1 else first
    return quality


def quality_curves(rows: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, list[tuple[float, float]]]]:
    """Panels for ``risk_coverage_plot`` from the rows of one stage and organ.

    A panel for all domains together comes first, then one for each domain if there are several. Patients without
    one of the estimates that the others have are left out of a panel, so that its curves are about the same
    patients; panels of a single patient are left out.
    """
    names = [name for name in QUALITY_ESTIMATES if any(_number(row.get(name)) is not None for row in rows)]
    rows = [row for row in rows if all(_number(row.get(name)) is not None for name in (*names, "dice"))]
    domains = list(dict.fromkeys(str(row["domain"]) for row in rows))
    groups = {domains[0] if len(domains) == 1 else ALL_DOMAINS: rows} if domains else {}
    if len(domains) > 1:
        groups |= {domain: [row for row in rows if row["domain"] == domain] for domain in domains}
    return {heading: _curves(own, names) for heading, own in groups.items() if names and len(own) > 1}


def quality_metrics(quality: Mapping[str, Any]) -> dict[str, float]:
    """Flat values for tracking: ``test/<stage>/quality/<estimate>/<score>``, all domains together."""
    return {
        f"test/{stage}/quality/{name}/{score}": value
        for stage, estimates in quality.items()
        for name, scores in estimates.items()
        if name in QUALITY_ESTIMATES
        for score in ("spearman", "aurc", "aurc_oracle", "aurc_random")
        if (value := scores["all"][score]) is not None
    }


def format_quality(quality: Mapping[str, Any]) -> list[str]:
    """A line for the terminal for each stage and estimate."""
    lines = []
    for stage, estimates in quality.items():
        for name, found in estimates.items():
            if name not in QUALITY_ESTIMATES:
                continue
            scores = found["all"]
            rank = "-" if scores["spearman"] is None else f"{scores['spearman']:+.2f}"
            lines.append(
                f"{name}, {stage}, {scores['n']} patients: Spearman with Dice {rank}, AURC {scores['aurc']:.3f} "
                f"(oracle {scores['aurc_oracle']:.3f}, random {scores['aurc_random']:.3f})"
            )
    return lines


def _of_organ(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    estimates = {}
    for name, higher_is_better in QUALITY_ESTIMATES.items():
        own = [row for row in rows if _number(row.get(name)) is not None and _number(row.get("dice")) is not None]
        if not own:
            continue
        domains = dict.fromkeys(str(row["domain"]) for row in own)
        parts = {"": own} | {domain: [row for row in own if row["domain"] == domain] for domain in domains}
        scores = {
            part: summarise_estimate([float(r[name]) for r in of], [float(r["dice"]) for r in of], higher_is_better)
            for part, of in parts.items()
        }
        estimates[name] = {"all": scores.pop(""), "domains": scores}
    return estimates


def _curves(rows: Sequence[Mapping[str, Any]], names: Sequence[str]) -> dict[str, list[tuple[float, float]]]:
    risk = [1.0 - float(row["dice"]) for row in rows]
    confidence = {
        name.replace("_", " "): [(1 if QUALITY_ESTIMATES[name] else -1) * float(row[name]) for row in rows]
        for name in names
    }
    confidence |= {"oracle": [-value for value in risk], "random": [0.0] * len(rows)}
    return {
        name: [(float(x), float(y)) for x, y in zip(*risk_coverage_curve(values, risk), strict=True)]
        for name, values in confidence.items()
    }


def _number(value: Any) -> float | None:
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) else None
