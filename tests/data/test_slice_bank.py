"""All slices of a set of scans in memory."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from monai_semgan.data import SliceBank, build_slice_bank
from monai_semgan.utils import InputError


def _prepare(item: dict[str, Any]) -> dict[str, Any]:
    """Stand-in for the preprocessing: volumes whose voxels name scan and slice."""
    if item.get("bad"):
        raise InputError(f"scan {item['name']} is broken", fix="mend it")
    depth, size = item["depth"], item.get("size", 4)
    volume = (item["value"] + torch.arange(depth) / 10).expand(1, size, size, depth).clone()
    out = dict(item, image=volume)
    if "label" in item:
        out["label"] = torch.zeros(1, size, size, depth)
        out["label"][..., 0] = item["label"]
    return out


def _items(*depths: int, labelled: bool = True, **extra: Any) -> list[dict[str, Any]]:
    items = [{"name": f"s{i}", "value": i, "depth": n, **extra} for i, n in enumerate(depths)]
    return [dict(item, label=3) for item in items] if labelled else items


def test_slices_stay_in_order_with_their_masks() -> None:
    bank = build_slice_bank(_items(3, 1, 2), _prepare)
    assert len(bank) == 6
    assert bank.labelled
    assert bank.images.shape == bank.labels.shape == (6, 1, 4, 4)
    assert bank.images[:, 0, 0, 0].tolist() == pytest.approx([0, 0.1, 0.2, 1, 2, 2.1])
    assert bank.labels[:, 0, 0, 0].tolist() == [3, 0, 0, 3, 3, 0]
    assert bank.labels.dtype == torch.uint8
    assert bank.cases == ["s0", "s0", "s0", "s1", "s2", "s2"]
    assert bank.positions.tolist() == [0, 0.5, 1, 0, 0, 1]
    assert type(bank.images) is torch.Tensor


def test_without_masks_and_in_half_the_memory() -> None:
    assert build_slice_bank(_items(2, 2, labelled=False), _prepare).labels is None
    bank = build_slice_bank(_items(2), _prepare, label_key=None, dtype="float16")
    assert not bank.labelled
    assert bank.images.dtype == torch.float16


def test_every_bad_scan_is_named() -> None:
    items = _items(2, 2, 2, 2)
    items[1]["bad"] = items[3]["bad"] = True
    with pytest.raises(InputError, match="2 of 4 scans") as caught:
        build_slice_bank(items, _prepare)
    assert "s1: scan s1 is broken" in str(caught.value)
    assert "s3: scan s3 is broken" in str(caught.value)
    assert "s0" not in str(caught.value)


def test_sets_that_do_not_fit_together() -> None:
    with pytest.raises(InputError, match="no scans"):
        build_slice_bank([], _prepare)
    with pytest.raises(InputError, match="no mask for s0"):
        build_slice_bank(_items(2, labelled=False) + _items(2), _prepare)
    with pytest.raises(InputError, match="different sizes"):
        build_slice_bank(_items(2) + _items(2, size=5), _prepare)


def test_parts_have_to_fit() -> None:
    images = torch.zeros(2, 1, 4, 4)
    with pytest.raises(ValueError, match="labels"):
        SliceBank(images, images[:1], ["a", "a"], torch.zeros(2))
    with pytest.raises(ValueError, match="cases"):
        SliceBank(images, None, ["a"], torch.zeros(2))
    with pytest.raises(ValueError, match="images"):
        SliceBank(images[0], None, ["a"], torch.zeros(1))
