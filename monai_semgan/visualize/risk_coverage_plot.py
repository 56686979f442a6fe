"""Risk against coverage: how good the results are that remain when the least sure ones are set aside."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from .files import new_figure, save_figure

__all__ = ["risk_coverage_plot"]

_COLOURS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#d55e00", "#56b4e9")
_REFERENCES = {"oracle": {"color": "black", "linestyle": ":"}, "random": {"color": "#8c8c8c", "linestyle": "--"}}


def risk_coverage_plot(
    panels: Mapping[str, Mapping[str, Sequence[tuple[float, float]]]],
    path: str | os.PathLike,
    columns: int = 3,
    risk_name: str = "1 - Dice, mean of those kept",
    title: str | None = None,
) -> None:
    """Write a PNG with a panel for each group of patients and in it a curve for each estimate of quality.

    Args:
        panels: heading (a domain) -> name of the estimate -> ``(coverage, risk)`` pairs, as made by
            ``monai_semgan.metrics.risk_coverage_curve``. The names ``oracle`` and ``random`` are drawn as
            references: no estimate can be below the one, a useless one lies about the other.
        path: the PNG to write.
        columns: most panels in a row.
        risk_name: name of the upright axis.
        title: heading of the picture.

    Raises:
        ValueError: When there is no curve.
    """
    found = {
        heading: {name: np.asarray(points, dtype=float).reshape(-1, 2) for name, points in curves.items()}
        for heading, curves in panels.items()
    }
    found = {
        heading: shown
        for heading, curves in found.items()
        if (shown := {name: points for name, points in curves.items() if len(points)})
    }
    if not found:
        raise ValueError("risk_coverage_plot needs at least one curve")
    names = list(dict.fromkeys(name for curves in found.values() for name in curves))
    styles = _styles(names)
    columns = min(columns, len(found))
    rows = -(-len(found) // columns)
    figure = new_figure(3.6 * columns + 0.4, 2.9 * rows + 0.3 * -(-len(names) // 3) + 0.3, layout="constrained")
    highest = max(float(points[:, 1].max()) for curves in found.values() for points in curves.values())
    for place, (heading, curves) in enumerate(found.items()):
        axes = figure.add_subplot(rows, columns, place + 1)
        _panel(axes, curves, styles)
        number = max(len(points) for points in curves.values())
        axes.set_title(f"{heading}, n = {number}", fontsize=10)
        axes.set_xlim(0.0, 1.02)
        axes.set_ylim(0.0, 1.08 * highest if highest > 0 else 0.1)  # the same in all panels
        axes.set_xlabel("patients kept, the surest first")
        if place % columns == 0:
            axes.set_ylabel(risk_name)
    handles = {
        label: handle for axes in figure.axes for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)
    }
    figure.legend(
        [handles[name] for name in names], names, loc="outside lower center", ncols=min(3, len(names)),
        frameon=False, fontsize=8,
    )  # fmt: skip
    if title:
        figure.suptitle(title, fontsize=11)
    save_figure(figure, path)


def _styles(names: Sequence[str]) -> dict[str, dict[str, Any]]:
    """A colour for each estimate, the same in all panels."""
    own = [name for name in names if name not in _REFERENCES]
    colours = {name: {"color": _COLOURS[k % len(_COLOURS)], "linestyle": "-"} for k, name in enumerate(own)}
    return {name: _REFERENCES.get(name) or colours[name] for name in names}


def _panel(axes: Any, curves: Mapping[str, np.ndarray], styles: Mapping[str, Mapping[str, Any]]) -> None:
    for name, points in curves.items():
        reference = name in _REFERENCES
        marker = None if reference or len(points) > 40 else "o"  # every patient is a dot, where there is room
        axes.plot(
            points[:, 0], points[:, 1], label=name, linewidth=1.2, marker=marker, markersize=2.5,
            zorder=2 if reference else 3, **styles[name],
        )  # fmt: skip
    axes.grid(color="0.92")
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
