"""Training curves as small multiples: one panel per quantity, against images seen."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

import numpy as np

from .files import new_figure, save_figure

__all__ = ["curve_plot"]

_RAW, _SMOOTH = "#b3cde3", "#08519c"


def curve_plot(
    histories: Mapping[str, Sequence[tuple[float, float]]],
    path: str | os.PathLike,
    columns: int = 4,
    smoothing: float = 0.9,
    title: str | None = None,
) -> None:
    """Write a PNG with every curve in a panel of its own: faint as measured, dark as a running mean.

    Args:
        histories: name -> ``(images seen, value)`` pairs, as read by ``monai_semgan.handlers.read_metrics``.
            Gaps of NaN or infinite values are marked with red ticks on the axis.
        path: the PNG to write.
        columns: panels per row.
        smoothing: weight of the past in the running mean, ``0`` for none.
        title: heading.

    Raises:
        ValueError: When there is no curve.
    """
    curves = {name: np.asarray(points, dtype=float).reshape(-1, 2) for name, points in histories.items()}
    curves = {name: points for name, points in curves.items() if len(points)}
    if not curves:
        raise ValueError("curve_plot needs at least one curve")
    columns = min(columns, len(curves))
    rows = -(-len(curves) // columns)
    figure = new_figure(3.2 * columns, 2.2 * rows + (0.4 if title else 0), layout="constrained")
    for number, (name, points) in enumerate(sorted(curves.items())):
        axes = figure.add_subplot(rows, columns, number + 1)
        _panel(axes, points, smoothing)
        axes.set_title(name, fontsize=9)
        axes.tick_params(labelsize=7)
        if number >= len(curves) - columns:
            axes.set_xlabel("images seen", fontsize=8)
    if title:
        figure.suptitle(title, fontsize=11)
    save_figure(figure, path)


def _panel(axes, points: np.ndarray, smoothing: float) -> None:
    steps, values = points[:, 0], points[:, 1]
    fine = np.isfinite(values)
    if len(steps) == 1:
        axes.plot(steps[fine], values[fine], "o", color=_SMOOTH, markersize=3)
    else:
        axes.plot(steps[fine], values[fine], color=_RAW, linewidth=0.8)
        axes.plot(steps[fine], _running_mean(values[fine], smoothing), color=_SMOOTH, linewidth=1.2)
    for step in steps[~fine]:
        axes.axvline(step, ymax=0.06, color="red", linewidth=1)
    axes.grid(color="0.92")
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def _running_mean(values: np.ndarray, smoothing: float) -> np.ndarray:
    """Exponential mean without the bias towards zero of the first values."""
    result = np.empty_like(values)
    total = weight = 0.0
    for index, value in enumerate(values):
        total = smoothing * total + value
        weight = smoothing * weight + 1.0
        result[index] = total / weight
    return result
