"""The eight orientations of a slice: all different, all undone, all parts alike."""

from __future__ import annotations

import pytest
import torch

from monai_semgan.transforms import ORIENTATIONS, RandSliceOrientation, orient, orient_back


def test_there_are_eight_and_each_is_undone() -> None:
    image = torch.arange(25.0).reshape(1, 1, 5, 5)
    turned = [orient(image, n) for n in range(ORIENTATIONS)]
    assert torch.equal(turned[0], image)
    assert len({tuple(t.flatten().tolist()) for t in turned}) == 8
    assert all(torch.equal(orient_back(t, n), image) for n, t in enumerate(turned))


def test_all_parts_of_a_slice_are_laid_alike() -> None:
    image = torch.rand(16, 1, 6, 6)
    label = (image > 0.5).to(torch.uint8)
    turned, mask, none = RandSliceOrientation()(image, label, None)
    assert none is None
    assert mask.dtype == torch.uint8
    assert torch.equal(mask, (turned > 0.5).to(torch.uint8))
    assert not torch.equal(turned, image)
    assert torch.equal(turned.flatten(1).sort(1)[0], image.flatten(1).sort(1)[0])


def test_slices_of_a_batch_are_laid_each_for_itself_and_repeatably() -> None:
    image = torch.arange(16.0).reshape(1, 1, 4, 4).expand(32, 1, 4, 4)
    torch.manual_seed(3)
    first = RandSliceOrientation()(image)
    torch.manual_seed(3)
    assert torch.equal(first, RandSliceOrientation()(image))
    assert len({tuple(t.flatten().tolist()) for t in first}) > 4


def test_slices_must_be_square() -> None:
    with pytest.raises(ValueError, match="square"):
        RandSliceOrientation()(torch.zeros(1, 1, 4, 5))
