"""Grids of slices as plain uint8 pictures: generated samples, and reconstructions beside the real slices."""

from __future__ import annotations

import numpy as np
import torch

from .palette import label_colour

__all__ = ["draw_contours", "fill_labels", "outline_grid", "reconstruction_grid", "sample_grid"]

_GAP = 2
_GAP_GREY = 40


def sample_grid(
    images: torch.Tensor | np.ndarray,
    label_maps: torch.Tensor | np.ndarray | None = None,
    columns: int = 8,
    contours: bool = True,
    scale: int = 2,
) -> np.ndarray:
    """Grid of slices; with label maps, every row of slices is followed by the row of their filled masks.

    Args:
        images: ``(N, 1, H, W)`` in ``[-1, 1]``; values outside are clipped.
        label_maps: ``(N, 1, H, W)`` label indices, 0 the background, or None.
        columns: slices per row.
        contours: draw the masks' outlines over the slices.
        scale: whole factor by which every pixel is enlarged; outlines stay one screen pixel thin.

    Returns:
        The picture, uint8 ``(rows, columns, 3)``.

    Raises:
        ValueError: When the shapes do not fit.
    """
    grey = _enlarge(_images(images), scale)
    if label_maps is None:
        return _tile([_rgb(slice_) for slice_ in grey], columns)
    labels = _enlarge(_labels(label_maps, "label_maps", images), scale)
    outlined = [draw_contours(_rgb(g), m) if contours else _rgb(g) for g, m in zip(grey, labels, strict=True)]
    filled = [fill_labels(m) for m in labels]
    tiles: list[np.ndarray] = []
    for start in range(0, len(outlined), columns):
        for row in (outlined[start : start + columns], filled[start : start + columns]):
            tiles += row + [np.full_like(row[0], _GAP_GREY)] * (columns - len(row) if start else 0)
    return _tile(tiles, min(columns, len(outlined)))


def reconstruction_grid(
    real: torch.Tensor | np.ndarray,
    reconstructed: torch.Tensor | np.ndarray,
    label: torch.Tensor | np.ndarray | None = None,
    prediction: torch.Tensor | np.ndarray | None = None,
    scale: int = 2,
) -> np.ndarray:
    """One column per slice; rows: real, reconstructed, their absolute difference, and real with the outlines.

    The last row shows the reference in green and the prediction in red, yellow where both outlines meet; it
    is left out when neither is given.

    Args:
        real: ``(N, 1, H, W)`` in ``[-1, 1]``.
        reconstructed: ``(N, 1, H, W)`` in ``[-1, 1]``.
        label: reference label indices ``(N, 1, H, W)``, or None.
        prediction: predicted label indices ``(N, 1, H, W)``, or None.
        scale: whole factor of enlargement.

    Returns:
        The picture, uint8 ``(rows, columns, 3)``.

    Raises:
        ValueError: When the shapes do not fit.
    """
    if np.shape(real) != np.shape(reconstructed):
        raise ValueError(f"reconstructed {np.shape(reconstructed)} and real {np.shape(real)} differ in shape")
    first, second = _enlarge(_images(real), scale), _enlarge(_images(reconstructed), scale)
    # A difference of half the range is already far beyond a good fit: shown white.
    difference = np.clip(np.abs(first.astype(np.int16) - second) * 2, 0, 255).astype(np.uint8)
    rows = [[_rgb(slice_) for slice_ in stack] for stack in (first, second, difference)]
    if label is not None or prediction is not None:
        rows.append(_outlined(first, real, label, prediction, scale))
    return _tile([tile for row in rows for tile in row], len(first))


def outline_grid(
    images: torch.Tensor | np.ndarray,
    label: torch.Tensor | np.ndarray | None,
    prediction: torch.Tensor | np.ndarray | None,
    columns: int = 8,
    scale: int = 3,
) -> np.ndarray:
    """Slices with the outlines of reference (green) and prediction (red), yellow where both meet.

    Args:
        images: ``(N, 1, H, W)`` in ``[-1, 1]``.
        label: reference label indices ``(N, 1, H, W)``, or None.
        prediction: predicted label indices ``(N, 1, H, W)``, or None.
        columns: slices per row.
        scale: whole factor of enlargement; outlines stay one screen pixel thin.

    Returns:
        The picture, uint8 ``(rows, columns, 3)``.

    Raises:
        ValueError: When the shapes do not fit.
    """
    grey = _enlarge(_images(images), scale)
    return _tile(_outlined(grey, images, label, prediction, scale), columns)


