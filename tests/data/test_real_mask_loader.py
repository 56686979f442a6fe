"""The third stream: masks of another draw, as often with an organ as the predictions; and no unlabelled mask."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from monai_semgan.data import PairedSliceLoader, RealMaskSliceLoader, SliceBank
from monai_semgan.utils import InputError


def _bank(count: int, first: int = 0, labelled: bool = True, shown: int | None = None) -> SliceBank:
    """Slices whose value is their number; the first ``shown`` (default all) show an organ."""
    images = torch.arange(first, first + count).float().reshape(-1, 1, 1, 1).expand(-1, 1, 2, 2).clone()
    labels = (torch.arange(count) < (count if shown is None else shown)).to(torch.uint8)
    labels = labels.reshape(-1, 1, 1, 1).expand(-1, 1, 2, 2).clone() if labelled else None
    return SliceBank(images, labels, ["a"] * count, torch.zeros(count))


def _numbers(batch: dict, part: str) -> list[int]:
    return batch[part]["image"][:, 0, 0, 0].int().tolist()


def _equal(first: dict, second: dict) -> bool:
    return first.keys() == second.keys() and all(
        first[part].keys() == second[part].keys()
        and all(torch.equal(first[part][k], second[part][k]) for k in first[part])
        for part in first
    )


def test_batches_have_the_agreed_form() -> None:
    batch = RealMaskSliceLoader(_bank(4), _bank(5, 100, labelled=False), batch_size=6, num_batches=1).batch(0)
    assert {part: set(batch[part]) for part in batch} == {
        "labelled": {"image", "label"},
        "unlabelled": {"image"},
        "real": {"image", "label"},
    }
    assert batch["real"]["image"].shape == batch["real"]["label"].shape == (6, 1, 2, 2)
    assert batch["real"]["image"].dtype == torch.float32


def test_the_streams_come_from_their_banks() -> None:
    loader = RealMaskSliceLoader(_bank(6), _bank(9, first=100, labelled=False), batch_size=3, num_batches=6)
    batches = list(loader)
    unlabelled = [n for b in batches[:3] for n in _numbers(b, "unlabelled")]
    assert sorted(unlabelled) == list(range(100, 109))  # one pass over the unlabelled bank alone
    assert {n for b in batches for n in _numbers(b, "real")} <= set(range(6))


def test_labelled_slices_come_as_for_the_supervised_trainer() -> None:
    options = {"batch_size": 3, "num_batches": 5, "seed": 4, "labelled_foreground_fraction": 0.7}
    plain = PairedSliceLoader(_bank(6, shown=2), None, **options)
    ours = RealMaskSliceLoader(_bank(6, shown=2), _bank(9, first=100), **options)
    assert [_numbers(a, "labelled") for a in plain] == [_numbers(b, "labelled") for b in ours]


def test_real_masks_are_not_those_of_the_labelled_slices() -> None:
    loader = RealMaskSliceLoader(_bank(60), _bank(9, first=100), batch_size=6, num_batches=10)
    shared = [len(set(_numbers(b, "labelled")) & set(_numbers(b, "real"))) for b in loader]
    assert sum(shared) < 20  # 6 by chance; 60 if they were the same


def test_one_labelled_slice_is_enough() -> None:
    batch = RealMaskSliceLoader(_bank(1), _bank(3, 100), batch_size=4, num_batches=1).batch(0)
    assert _numbers(batch, "real") == [0] * 4


def test_without_unlabelled_slices_there_is_no_such_part() -> None:
    loader = RealMaskSliceLoader(_bank(6, shown=1), None, 4, 3, labelled_foreground_fraction=1.0)
    for batch in loader:
        assert set(batch) == {"labelled", "real"}
        assert _numbers(batch, "real") == [0] * 4


def test_real_masks_show_organs_as_often_as_the_predictions() -> None:
    loader = RealMaskSliceLoader(
        _bank(100, shown=20), _bank(9, 100), batch_size=50, num_batches=40, labelled_foreground_fraction=0.8
    )
    shown = torch.cat([batch["real"]["label"][:, 0, 0, 0] for batch in loader]).float().mean()
    assert shown.item() == pytest.approx((0.8 + 0.2) / 2, abs=0.03)


def test_masks_of_unlabelled_slices_are_not_looked_at() -> None:
    bank = _bank(9, first=100)
    garbled = replace(bank, labels=torch.randint_like(bank.labels, 0, 200))
    for first, second in zip(
        RealMaskSliceLoader(_bank(4), bank, 3, 5), RealMaskSliceLoader(_bank(4), garbled, 3, 5), strict=True
    ):
        assert _equal(first, second)


def test_resumed_run_goes_on_where_it_stopped() -> None:
    banks = _bank(7, shown=3), _bank(5, first=100, labelled=False)
    options = {"batch_size": 4, "num_batches": 10, "labelled_foreground_fraction": 0.6}
    whole = list(RealMaskSliceLoader(*banks, **options, seed=3))
    first = RealMaskSliceLoader(*banks, **options, seed=3)
    for _ in range(4):
        next(iter(first))
    second = RealMaskSliceLoader(*banks, **options, seed=99)
    second.load_state_dict(first.state_dict())
    assert all(_equal(a, b) for a, b in zip(whole[4:], second, strict=False))


def test_what_the_parent_refuses_is_refused() -> None:
    with pytest.raises(InputError, match="has no masks"):
        RealMaskSliceLoader(_bank(4, labelled=False), None, 2, 2)
