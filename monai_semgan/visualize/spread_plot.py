"""Scores against a number (labelled scans), one panel per domain: mean with spread over seeds, a dot a seed."""

from __future__ import annotations

import os
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from .files import new_figure, save_figure

__all__ = ["spread_plot"]

_COLOURS = ("#8c8c8c", "#0072b2", "#e69f00", "#009e73", "#cc79a7", "#d55e00", "#56b4e9", "#000000")


def spread_plot(
    rows: Sequence[Mapping[str, Any]],
    path: str | os.PathLike,
    x: str = "labelled",
    y: str = "dice",
    panel: str = "domain",
    group: str = "title",
    labels: tuple[str, str] = ("labelled scans", "Dice"),
    title: str | None = None,
) -> None:
    """Write a PNG with a panel for each domain: every group's mean and standard deviation at each number.

    Args:
        rows: one for each repetition: number ``x``, score ``y``, and the columns ``panel`` and ``group``, e.g.
            ``{"labelled": 8, "seed": 0, "dice": 0.9, "domain": "ct", "title": "U-Net"}``. Rows without a
            finite score are left out.
        path: the PNG to write.
        x: column of the number; its values stand at even distances, in order.
        y: column of the score.
        panel: column that tells the panels apart.
        group: column that tells the curves of a panel apart.
        labels: names of the two axes.
        title: heading.

    Raises:
        ValueError: When no row holds a finite score.
    """
    rows = [row for row in rows if _is_finite(row.get(y))]
    if not rows:
        raise ValueError(f"no row holds a finite {y!r}")
    panels = list(dict.fromkeys(str(row[panel]) for row in rows))
    groups = list(dict.fromkeys(str(row[group]) for row in rows))
    numbers = sorted({row[x] for row in rows})
    figure = new_figure(3.4 * len(panels) + 0.4, 4.2 + 0.2 * len(groups), layout="constrained")
    scores = [float(row[y]) for row in rows]
    margin = 0.08 * (max(scores) - min(scores)) or 0.05
    for place, name in enumerate(panels):
        axes = figure.add_subplot(1, len(panels), place + 1)
        for index, which in enumerate(groups):
            own = [row for row in rows if str(row[panel]) == name and str(row[group]) == which]
            # side by side, so that spreads of like means can be told apart
            shift = 0.5 * ((index + 0.5) / len(groups) - 0.5)
            _curve(axes, own, x, y, numbers, shift, _COLOURS[index % len(_COLOURS)], which)
        axes.set_title(name, fontsize=10)
        axes.set_xticks(range(len(numbers)), [str(number) for number in numbers])
        axes.set_xlim(-0.5, len(numbers) - 0.5)
        axes.set_ylim(min(scores) - margin, max(scores) + margin)  # the same in all panels
        axes.set_xlabel(labels[0])
        if place == 0:
            axes.set_ylabel(labels[1])
        axes.grid(axis="y", color="0.9")
        axes.set_axisbelow(True)
        for side in ("top", "right"):
            axes.spines[side].set_visible(False)
    if groups != [""]:
        handles, names = figure.axes[0].get_legend_handles_labels()
        figure.legend(handles, names, loc="outside lower center", ncols=min(2, len(groups)), frameon=False, fontsize=8)
    if title:
        figure.suptitle(title, fontsize=11)
    save_figure(figure, path)


def _curve(
    axes: Any, rows: list[Mapping[str, Any]], x: str, y: str, numbers: list, shift: float, colour: str, name: str
) -> None:
    places, means, spreads = [], [], []
    for place, number in enumerate(numbers):
        values = [float(row[y]) for row in rows if row[x] == number]
        if not values:
            continue
        places.append(place + shift)
        means.append(statistics.fmean(values))
        spreads.append(statistics.stdev(values) if len(values) > 1 else 0.0)
        axes.scatter([place + shift] * len(values), values, s=9, color=colour, alpha=0.5, linewidth=0)
    axes.errorbar(
        places, means, yerr=spreads, color=colour, marker="o", markersize=4, linewidth=1.2, capsize=2, label=name
    )


def _is_finite(value: Any) -> bool:
    try:
        return bool(np.isfinite(float(value)))
    except (TypeError, ValueError):
        return False
