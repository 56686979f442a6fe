"""A sheet of cases with the reference and the predicted outline on informative axial slices."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from .files import new_figure, save_figure

__all__ = ["informative_slices", "overlay_sheet", "pick_cases"]

REFERENCE_COLOUR = "#19c37d"
PREDICTION_COLOUR = "#ff3b30"
_CT_WINDOW = (-125.0, 275.0)  # HU


def pick_cases(rows: Sequence[Mapping[str, Any]], metric: str = "dice") -> dict[str, int]:
    """Where the best, the median and the worst row by ``metric`` stand in ``rows``; higher is better.

    Rows without a finite value are left out. With fewer than three rows a place is named once only, the worst
    first: a failure must never be hidden.
    """
    values = [(float(row[metric]), index) for index, row in enumerate(rows) if _finite(row.get(metric))]
    order = [index for _, index in sorted(values)]
    if not order:
        return {}
    picked = {"worst": order[0], "best": order[-1], "median": order[(len(order) - 1) // 2]}
    result: dict[str, int] = {}
    for name in ("worst", "best", "median"):
        if picked[name] not in result.values():
            result[name] = picked[name]
    return {name: result[name] for name in ("best", "median", "worst") if name in result}


def informative_slices(mask: np.ndarray, fallback: np.ndarray | None = None, count: int = 4) -> list[int]:
    """Slice numbers spread over the middle of a mask's extent along the last axis.

    Args:
        mask: reference ``(H, W, D)``; anything above 0 counts.
        fallback: used when ``mask`` is empty, e.g. the prediction; without it, the middle of the scan.
        count: slices wanted; fewer come back when the extent is thinner.
    """
    for candidate in (mask, fallback):
        if candidate is not None and np.any(candidate > 0):
            filled = np.flatnonzero(np.any(candidate > 0, axis=(0, 1)))
            break
    else:
        filled = np.arange(mask.shape[-1])
    first, last = float(filled[0]), float(filled[-1])
    # The outermost slices show a sliver of the organ: stay a tenth inside the extent.
    margin = 0.1 * (last - first)
    if count == 1:
        return [round((first + last) / 2)]
    places = np.linspace(first + margin, last - margin, count)
    return sorted({int(place) for place in np.rint(places)})


def overlay_sheet(
    cases: Sequence[Mapping[str, Any]], path: str | os.PathLike, slices: int = 4, title: str | None = None
) -> None:
    """Write a PNG with one row per case: reference green, prediction red, scores in the row's title.

    Args:
        cases: each with ``name``, ``image`` ``(H, W, D)`` in display orientation (rows anterior to posterior,
            columns patient right to left), ``label`` and ``prediction`` of that shape (label may be None),
            ``dice``, and optionally ``hd95`` (mm), ``note`` ("worst"), ``spacing`` (row and column size, mm),
            ``window`` (lowest and highest grey value shown). Several labels are drawn as one outline each.
        path: the PNG to write.
        slices: axial slices per case, over the extent of the reference.
        title: a heading over the whole sheet.

    Raises:
        ValueError: When there is no case, or shapes of a case differ.
    """
    if not cases:
        raise ValueError("overlay_sheet needs at least one case")
    heading = 0.75 if title else 0.45
    figure = new_figure(2.6 * slices, 2.45 * len(cases) + heading, facecolor="black")
    total = 2.45 * len(cases) + heading
    for row, case in enumerate(cases):
        image, label, prediction = _volumes(case)
        rows, columns = _body_box(image)
        lowest, highest = case.get("window") or _grey_window(image)
        spacing = case.get("spacing") or (1.0, 1.0)
        top = total - heading - 2.45 * row
        figure.text(0.01, (top - 0.02) / total, _case_title(case), color="white", fontsize=9, va="top")
        for column, k in enumerate(informative_slices(label, prediction, slices)):
            place = (column / slices + 0.003, (top - 2.43) / total, 1 / slices - 0.006, 2.2 / total)
            axes = figure.add_axes(place)
            axes.set_axis_off()
            aspect = spacing[0] / spacing[1]
            axes.imshow(image[rows, columns, k], cmap="gray", vmin=lowest, vmax=highest, aspect=aspect)
            _outline(axes, label[rows, columns, k], REFERENCE_COLOUR)
            _outline(axes, prediction[rows, columns, k], PREDICTION_COLOUR)
            axes.text(0.02, 0.02, f"slice {k}", transform=axes.transAxes, color="0.7", fontsize=7)
    _legend(figure, title, total)
    save_figure(figure, path, dpi=130)


def _outline(axes: Any, mask: np.ndarray, colour: str) -> None:
    # A rim of background closes outlines that touch the border of the crop.
    rows, columns = mask.shape
    for index in np.unique(mask[mask > 0]):
        ring = np.pad((mask == index).astype(np.float32), 1)
        axes.contour(
            np.arange(-1, columns + 1),
            np.arange(-1, rows + 1),
            ring,
            levels=[0.5],
            colors=[colour],
            linewidths=0.9,
        )
    axes.set_xlim(-0.5, columns - 0.5)
    axes.set_ylim(rows - 0.5, -0.5)


def _legend(figure: Any, title: str | None, total: float) -> None:
    y = (total - 0.12) / total
    if title:
        figure.text(0.01, y, title, color="white", fontsize=12, weight="bold", va="top")
        y = (total - 0.45) / total
    figure.text(0.01, y, "reference", color=REFERENCE_COLOUR, fontsize=9, weight="bold", va="top")
    figure.text(0.09, y, "prediction", color=PREDICTION_COLOUR, fontsize=9, weight="bold", va="top")
    side = "patient's right is on the left side of each picture"
    figure.text(0.99, y, side, color="0.7", fontsize=8, va="top", ha="right")


def _case_title(case: Mapping[str, Any]) -> str:
    parts = [str(case["name"])]
    if case.get("note"):
        parts.insert(0, str(case["note"]))
    if _finite(case.get("dice")):
        parts.append(f"Dice {float(case['dice']):.3f}")
    if "hd95" in case:
        parts.append(f"HD95 {float(case['hd95']):.1f} mm" if _finite(case["hd95"]) else "HD95 not defined")
    return "   ".join(parts)


def _volumes(case: Mapping[str, Any]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    image, prediction = _array(case["image"]), _array(case["prediction"])
    label = _array(case["label"]) if case.get("label") is not None else np.zeros_like(prediction)
    if image.ndim != 3 or not image.shape == label.shape == prediction.shape:
        raise ValueError(
            f"case {case.get('name')}: image {image.shape}, label {label.shape} and prediction "
            f"{prediction.shape} must be volumes (H, W, D) of one shape"
        )
    return image, label, prediction


def _array(value: Any) -> np.ndarray:
    array = value.detach().cpu().numpy() if isinstance(value, torch.Tensor) else np.asarray(value)
    return array.astype(np.float32) if array.dtype != np.float32 else array


def _grey_window(image: np.ndarray) -> tuple[float, float]:
    """Grey values to show as black and white, guessed from the range of the values."""
    lowest, highest = float(np.nanmin(image)), float(np.nanmax(image))
    if lowest >= -1.01 and highest <= 1.01:
        return -1.0, 1.0
    if lowest < -100:  # HU
        return _CT_WINDOW
    return float(np.nanpercentile(image, 0.5)), float(np.nanpercentile(image, 99.5))


def _body_box(image: np.ndarray, margin: int = 3) -> tuple[slice, slice]:
    """Rows and columns that hold the body: pictures show the patient, not the air."""
    lowest, highest = _grey_window(image)
    inside = np.max(image, axis=2) > lowest + 0.25 * (highest - lowest)
    if not inside.any():
        return slice(None), slice(None)
    boxes = []
    for axis in (1, 0):
        filled = np.flatnonzero(np.mean(inside, axis=axis) > 0.03)
        filled = filled if len(filled) else np.arange(inside.shape[1 - axis])
        boxes.append(slice(max(int(filled[0]) - margin, 0), int(filled[-1]) + margin + 1))
    return boxes[0], boxes[1]


def _finite(value: Any) -> bool:
    try:
        return bool(np.isfinite(float(value)))
    except (TypeError, ValueError):
        return False