def draw_contours(picture: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Draw every label's outline, one pixel thin and inside the mask, into a copy of an RGB picture.

    Args:
        picture: uint8 ``(H, W, 3)``.
        labels: label indices ``(H, W)``.
    """
    result = picture.copy()
    edge = _edges(labels)
    for index in np.unique(labels[edge]):
        result[edge & (labels == index)] = label_colour(int(index))
    return result


def fill_labels(labels: np.ndarray) -> np.ndarray:
    """Label indices ``(H, W)`` as a picture with filled masks on black, uint8 ``(H, W, 3)``."""
    result = np.zeros((*labels.shape, 3), dtype=np.uint8)
    for index in np.unique(labels[labels > 0]):
        result[labels == index] = label_colour(int(index))
    return result


def _outlined(
    grey: np.ndarray,
    images: torch.Tensor | np.ndarray,
    label: torch.Tensor | np.ndarray | None,
    prediction: torch.Tensor | np.ndarray | None,
    scale: int,
) -> list[np.ndarray]:
    """Enlarged slices ``(N, H, W)`` in colour, with both outlines."""
    pictures = [_rgb(slice_) for slice_ in grey]
    for maps, name, channel in ((label, "label", 1), (prediction, "prediction", 0)):
        if maps is None:
            continue
        for picture, mask in zip(pictures, _enlarge(_labels(maps, name, images), scale), strict=True):
            edge = _edges(mask)
            other = 1 - channel
            shared = edge & (picture[..., other] == 255) & (picture[..., 2] == 0)
            picture[edge] = 0
            picture[edge, channel] = 255
            picture[shared, other] = 255
    return pictures


def _edges(labels: np.ndarray) -> np.ndarray:
    """Pixels of a label with something else among their four neighbours; the frame is no edge."""
    padded = np.pad(labels, 1, mode="edge")
    centre = padded[1:-1, 1:-1]
    neighbours = (padded[:-2, 1:-1], padded[2:, 1:-1], padded[1:-1, :-2], padded[1:-1, 2:])
    return (centre > 0) & np.any([centre != neighbour for neighbour in neighbours], axis=0)


def _images(images: torch.Tensor | np.ndarray) -> np.ndarray:
    """``(N, 1, H, W)`` in [-1, 1] to uint8 ``(N, H, W)``; NaN becomes black."""
    array = _slices(images, "images").astype(np.float32)
    array = np.nan_to_num(array, nan=-1.0, posinf=1.0, neginf=-1.0)
    return np.rint((np.clip(array, -1, 1) + 1) * 127.5).astype(np.uint8)


def _labels(maps: torch.Tensor | np.ndarray, name: str, images: torch.Tensor | np.ndarray) -> np.ndarray:
    array = _slices(maps, name)
    if np.shape(maps) != np.shape(images):
        raise ValueError(f"{name} {np.shape(maps)} differs in shape from the images {np.shape(images)}")
    return np.rint(array).astype(np.int64)


def _slices(value: torch.Tensor | np.ndarray, name: str) -> np.ndarray:
    array = value.detach().cpu().float().numpy() if isinstance(value, torch.Tensor) else np.asarray(value)
    if array.ndim != 4 or array.shape[1] != 1 or len(array) == 0:
        raise ValueError(f"{name} (N, 1, H, W) with N > 0 is wanted, got {tuple(array.shape)}")
    return array[:, 0]


def _rgb(grey: np.ndarray) -> np.ndarray:
    return np.repeat(grey[..., None], 3, axis=-1)


def _enlarge(stack: np.ndarray, scale: int) -> np.ndarray:
    return stack.repeat(scale, axis=1).repeat(scale, axis=2)


def _tile(tiles: list[np.ndarray], columns: int) -> np.ndarray:
    """Lay RGB tiles of one size out in rows, with a thin dark gap between and around them."""
    height, width = tiles[0].shape[:2]
    columns = min(columns, len(tiles))
    rows = -(-len(tiles) // columns)
    shape = (rows * (height + _GAP) + _GAP, columns * (width + _GAP) + _GAP, 3)
    canvas = np.full(shape, _GAP_GREY, dtype=np.uint8)
    for number, tile in enumerate(tiles):
        top = _GAP + (number // columns) * (height + _GAP)
        left = _GAP + (number % columns) * (width + _GAP)
        canvas[top : top + height, left : left + width] = tile
    return canvas
