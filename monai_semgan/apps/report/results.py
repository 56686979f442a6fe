"""Failures first, then every patient of every domain."""

from __future__ import annotations

from typing import Any

from ...metrics import FAILURE_DICE
from ...utils.names import safe_name
from .charts import strip_row, strip_scale
from .evaluation import Evaluation, domain_title
from .markup import Markup, table, tag
from .pictures import Pictures
from .verdict import interval_text

__all__ = ["last_case", "results", "worst_first"]

_FURTHER = ("hd95_mm", "assd_mm", "volume_error_percent")
# Inches and dots an inch of `visualize.overlay_sheet`.
_DOTS, _HEADING, _CASE = 130, 0.75, 2.45


def worst_first(evaluation: Evaluation, pictures: Pictures) -> list[Any]:
    """The patients that went worst, with pictures."""
    parts: list[Any] = []
    if evaluation.failures:
        rows = [(domain_title(domain), name, message) for domain, name, message in evaluation.failures]
        parts.append(table(["domain", "patient", "why"], rows, caption="Patients without a result"))
    for organ in evaluation.organs if evaluation.rows else []:
        rows = [
            (domain_title(row["domain"]), row["name"], _dice(row["dice"]), _text(row["hd95_mm"], 1),
             _text(row["volume_error_percent"], 0), _remark(row))
            for domain in evaluation.domains
            for row in _worst(evaluation, domain, organ)
        ]  # fmt: skip
        head = ["domain", "patient", "Dice", "HD95 mm", "volume error %", "remark"]
        classes = ["", "", "number", "number", "number minor", "remark"]
        title = f"All failures and the worst two of each domain, by {evaluation.main_stage}"
        parts.append(table(head, rows, classes, _with_organ(title, organ)))
    figures = [
        pictures.figure(path, path.rpartition("/")[2].rpartition(".")[0].replace("_", " "), "Worst patients")
        for path in pictures.named("worst", "failure")
    ]
    if not any(figures):
        for domain in evaluation.domains:
            for path in pictures.named(f"overlays_{safe_name(domain)}."):
                caption = f"{domain_title(domain)}, the worst patient: reference green, prediction red"
                figures.append(pictures.figure(path, caption, f"Worst patient of {domain}", last_case))
    if any(figures):
        parts.append(tag("div", *figures, class_="figures wide"))
    return parts


def last_case(width: int, height: int) -> tuple[int, int, int, int] | None:
    """Where the last case, the worst one, stands on a sheet by ``overlay_sheet``; None on another picture."""
    cases = (height / _DOTS - _HEADING) / _CASE
    if round(cases) < 1 or abs(cases - round(cases)) * _CASE * _DOTS > 1.5:
        return None
    return 0, height - round(_CASE * _DOTS), width, height


def results(evaluation: Evaluation, pictures: Pictures) -> list[Any]:
    """Every domain: dots by stage, a table of means, and the patients."""
    parts: list[Any] = []
    for organ in evaluation.organs:
        parts += [*(_strips(evaluation, organ) if evaluation.rows else []), _means(evaluation, organ)]
    for organ in evaluation.organs if evaluation.rows else []:
        for domain in evaluation.domains:
            parts.append(_patients(evaluation, domain, organ))
    sheets = [
        pictures.figure(path, f"{domain_title(domain)}: best, median and worst patient", f"Segmentations of {domain}")
        for domain in evaluation.domains
        for path in pictures.named(f"overlays_{safe_name(domain)}.")
    ]
    if any(sheets):
        parts.append(tag("div", *sheets, class_="figures"))
    charts = ["risk_coverage"] if evaluation.rows else ["risk_coverage", "box_plot"]
    pictures.used += pictures.named("box_plot") if evaluation.rows else []  # the dots above say it already
    for path in pictures.named(*charts):
        figure = pictures.figure(path, path.rpartition("/")[2].rpartition(".")[0].replace("_", " "), "Chart")
        parts.append(tag("div", figure, class_="figures chart") if figure else None)
    return parts


def _worst(evaluation: Evaluation, domain: str, organ: str) -> list[dict[str, Any]]:
    rows = evaluation.patients(domain, evaluation.main_stage, organ)
    failed = evaluation.failed(domain, evaluation.main_stage, organ)
    return rows[: max(len(failed), 2)]


