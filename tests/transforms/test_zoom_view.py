"""A part of the frame, enlarged, and the way back."""

from __future__ import annotations

import pytest
import torch

from monai_semgan.transforms import ZoomView, resize_plane
from monai_semgan.utils import InputError


@pytest.mark.parametrize("shape", [(2, 1, 24, 24), (1, 2, 24, 32, 3)])
def test_it_shows_the_middle_in_the_size_of_the_whole(shape):
    image = torch.rand(shape)
    view = ZoomView(4 / 3)
    shown = view(image)
    assert shown.shape == image.shape
    rows, columns = shape[2] // 8, shape[3] // 8
    middle = image[:, :, rows:-rows, columns:-columns]
    assert torch.equal(shown, resize_plane(middle, shape[2:4]))


def test_smooth_answers_come_back_to_their_place():
    y, x = torch.meshgrid(torch.linspace(-1, 1, 64), torch.linspace(-1, 1, 64), indexing="ij")
    blob = torch.exp(-8 * ((y - 0.2).square() + (x + 0.1).square()))[None, None, ..., None].repeat(1, 2, 1, 1, 4)
    view = ZoomView(1.3)
    placed, seen = view.back(view(blob))
    inside = torch.where(seen[..., None], blob, torch.zeros(()))
    assert (placed - inside).abs().max() < 0.02
    assert seen.sum() == 50 * 50
    assert not placed[:, :, ~seen].any()


def test_what_is_shown_lies_in_the_middle():
    for zoom in (1.1, 1.2, 1.3, 1.45):
        _, seen = ZoomView(zoom).back(torch.ones(1, 1, 128, 128))
        assert torch.equal(seen, seen.flip(0))
        assert torch.equal(seen, seen.flip(1))
        assert abs(int(seen.any(dim=1).sum()) - 128 / zoom) <= 1


def test_a_zoom_of_1_changes_nothing():
    image = torch.rand(1, 1, 9, 9, 2)
    view = ZoomView(1.0)
    assert torch.equal(view(image), image)
    placed, seen = view.back(image)
    assert torch.equal(placed, image)
    assert bool(seen.all())


def test_names():
    assert ZoomView.from_name("zoom_1.25").zoom == 1.25
    assert ZoomView.from_name("zoom_2").zoom == 2.0
    assert ZoomView.from_name("median") is None
    assert ZoomView.from_name("zoom_-1") is None
    with pytest.raises(InputError, match="zoom"):
        ZoomView.from_name("zoom_0.9")
    view = ZoomView.from_name("zoom_1.2_depth_0.86")
    assert (view.zoom, view.depth) == (1.2, 0.86)
    assert ZoomView.from_name("zoom_1.2_depth_") is None
    with pytest.raises(InputError, match="depth"):
        ZoomView(1.2, depth=0.0)
