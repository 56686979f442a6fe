"""Charts as inline SVG: no script, sharp on paper, readable on a phone because all letters are HTML."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Any

from .markup import Markup, tag

__all__ = ["compact", "curve_panel", "strip_row", "strip_scale"]

_MOST_POINTS = 240
_HEIGHT = 100.0


def curve_panel(title: str, points: Sequence[tuple[float, float]], unit: str = "images") -> Markup:
    """One curve over images seen: faint as logged, dark as a running mean; red marks where it was not a number.

    Args:
        title: what it is.
        points: ``(step, value)``, two or more, by step.
        unit: of the steps.
    """
    fine = [(step, value) for step, value in points if math.isfinite(value)]
    broken = [step for step, value in points if not math.isfinite(value)]
    if not fine:
        return tag("figure", tag("figcaption", tag("b", title), " never a number"), class_="curve")
    first, last = points[0][0], points[-1][0]
    low, high = min(value for _, value in fine), max(value for _, value in fine)
    wide, tall = (last - first) or 1.0, (high - low) or 1.0

    def place(step: float, value: float) -> str:
        return f"{(step - first) / wide * 100:.2f} {_HEIGHT - 4 - (value - low) / tall * (_HEIGHT - 8):.2f}"

    def line(values: Sequence[tuple[float, float]], name: str) -> Markup:
        return tag("path", d="M" + "L".join(place(*point) for point in _thinned(values)), class_=name)

    # The mean reaches over a fifteenth of the training: short histories are drawn as they are.
    drawn = [line(fine, "raw"), line(_running_mean(fine, min(1 - 15 / max(len(fine), 15), 0.95)), "mean")]
    drawn += [tag("path", d=f"M{(step - first) / wide * 100:.2f} 90V100", class_="broken") for step in broken[:50]]
    picture = tag(
        "svg", *drawn, viewBox=f"0 0 100 {_HEIGHT:g}", preserveAspectRatio="none", role="img",
        aria_label=f"{title}: from {compact(fine[0][1])} to {compact(fine[-1][1])}",
    )  # fmt: skip
    return tag(
        "figure",
        tag("figcaption", tag("b", _breakable(title)), tag("span", compact(fine[-1][1]), title="last value")),
        # Where a falling or a rising curve leaves room for the numbers.
        tag("div", tag("span", compact(high), class_="high"), tag("span", compact(low), class_="low"), picture,
            class_="plot" if fine[-1][1] <= fine[0][1] else "plot rising"),
        tag("div", tag("span", compact(first)), tag("span", f"{compact(last)} {unit}"), class_="axis"),
        class_="curve",
    )  # fmt: skip


def strip_row(
    title: Any, values: Sequence[tuple[float, str]], mean: float | None, low: float | None, high: float | None,
    scale: tuple[float, float], note: Any = "", main: bool = True,
) -> Markup:  # fmt: skip
    """One row of dots, a patient each, with mean and interval.

    Args:
        title: of the row.
        values: value and name of each patient.
        mean: marked by a line; None: none.
        low: of the interval around it; None: none.
        high: of the interval.
        scale: value at the left and the right end; what lies outside stands at the end.
        note: text after the row.
        main: whether the row is drawn in the strong colour.
    """

    def across(value: float) -> str:
        share = (value - scale[0]) / (scale[1] - scale[0])
        return f"{min(max(share, 0.0), 1.0) * 100:.2f}%"

    drawn = [tag("line", x1=across(tick), x2=across(tick), y1="0", y2="100%", class_="grid") for tick in _ticks(scale)]
    if low is not None and high is not None:
        width = float(across(high)[:-1]) - float(across(low)[:-1])
        drawn.append(tag("rect", x=across(low), y="22%", width=f"{width:.2f}%", height="56%", class_="interval"))
    for value, name in values:
        drawn.append(tag("circle", tag("title", f"{name}: {value:.3f}"), cx=across(value), cy="50%", r="4.5"))
    if mean is not None:
        drawn.append(tag("line", x1=across(mean), x2=across(mean), y1="10%", y2="90%", class_="mean"))
    return tag(
        "div", tag("div", title, class_="label"), tag("svg", *drawn, role="img", aria_label=f"{len(values)} patients"),
        tag("div", note, class_="note"), class_="strip" if main else "strip other",
    )  # fmt: skip


def strip_scale(scale: tuple[float, float]) -> Markup:
    """The numbers below rows of dots."""
    ticks = _ticks(scale)
    texts = [
        tag("span", f"{tick:.1f}", style=f"left:{(tick - scale[0]) / (scale[1] - scale[0]) * 100:.2f}%")
        for tick in ticks
    ]
    return tag("div", tag("div", class_="label"), tag("div", *texts, class_="ticks"), tag("div", class_="note"),
               class_="strip scale")  # fmt: skip


def compact(value: float) -> str:
    """A number in few characters: ``12.4k``, ``0.031``, ``2e-05``."""
    if 1000 <= abs(value) < 1e6:
        return f"{value / 1000:.3g}k"
    return f"{value:.3g}"


def _breakable(name: str) -> list[Any]:
    """A metric's name, which a line may end in after ``/`` and ``_``."""
    parts = re.split(r"(?<=[/_])", name)
    return [piece for part in parts for piece in (part, tag("wbr"))][:-1]


def _ticks(scale: tuple[float, float]) -> list[float]:
    step = 0.1 if scale[1] - scale[0] < 0.55 else 0.2
    first = math.ceil(scale[0] / step - 1e-9)
    return [round(number * step, 6) for number in range(first, math.floor(scale[1] / step + 1e-9) + 1)]


def _thinned(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """At most 240 points: of each stretch the lowest and the highest, so that no spike gets lost."""
    if len(points) <= _MOST_POINTS:
        return list(points)
    stretches = _MOST_POINTS // 2
    kept = {0, len(points) - 1}
    for number in range(stretches):
        own = range(number * len(points) // stretches, (number + 1) * len(points) // stretches)
        kept |= {min(own, key=lambda index: points[index][1]), max(own, key=lambda index: points[index][1])}
    return [points[index] for index in sorted(kept)]


def _running_mean(points: Sequence[tuple[float, float]], smoothing: float) -> list[tuple[float, float]]:
    """Exponential mean without the bias of the first values towards zero."""
    result, total, weight = [], 0.0, 0.0
    for step, value in points:
        total, weight = smoothing * total + value, smoothing * weight + 1.0
        result.append((step, total / weight))
    return result
