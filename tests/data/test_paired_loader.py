"""Pairs of labelled and unlabelled batches: complete, reproducible, resumable."""

from __future__ import annotations

import pytest
import torch

from monai_semgan.data import PairedSliceLoader, SliceBank
from monai_semgan.utils import InputError


def _bank(count: int, first: int = 0, labelled: bool = True, shown: int | None = None) -> SliceBank:
    """Slices whose value is their number; the first ``shown`` (default all) show an organ."""
    images = torch.arange(first, first + count).float().reshape(-1, 1, 1, 1).expand(-1, 1, 2, 2).clone()
    labels = (torch.arange(count) < (count if shown is None else shown)).to(torch.uint8)
    labels = labels.reshape(-1, 1, 1, 1).expand(-1, 1, 2, 2).clone() if labelled else None
    return SliceBank(images, labels, ["a"] * count, torch.zeros(count))


def _numbers(image: torch.Tensor) -> list[int]:
    return image[:, 0, 0, 0].int().tolist()


def _run(loader: PairedSliceLoader) -> list[tuple[list[int], list[int]]]:
    return [(_numbers(b["labelled"]["image"]), _numbers(b["unlabelled"]["image"])) for b in loader]


def test_one_pass_shows_every_slice_once() -> None:
    loader = PairedSliceLoader(_bank(6), _bank(9, first=100, labelled=False), batch_size=3, num_batches=5)
    batches = _run(loader)
    assert len(loader) == len(batches) == 5
    assert sorted(batches[0][0] + batches[1][0]) == list(range(6))
    everything = sorted(n for _, unlabelled in batches for n in unlabelled)
    assert everything == [*range(6), *range(100, 109)]


def test_batches_have_the_agreed_form() -> None:
    batch = next(iter(PairedSliceLoader(_bank(4), None, batch_size=6, num_batches=1)))
    assert set(batch) == {"labelled", "unlabelled"}
    assert set(batch["unlabelled"]) == {"image"}
    assert batch["labelled"]["image"].shape == batch["unlabelled"]["image"].shape == (6, 1, 2, 2)
    assert batch["labelled"]["label"].dtype == torch.uint8
    assert batch["labelled"]["image"].dtype == torch.float32


def test_resumed_run_goes_on_where_it_stopped() -> None:
    banks = _bank(7, shown=3), _bank(5, first=100, labelled=False)
    for fraction in (None, 0.6):
        options = {"batch_size": 4, "seed": 3, "labelled_foreground_fraction": fraction}
        whole = _run(PairedSliceLoader(*banks, num_batches=12, **options))
        first = PairedSliceLoader(*banks, num_batches=6, **options)
        head = [_numbers(next(iter(first))["labelled"]["image"]) for _ in range(5)]
        assert head == [labelled for labelled, _ in whole[:5]]
        state = first.state_dict()
        assert state["position"] == 5
        assert all(isinstance(value, int) for value in state.values())
        second = PairedSliceLoader(*banks, num_batches=7, **{**options, "seed": 99})
        second.load_state_dict(state)
        assert _run(second) == whole[5:]


def test_batches_do_not_depend_on_history_or_global_seed() -> None:
    banks = _bank(7), _bank(5, first=100, labelled=False)
    torch.manual_seed(1)
    expected = _run(PairedSliceLoader(*banks, batch_size=4, num_batches=6))
    torch.manual_seed(2)
    loader = PairedSliceLoader(*banks, batch_size=4, num_batches=6)
    backwards = [loader.batch(i) for i in reversed(range(6))][::-1]
    assert [_numbers(b["unlabelled"]["image"]) for b in backwards] == [unlabelled for _, unlabelled in expected]
    assert _run(PairedSliceLoader(*banks, batch_size=4, num_batches=6, seed=1)) != expected


def test_foreground_fraction() -> None:
    def share(fraction: float | None) -> float:
        loader = PairedSliceLoader(
            _bank(40, shown=4), None, batch_size=20, num_batches=20, labelled_foreground_fraction=fraction
        )
        return float(torch.cat([b["labelled"]["label"][:, 0, 0, 0] for b in loader]).float().mean())

    assert share(None) == pytest.approx(0.1)
    assert share(0.8) == pytest.approx(0.8, abs=0.08)
    assert share(1.0) == 1
    assert share(0.0) == 0


def test_wrong_arguments() -> None:
    with pytest.raises(InputError, match="no masks"):
        PairedSliceLoader(_bank(3, labelled=False), None, 2, 2)
    with pytest.raises(InputError, match="batch_size"):
        PairedSliceLoader(_bank(3), None, 0, 2)
    with pytest.raises(InputError, match="shows no organ"):
        PairedSliceLoader(_bank(3, shown=0), None, 2, 2, labelled_foreground_fraction=0.5)
    with pytest.raises(InputError, match="labelled_foreground_fraction"):
        PairedSliceLoader(_bank(3), None, 2, 2, labelled_foreground_fraction=1.5)
    other = SliceBank(torch.zeros(2, 1, 3, 3), None, ["a", "a"], torch.zeros(2))
    with pytest.raises(InputError, match="differ in size"):
        PairedSliceLoader(_bank(3), other, 2, 2)
    with pytest.raises(InputError, match="another batch_size"):
        PairedSliceLoader(_bank(3), None, 2, 2).load_state_dict({"position": 3, "seed": 0, "batch_size": 4})
