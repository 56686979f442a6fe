"""Slices without masks, in an order that depends on the seed and the batch's number alone."""

from __future__ import annotations

import pytest
import torch

from monai_semgan.data import ImageSliceLoader
from monai_semgan.utils import InputError
from tests.tiny import make_bank


def make(batch: int = 4, count: int = 5, **options) -> ImageSliceLoader:
    return ImageSliceLoader([make_bank(6), None, make_bank(5, seed=1)], batch, count, **options)


def test_every_slice_once_in_a_pass_and_no_mask() -> None:
    loader = make(batch=11)
    (batch,) = list(make(batch=11, count=1))
    assert set(batch) == {"unlabelled"}
    assert set(batch["unlabelled"]) == {"image"}
    known = torch.cat([make_bank(6).images, make_bank(5, seed=1).images])
    for index in (0, 3):
        image = loader.batch(index)["unlabelled"]["image"]
        found = {int((known == one).flatten(1).all(1).nonzero()) for one in image}
        assert found == set(range(11))
    assert not torch.equal(loader.batch(0)["unlabelled"]["image"], loader.batch(1)["unlabelled"]["image"])


def test_it_goes_on_where_it_stopped() -> None:
    loader = make()
    whole = [b["unlabelled"]["image"] for b in make(count=6)]
    first = [b["unlabelled"]["image"] for b, _ in zip(loader, range(2), strict=False)]
    again = make(count=4)
    again.load_state_dict({"position": 2, "seed": 0, "batch_size": 4})
    rest = [b["unlabelled"]["image"] for b in again]
    assert all(torch.equal(a, b) for a, b in zip(first + rest, whole, strict=True))
    assert not torch.equal(make(seed=1).batch(0)["unlabelled"]["image"], whole[0])
    with pytest.raises(InputError, match="another batch_size"):
        again.load_state_dict({"position": 2, "batch_size": 3})


def test_numbers_are_checked() -> None:
    with pytest.raises(InputError, match=r"batch_size 0, .*at least 1"):
        make(batch=0)
    with pytest.raises(InputError, match="sizes"):
        ImageSliceLoader([make_bank(), make_bank(size=32)], 2, 2)
    with pytest.raises(InputError, match="slices, all of one size"):
        ImageSliceLoader([None], 2, 2)