def _means(evaluation: Evaluation, organ: str) -> Markup:
    classes = ["", "", "number minor", "number", "number", "number minor", *["number minor"] * 3, "number"]
    rows = []
    for domain in evaluation.domains:
        for stage in evaluation.stages:
            dice = evaluation.interval(domain, stage, organ)
            if dice.mean is None:
                continue
            name = domain_title(domain) if stage == evaluation.stages[0] else ""
            further = [evaluation.interval(domain, stage, organ, score).mean for score in _FURTHER]
            cells = [
                name, stage, dice.count or "-", f"{dice.mean:.3f}", interval_text(dice),
                _text(dice.worst, 3), *(_text(value, 1) for value in further),
                evaluation.failure_count(domain, stage, organ),
            ]  # fmt: skip
            row = [tag("td", cell, class_=name or None) for cell, name in zip(cells, classes, strict=True)]
            rows.append(tag("tr", *row, class_="strong" if stage == evaluation.main_stage else None))
    head = ["domain", "stage", "n", "Dice", "95 % interval", "worst", "HD95 mm", "ASSD mm", "volume error %", "failed"]
    caption = f"Means over patients, in three dimensions, on the scan's own grid; failed: Dice below {FAILURE_DICE:g}"
    return table(head, rows, classes, _with_organ(caption, organ))


def _strips(evaluation: Evaluation, organ: str) -> list[Markup]:
    values = [row["dice"] for row in evaluation.rows if row["organ"] == organ and row["dice"] is not None]
    if not values:
        return []
    scale = (0.0 if min(values) < 0.5 else 0.5 if min(values) < 0.7 else 0.7, 1.0)
    parts: list[Markup] = []
    for domain in evaluation.domains:
        parts.append(tag("h4", domain_title(domain)))
        for stage in evaluation.stages:
            rows = evaluation.patients(domain, stage, organ)
            found = [(row["dice"], row["name"]) for row in rows if row["dice"] is not None]
            if not found:
                continue
            dice = evaluation.interval(domain, stage, organ)
            parts.append(strip_row(
                stage, found, dice.mean, dice.low, dice.high, scale, f"{dice.mean:.3f}", stage == evaluation.main_stage
            ))  # fmt: skip
    text = "Dice of each patient (dots), mean (line) and its 95 % interval (bar). "
    return [
        tag("div", *parts, strip_scale(scale), tag("p", _with_organ(text, organ), class_="caption"), class_="strips")
    ]


def _patients(evaluation: Evaluation, domain: str, organ: str) -> Markup | None:
    rows = evaluation.patients(domain, evaluation.main_stage, organ)
    if not rows:
        return None
    more = [stage for stage in evaluation.stages if stage != evaluation.main_stage]
    by_stage = {s: {r["name"]: r for r in evaluation.patients(domain, s, organ)} for s in more}
    predicted = any(row["predicted_dice"] is not None for row in rows)
    further = [*(["predicted Dice"] if predicted else []), *more]
    head = ["patient", "Dice", "HD95 mm", "ASSD mm", "volume error %", *further, "remark"]
    classes = ["", "number", "number", "number minor", "number minor", *["number minor"] * len(further), "remark"]
    lines = [
        (
            row["name"], _dice(row["dice"]), _text(row["hd95_mm"], 1), _text(row["assd_mm"], 1),
            _text(row["volume_error_percent"], 0), *([_text(row["predicted_dice"], 3)] if predicted else []),
            *(_text(by_stage[stage].get(row["name"], {}).get("dice"), 3) for stage in more), _remark(row),
        )
        for row in rows
    ]  # fmt: skip
    caption = _with_organ(f"{domain_title(domain)}, worst first, by {evaluation.main_stage}", organ)
    return table(head, lines, classes, caption)


def _dice(value: float | None) -> Markup:
    """The number over a bar as long as it says."""
    bad = value is None or value < FAILURE_DICE
    width = 0.0 if value is None else max(0.0, min(value, 1.0)) * 100
    bar = tag("i", style=f"width:{width:.0f}%")
    return tag("span", bar, _text(value, 3), class_="bar bad" if bad else "bar")


def _remark(row: dict[str, Any]) -> str:
    return ", ".join(filter(None, ["no Dice" if row["dice"] is None else "", row.get("flag"), row.get("message")]))


def _with_organ(text: str, organ: str) -> str:
    return f"{organ[:1].upper()}{organ[1:]}. {text}" if organ else text


def _text(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"
