"""Writing pictures: uint8 arrays and Matplotlib figures to PNG, atomically and without a display."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from monai_semgan.utils import atomic_path

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["new_figure", "save_figure", "write_gif", "write_png"]


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


def write_gif(path: str | os.PathLike, pictures: Sequence[np.ndarray], seconds: float = 0.5) -> None:
    """Write uint8 pictures ``(H, W, 3)`` of one size as an endless animation, atomically; the last stays longer.

    Raises:
        ValueError: When there is none, or they differ in shape.
    """
    if not pictures or any(picture.shape != pictures[0].shape for picture in pictures):
        raise ValueError(f"pictures of one size are wanted, got {sorted({picture.shape for picture in pictures})}")
    from PIL import Image

    frames = [Image.fromarray(picture).quantize(colors=64, dither=Image.Dither.NONE) for picture in pictures]
    durations = [round(1000 * seconds)] * (len(frames) - 1) + [round(3000 * seconds)]
    with atomic_path(path) as temporary:
        frames[0].save(temporary, format="GIF", save_all=True, append_images=frames[1:], duration=durations, loop=0)


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
