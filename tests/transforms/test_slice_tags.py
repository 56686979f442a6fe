"""Tags of slices: what a mask says without saying where."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from monai.transforms import Compose, Orientationd

from monai_semgan.transforms import SliceTags, SliceTagsd, slice_axis
from monai_semgan.utils import InputError
from tests.scans import AFFINES

ORGANS = {"liver": 1, "spleen": 4}


def make_mask() -> torch.Tensor:
    """Liver in slices 0 (one pixel) and 1 (4 pixels), spleen in 2, nothing in 3."""
    mask = torch.zeros(1, 6, 5, 4, dtype=torch.uint8)
    mask[0, 0, 0, 0] = 1
    mask[0, :2, :2, 1] = 1
    mask[0, 3:, 2:, 2] = 4
    return mask


def test_rows_are_slices_and_columns_organs() -> None:
    tags = SliceTags(ORGANS, min_area_mm2=0)(make_mask())
    assert tags.dtype == torch.bool
    assert tags.tolist() == [[True, False], [True, False], [False, True], [False, False]]


def test_columns_are_in_the_order_of_the_organs() -> None:
    assert SliceTags({"spleen": 4, "liver": 1}, 0)(make_mask())[2].tolist() == [True, False]


@pytest.mark.parametrize(("area", "expected"), [(0, True), (6, True), (6.1, False)])
def test_slivers_are_no_tag(area: float, expected: bool) -> None:
    mask = MetaTensor(make_mask(), affine=torch.diag(torch.tensor([2.0, 3.0, 5.0, 1.0])))
    assert bool(SliceTags(ORGANS, area)(mask)[0, 0]) is expected


@pytest.mark.parametrize("name", AFFINES)
def test_only_presence_is_left(name: str) -> None:
    """Pixels may move within their slice: the tags stay, bit for bit."""
    mask = make_mask()
    moved = mask[:, torch.randperm(6), :][:, :, torch.randperm(5)]
    tags = [SliceTags(ORGANS, 0)(MetaTensor(m, affine=torch.tensor(AFFINES[name]))) for m in (mask, moved)]
    assert torch.equal(*tags)


def test_slices_run_along_the_feet_head_axis_in_file_order() -> None:
    sagittal = make_mask().permute(0, 3, 1, 2)
    affine = torch.tensor([[0.0, 1, 0, 0], [0, 0, 1, 0], [-1, 0, 0, 0], [0, 0, 0, 1]])
    assert slice_axis(affine) == (0, True)
    tags = SliceTags(ORGANS, 0)(MetaTensor(sagittal, affine=affine))
    assert torch.equal(tags, SliceTags(ORGANS, 0)(make_mask()))


@pytest.mark.parametrize(("name", "flipped"), [("RAS", False), ("LAS", False), ("LPI", True), ("oblique", False)])
def test_the_axis_of_the_slices(name: str, flipped: bool) -> None:
    assert slice_axis(AFFINES[name]) == (2, flipped)
    image = MetaTensor(torch.arange(4.0).expand(1, 2, 2, 4), affine=torch.tensor(AFFINES[name]))
    turned = Compose([Orientationd("image", "PLS", labels=None)])({"image": image})["image"]
    assert bool(turned[0, 0, 0, 0] > turned[0, 0, 0, -1]) is flipped  # a bank's slices go from feet to head


def test_the_mask_is_gone_afterwards() -> None:
    item = {"name": "a", "label": make_mask()}
    done = SliceTagsd("label", ORGANS, 0)(item)
    assert set(done) == {"name", "tags"}
    assert "label" in item  # the caller's dictionary is the caller's
    assert "label" in SliceTagsd("label", ORGANS, 0, keep_mask=True)(item)
    assert SliceTagsd("mask", ORGANS, allow_missing_keys=True)({"name": "a"}) == {"name": "a"}


@pytest.mark.parametrize(
    ("options", "mask", "message"),
    [
        ({"organs": {}}, None, "got no organ"),
        ({"organs": ORGANS, "min_area_mm2": -1}, None, "option min_area_mm2: got -1"),
        ({"organs": ORGANS}, np.zeros((4, 4, 4)), r"a mask of shape \(4, 4, 4\); wanted \(1, H, W, D\)"),
    ],
)
def test_what_is_refused(options: dict, mask: np.ndarray | None, message: str) -> None:
    with pytest.raises(InputError, match=message):
        SliceTags(**options)(torch.as_tensor(mask))
