"""Box plot of a metric per domain: the encoder alone beside the optimised result, a dot a patient."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from .files import new_figure, save_figure

__all__ = ["box_plot"]

_COLOURS = ("#8c8c8c", "#0072b2", "#e69f00", "#009e73", "#cc79a7", "#d55e00")
_AXIS_NAMES = {
    "dice": "Dice",
    "hd95_mm": "HD95 (mm)",
    "assd_mm": "ASSD (mm)",
    "volume_error_percent": "volume error (%)",
}


def box_plot(
    rows: Sequence[Mapping[str, Any]],
    metric: str,
    path: str | os.PathLike,
    group: str = "stage",
    title: str | None = None,
) -> None:
    """Write a PNG with one box per domain and group; every patient is a dot, failures included.

    Args:
        rows: one per patient (and group): ``domain``, ``metric`` and optionally ``name`` and the ``group``
            column, e.g. ``{"domain": "ct", "name": "ct01", "stage": "encoder", "dice": 0.91}``. Rows of the
            same ``name`` in the first two groups are joined by a thin line.
        metric: the column to show, e.g. ``"dice"`` or ``"hd95_mm"``. Rows without a finite value are counted
            in the label below the box, not drawn.
        path: the PNG to write.
        group: the column that tells the boxes of one domain apart; rows without it form one group.
        title: heading.

    Raises:
        ValueError: When no row holds the metric.
    """
    rows = [row for row in rows if metric in row]
    if not rows:
        raise ValueError(f"no row holds the metric {metric!r}")
    domains = list(dict.fromkeys(str(row.get("domain", "")) for row in rows))
    groups = sorted({str(row.get(group, "")) for row in rows}, key=lambda name: (name != "encoder", name))
    figure = new_figure(max(4.5, 1.2 + 1.0 * len(domains) * len(groups)), 4.2, layout="constrained")
    axes = figure.add_subplot()
    width = 0.8 / len(groups)
    labels = []
    for place, domain in enumerate(domains):
        points: list[dict[str, tuple[float, float]]] = []
        missing = 0
        for number, name in enumerate(groups):
            x = place + (number - (len(groups) - 1) / 2) * width
            chosen = [r for r in rows if str(r.get("domain", "")) == domain and str(r.get(group, "")) == name]
            finite = [r for r in chosen if _value(r, metric) is not None]
            missing = max(missing, len(chosen) - len(finite))
            points.append(_one_box(axes, finite, metric, x, width, _COLOURS[number % len(_COLOURS)]))
        _join(axes, points)
        number_of_patients = max((len(found) for found in points), default=0)
        labels.append(f"{domain}\nn = {number_of_patients}" + (f", {missing} not defined" if missing else ""))
    axes.set_xticks(range(len(domains)), labels)
    axes.set_ylabel(_AXIS_NAMES.get(metric, metric))
    axes.set_xlim(-0.6, len(domains) - 0.4)
    if metric == "dice":
        axes.set_ylim(-0.02, 1.02)
    axes.grid(axis="y", color="0.9")
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    if groups != [""]:
        _legend(axes, groups)
    if title:
        axes.set_title(title)
    save_figure(figure, path)


def _one_box(
    axes: Any, rows: list[Mapping[str, Any]], metric: str, x: float, width: float, colour: str
) -> dict[str, tuple[float, float]]:
    """Draw one box with its dots; return where each patient's dot stands."""
    values = np.array([_value(row, metric) for row in rows], dtype=float)
    if not len(values):
        return {}
    axes.boxplot(
        values,
        positions=[x],
        widths=width * 0.8,
        showfliers=False,  # every patient is drawn below anyway
        patch_artist=True,
        manage_ticks=False,
        boxprops={"facecolor": colour, "alpha": 0.3, "edgecolor": colour},
        medianprops={"color": colour, "linewidth": 2},
        whiskerprops={"color": colour},
        capprops={"color": colour},
    )
    # Evenly fanned out in the order of the values: dots of like height stand side by side, no random jitter.
    offsets = np.zeros(len(values))
    offsets[np.argsort(values)] = (np.arange(len(values)) % 5 - 2) * width * 0.08
    axes.scatter(x + offsets, values, s=14, color=colour, edgecolor="white", linewidth=0.4, zorder=3)
    names = [str(row.get("name", number)) for number, row in enumerate(rows)]
    return {name: (float(x + dx), float(value)) for name, dx, value in zip(names, offsets, values, strict=True)}


def _join(axes: Any, points: list[dict[str, tuple[float, float]]]) -> None:
    for first, second in pairwise(points):
        for name in first.keys() & second.keys():
            (x0, y0), (x1, y1) = first[name], second[name]
            axes.plot((x0, x1), (y0, y1), color="0.6", linewidth=0.5, alpha=0.6, zorder=2)


def _legend(axes: Any, groups: list[str]) -> None:
    from matplotlib.patches import Patch

    boxes = [Patch(color=_COLOURS[n % len(_COLOURS)], alpha=0.5, label=name) for n, name in enumerate(groups)]
    axes.legend(handles=boxes, frameon=False, loc="best", fontsize=8)


def _value(row: Mapping[str, Any], metric: str) -> float | None:
    try:
        value = float(row[metric])
    except (KeyError, TypeError, ValueError):
        return None
    return value if np.isfinite(value) else None
