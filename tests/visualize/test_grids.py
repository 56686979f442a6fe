"""Grids: sizes, grey values, and outlines exactly on the masks' edges."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from monai_semgan.visualize import (
    draw_contours,
    fill_labels,
    label_colour,
    outline_grid,
    reconstruction_grid,
    sample_grid,
)

GAP = 2


def tile(grid: np.ndarray, row: int, column: int, size: int) -> np.ndarray:
    top, left = GAP + row * (size + GAP), GAP + column * (size + GAP)
    return grid[top : top + size, left : left + size]


@pytest.fixture
def square() -> np.ndarray:
    mask = np.zeros((16, 16), dtype=np.int64)
    mask[4:12, 5:11] = 1
    return mask


def test_size_and_grey_values():
    images = torch.linspace(-1, 1, 5).view(5, 1, 1, 1).expand(5, 1, 16, 16)
    grid = sample_grid(images, columns=3, scale=2)
    assert grid.dtype == np.uint8
    assert grid.shape == (2 * (32 + GAP) + GAP, 3 * (32 + GAP) + GAP, 3)
    assert [int(tile(grid, n // 3, n % 3, 32).mean()) for n in range(5)] == [0, 64, 128, 191, 255]


def test_out_of_range_and_nan_are_clipped():
    images = torch.tensor([-5.0, 5.0, float("nan"), float("inf")]).view(4, 1, 1, 1).expand(4, 1, 4, 4)
    grid = sample_grid(images, columns=4, scale=1)
    assert [int(tile(grid, 0, n, 4).max()) for n in range(4)] == [0, 255, 0, 255]


def test_contours_lie_on_the_inner_edge(square):
    picture = draw_contours(np.full((16, 16, 3), 100, np.uint8), square)
    coloured = np.all(picture == label_colour(1), axis=-1)
    inner = np.zeros_like(coloured)
    inner[5:11, 6:10] = True
    assert np.array_equal(coloured, (square == 1) & ~inner)
    assert (picture[~coloured] == 100).all()


def test_touching_labels_are_both_outlined(square):
    square[4:12, 8:11] = 2
    picture = draw_contours(np.zeros((16, 16, 3), np.uint8), square)
    assert tuple(picture[8, 7]) == label_colour(1)
    assert tuple(picture[8, 8]) == label_colour(2)


def test_a_mask_at_the_border_has_no_edge_there():
    picture = draw_contours(np.zeros((8, 8, 3), np.uint8), np.ones((8, 8), int))
    assert picture.max() == 0


def test_sample_grid_has_a_row_of_filled_masks_under_each_row_of_slices(square):
    images = torch.zeros(3, 1, 16, 16)
    labels = torch.from_numpy(np.stack([square, square * 0, square * 4]))[:, None].to(torch.uint8)
    grid = sample_grid(images, labels, columns=2, scale=1)
    assert grid.shape == (4 * (16 + GAP) + GAP, 2 * (16 + GAP) + GAP, 3)
    assert np.array_equal(tile(grid, 1, 0, 16), fill_labels(square))
    assert tile(grid, 1, 1, 16).max() == 0
    assert np.array_equal(tile(grid, 3, 0, 16), fill_labels(square * 4))
    assert np.all(tile(grid, 0, 0, 16) == label_colour(1), axis=-1).sum() == 24  # rim of a 8x6 square
    without = sample_grid(images, labels, columns=2, scale=1, contours=False)
    assert np.array_equal(tile(without, 0, 0, 16), np.full((16, 16, 3), 128))


def test_reconstruction_grid_rows(square):
    real, fake = torch.full((2, 1, 16, 16), -1.0), torch.full((2, 1, 16, 16), -0.5)
    label = torch.from_numpy(square).expand(2, 1, 16, 16)
    grid = reconstruction_grid(real, fake, label, label, scale=1)
    assert grid.shape == (4 * (16 + GAP) + GAP, 2 * (16 + GAP) + GAP, 3)
    assert (tile(grid, 0, 0, 16) == 0).all()
    assert (tile(grid, 1, 0, 16) == 64).all()
    assert (tile(grid, 2, 0, 16) == 128).all()  # twice the difference
    assert tuple(tile(grid, 3, 0, 16)[4, 6]) == (255, 255, 0)  # both outlines agree: yellow
    shifted = reconstruction_grid(real, fake, label, torch.roll(label, 2, -1), scale=1)
    assert tuple(tile(shifted, 3, 1, 16)[8, 5]) == (0, 255, 0)
    assert tuple(tile(shifted, 3, 1, 16)[8, 12]) == (255, 0, 0)
    assert reconstruction_grid(real, fake, scale=1).shape[0] == 3 * (16 + GAP) + GAP


def test_outline_grid_shows_what_the_last_row_of_a_reconstruction_shows(square):
    real = torch.full((3, 1, 16, 16), -1.0)
    label = torch.from_numpy(square).expand(3, 1, 16, 16)
    moved = torch.roll(label, 2, -1)
    grid = outline_grid(real, label, moved, columns=2, scale=1)
    assert grid.shape == (2 * (16 + GAP) + GAP, 2 * (16 + GAP) + GAP, 3)
    rows = reconstruction_grid(real, real, label, moved, scale=1)
    assert np.array_equal(tile(grid, 1, 0, 16), tile(rows, 3, 2, 16))
    assert (tile(outline_grid(real, None, None, scale=1), 0, 1, 16) == 0).all()


def test_wrong_shapes_are_told():
    with pytest.raises(ValueError, match="images"):
        sample_grid(torch.zeros(2, 3, 8, 8))
    with pytest.raises(ValueError, match="label_maps"):
        sample_grid(torch.zeros(2, 1, 8, 8), torch.zeros(2, 1, 4, 4))
    with pytest.raises(ValueError, match="differ in shape"):
        reconstruction_grid(torch.zeros(2, 1, 8, 8), torch.zeros(1, 1, 8, 8))
