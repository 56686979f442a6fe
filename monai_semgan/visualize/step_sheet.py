"""A sheet of slices, one row each, with what every step of a method makes of them."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

import numpy as np
import torch

from .files import new_figure, save_figure
from .grids import draw_contours

__all__ = ["step_sheet"]

_CELL = 1.5  # inches


def step_sheet(
    images: torch.Tensor | np.ndarray,
    steps: Mapping[str, torch.Tensor | np.ndarray],
    path: str | os.PathLike,
    rows: Sequence[str] | None = None,
    title: str | None = None,
) -> None:
    """Write a PNG with a row for each slice and a column for each step, the slice itself first.

    Maps of whole numbers are drawn as outlines over the slice, with unknown pixels (255) greyed out; other maps as
    heat from 0 to their largest value in the slice.

    Args:
        images: ``(N, 1, H, W)`` in [-1, 1].
        steps: title of the column -> maps ``(N, 1, H, W)``: integers are labels, floats are heat.
        path: the PNG to write.
        rows: names of the slices.
        title: a heading over the sheet.

    Raises:
        ValueError: no slice, or maps of another shape.
    """
    grey = _plain(images)
    if grey.ndim != 4 or grey.shape[1] != 1 or len(grey) == 0:
        raise ValueError(f"images: got shape {grey.shape}; wanted (N, 1, H, W) with N > 0")
    columns = {name: _plain(maps) for name, maps in steps.items()}
    for name, maps in columns.items():
        if maps.shape != grey.shape:
            raise ValueError(f"{name}: got shape {maps.shape}; wanted {grey.shape} as the images")
    count, width, head = len(grey), len(columns) + 1, 0.6 if title else 0.3
    height = _CELL * count + head
    figure = new_figure(_CELL * width, height, facecolor="black")
    if title:
        figure.text(0.01, 1 - 0.05 / height, title, color="white", fontsize=10, weight="bold", va="top")
    for column, name in enumerate(["slice", *columns]):
        place = (column + 0.5) / width
        figure.text(place, 1 - (head - 0.05) / height, name, color="white", fontsize=8, ha="center", va="bottom")
        for row in range(count):
            bottom = (height - head - _CELL * (row + 1)) / height
            axes = figure.add_axes((column / width + 0.002, bottom, 1 / width - 0.004, _CELL / height - 0.004))
            axes.set_axis_off()
            base = np.clip((grey[row, 0] + 1) / 2, 0, 1)
            maps = None if column == 0 else columns[name][row, 0]
            if maps is None:
                axes.imshow(base, cmap="gray", vmin=0, vmax=1)
                if rows:
                    axes.text(0.02, 0.02, rows[row], transform=axes.transAxes, color="white", fontsize=6)
            elif np.issubdtype(maps.dtype, np.integer):
                axes.imshow(_outlined(base, maps))
            else:
                axes.imshow(maps, cmap="inferno", vmin=0, vmax=max(float(maps.max()), 1e-6))
    save_figure(figure, path, dpi=130)


def _outlined(base: np.ndarray, labels: np.ndarray) -> np.ndarray:
    scale = 4  # outlines of one screen pixel
    picture = np.repeat(np.rint(base * 255).astype(np.uint8)[..., None], 3, axis=2)
    unknown = labels == 255
    picture[unknown] = (picture[unknown] * 0.4 + 90).astype(np.uint8)
    picture = picture.repeat(scale, axis=0).repeat(scale, axis=1)
    return draw_contours(picture, np.where(unknown, 0, labels).repeat(scale, axis=0).repeat(scale, axis=1))


def _plain(maps: torch.Tensor | np.ndarray) -> np.ndarray:
    array = maps.detach().cpu().numpy() if isinstance(maps, torch.Tensor) else np.asarray(maps)
    return array.astype(np.float32) if np.issubdtype(array.dtype, np.floating) else array
