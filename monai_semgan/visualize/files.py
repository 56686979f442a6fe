"""Writing pictures: uint8 arrays and Matplotlib figures to PNG, atomically and without a display."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import numpy as np

from monai_semgan.utils import atomic_path

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["new_figure", "save_figure", "write_png"]


def write_png(path: str | os.PathLike, picture: np.ndarray) -> None:
    """Write a uint8 picture ``(H, W, 3)`` or ``(H, W)`` as PNG, atomically.

    Raises:
        ValueError: When the array is not uint8 or not a picture.
    """
    if picture.dtype != np.uint8 or picture.ndim not in (2, 3):
        raise ValueError(f"a uint8 picture (H, W[, 3]) is wanted, got {picture.dtype} {picture.shape}")
    from PIL import Image

    with atomic_path(path) as temporary:
        Image.fromarray(picture).save(temporary, format="PNG")


def new_figure(width: float, height: float, **options: Any) -> Figure:
    """A figure of ``width`` x ``height`` inches on the Agg canvas, unknown to pyplot's global state."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), **options)
    FigureCanvasAgg(figure)
    return figure


def save_figure(figure: Figure, path: str | os.PathLike, dpi: int = 110) -> None:
    """Write a figure as PNG, atomically."""
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format="png", dpi=dpi)
