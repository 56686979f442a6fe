"""Pairs of labelled and unlabelled stacks: neighbouring slices of one scan, reproducible, resumable."""

from __future__ import annotations

import pytest
import torch

from monai_semgan.data import PairedPatchLoader, SliceBank
from monai_semgan.utils import InputError


def _bank(
    counts: list[int],
    first: int = 0,
    labelled: bool = True,
    organ: range = range(0),
    dtype: torch.dtype = torch.float32,
) -> SliceBank:
    """Scans of ``counts`` slices; a slice's value is its scan's hundred plus its number, an organ is on ``organ``."""
    values = [first + 100 * scan + i for scan, count in enumerate(counts) for i in range(count)]
    images = torch.tensor(values, dtype=dtype).reshape(-1, 1, 1, 1).expand(-1, 1, 2, 3).clone()
    shows = torch.tensor([i in organ for count in counts for i in range(count)], dtype=torch.uint8)
    labels = shows.reshape(-1, 1, 1, 1).expand(-1, 1, 2, 3).clone() if labelled else None
    cases = [f"{first}-{scan}" for scan, count in enumerate(counts) for _ in range(count)]
    return SliceBank(images, labels, cases, torch.zeros(len(values)))


def _stacks(image: torch.Tensor) -> list[list[int]]:
    """Slice numbers of each stack of a batch."""
    return image[:, 0, 0, 0].int().tolist()


def _run(loader: PairedPatchLoader) -> list[tuple[list[list[int]], list[list[int]]]]:
    return [(_stacks(b["labelled"]["image"]), _stacks(b["unlabelled"]["image"])) for b in loader]


def test_batches_have_the_agreed_form() -> None:
    loader = PairedPatchLoader(_bank([9, 9]), _bank([9], 500, labelled=False), 3, num_batches=2, depth=4)
    batches = list(loader)
    assert len(loader) == len(batches) == 2
    for batch in batches:
        assert set(batch) == {"labelled", "unlabelled"}
        assert set(batch["labelled"]) == {"image", "label"}
        assert set(batch["unlabelled"]) == {"image"}
        assert batch["labelled"]["image"].shape == batch["unlabelled"]["image"].shape == (3, 1, 2, 3, 4)
        assert batch["labelled"]["label"].shape == (3, 1, 2, 3, 4)
        assert batch["labelled"]["label"].dtype == torch.uint8
        assert batch["labelled"]["image"].dtype == batch["unlabelled"]["image"].dtype == torch.float32


def test_a_stack_is_neighbouring_slices_of_one_scan() -> None:
    loader = PairedPatchLoader(_bank([7, 12]), _bank([9, 5], 500, labelled=False), 4, num_batches=20, depth=5)
    for stacks in _run(loader):
        for stack in stacks[0] + stacks[1]:
            assert stack == list(range(stack[0], stack[0] + 5))
            assert len({number // 100 for number in stack}) == 1


def test_the_mask_is_that_of_the_same_slices() -> None:
    bank = _bank([12, 8], organ=range(3, 6))
    for batch in PairedPatchLoader(bank, None, 4, num_batches=20, depth=5):
        wanted = (batch["labelled"]["image"] % 100 >= 3) & (batch["labelled"]["image"] % 100 < 6)
        assert torch.equal(batch["labelled"]["label"], wanted.to(torch.uint8))


def test_scans_are_drawn_in_turn_and_the_unlabelled_stream_holds_all() -> None:
    labelled, unlabelled = _bank([6, 6, 6]), _bank([6, 6], 500, labelled=False)
    batches = _run(PairedPatchLoader(labelled, unlabelled, batch_size=3, num_batches=5, depth=4))
    for first, _ in batches:
        assert sorted(stack[0] // 100 for stack in first) == [0, 1, 2]
    drawn = [stack[0] // 100 for _, second in batches for stack in second]
    for start in range(0, 15, 5):
        assert sorted(drawn[start : start + 5]) == [0, 1, 2, 5, 6]
    alone = _run(PairedPatchLoader(labelled, None, batch_size=3, num_batches=2, depth=4))
    assert {stack[0] // 100 for _, second in alone for stack in second} == {0, 1, 2}


def test_every_place_of_a_scan_is_seen() -> None:
    loader = PairedPatchLoader(_bank([10]), None, 1, num_batches=200, depth=4)
    starts = torch.tensor([(first[0][0], second[0][0]) for first, second in _run(loader)])
    for column in starts.T:
        assert column.unique().tolist() == list(range(7))
        assert torch.bincount(column).min() > 10


@pytest.mark.parametrize(("slices", "before", "after"), [(3, 1, 1), (2, 1, 1), (1, 2, 1), (5, 0, 0), (4, 1, 0)])
def test_short_scans_are_completed_with_air_at_both_ends(slices: int, before: int, after: int) -> None:
    depth = before + slices + after
    batch = PairedPatchLoader(_bank([slices], organ=range(9)), None, 1, 1, depth=depth).batch(0)
    wanted = [-1] * before + list(range(slices)) + [-1] * after
    assert _stacks(batch["labelled"]["image"]) == _stacks(batch["unlabelled"]["image"]) == [wanted]
    assert batch["labelled"]["label"][0, 0, 0, 0].tolist() == [int(number >= 0) for number in wanted]


def test_share_of_stacks_in_the_middle_of_an_organ() -> None:
    """The middle is put on an organ's slice; only where the scan ends, the stack stays inside it."""

    def share(fraction: float) -> float:
        bank = _bank([60], organ=range(40, 42))
        loader = PairedPatchLoader(bank, None, 20, 20, depth=6, labelled_foreground_fraction=fraction)
        middles = torch.cat([b["labelled"]["label"][:, 0, 0, 0, 3] for b in loader])
        return float(middles.float().mean())

    assert share(0.0) < 0.1
    assert share(0.6) == pytest.approx(0.6, abs=0.1)
    assert share(1.0) == 1.0
    at_the_end = PairedPatchLoader(_bank([20], organ=range(19, 20)), None, 8, 2, 6, labelled_foreground_fraction=1.0)
    assert all(stack == list(range(14, 20)) for first, _ in _run(at_the_end) for stack in first)


def test_scans_without_the_organ_are_drawn_anywhere() -> None:
    loader = PairedPatchLoader(_bank([20]), None, 4, 10, depth=6, labelled_foreground_fraction=1.0)
    assert len({stack[0] for first, _ in _run(loader) for stack in first}) > 5


def test_masks_of_the_unlabelled_bank_are_not_used() -> None:
    loaders = [
        PairedPatchLoader(_bank([9]), bank, 2, 3, depth=4)
        for bank in (_bank([9], 500, organ=range(2, 4)), _bank([9], 500, labelled=False))
    ]
    assert _run(loaders[0]) == _run(loaders[1])


def test_resumed_run_goes_on_where_it_stopped() -> None:
    banks = _bank([7, 9, 8], organ=range(2, 5)), _bank([5, 11], 500, labelled=False)
    options = {"batch_size": 4, "depth": 5, "seed": 3}
    whole = _run(PairedPatchLoader(*banks, num_batches=12, **options))
    first = PairedPatchLoader(*banks, num_batches=6, **options)
    head = [_stacks(next(iter(first))["labelled"]["image"]) for _ in range(5)]
    assert head == [labelled for labelled, _ in whole[:5]]
    state = first.state_dict()
    assert state["position"] == 5
    assert all(isinstance(value, int) for value in state.values())
    second = PairedPatchLoader(*banks, num_batches=7, **{**options, "seed": 99})
    second.load_state_dict(state)
    assert _run(second) == whole[5:]
    assert _run(PairedPatchLoader(*banks, num_batches=7, position=5, **options)) == whole[5:]


def test_batches_do_not_depend_on_history_or_global_seed() -> None:
    banks = _bank([7, 9]), _bank([5, 11], 500, labelled=False)
    torch.manual_seed(1)
    expected = _run(PairedPatchLoader(*banks, 4, 6, depth=4))
    torch.manual_seed(2)
    state = torch.get_rng_state()
    loader = PairedPatchLoader(*banks, 4, 6, depth=4)
    backwards = [loader.batch(i) for i in reversed(range(6))][::-1]
    assert [_stacks(b["unlabelled"]["image"]) for b in backwards] == [second for _, second in expected]
    assert torch.equal(torch.get_rng_state(), state)
    assert _run(PairedPatchLoader(*banks, 4, 6, depth=4, seed=1)) != expected


def test_a_batch_is_a_copy_and_float16_banks_pass() -> None:
    bank = _bank([4], dtype=torch.float16)
    batch = PairedPatchLoader(bank, None, 1, 1, depth=4).batch(0)
    assert batch["labelled"]["image"].dtype == torch.float32
    for tensor in (*batch["labelled"].values(), *batch["unlabelled"].values()):
        tensor.add_(7)
    assert torch.equal(bank.images, _bank([4], dtype=torch.float16).images)
    assert not bank.labels.any()


def test_an_empty_unlabelled_bank_is_no_bank() -> None:
    empty = SliceBank(torch.zeros(0, 1, 2, 3), None, [], torch.zeros(0))
    assert _run(PairedPatchLoader(_bank([6]), empty, 2, 2, depth=3)) == _run(
        PairedPatchLoader(_bank([6]), None, 2, 2, depth=3)
    )


def test_wrong_arguments() -> None:
    bank = _bank([6])
    with pytest.raises(InputError, match="no masks"):
        PairedPatchLoader(_bank([6], labelled=False), None, 2, 2)
    for options in ({"batch_size": 0}, {"num_batches": 0}, {"depth": 0}, {"position": -1}):
        name, value = next(iter(options.items()))
        wanted = "depth of at least 1" if name == "depth" else "batch_size and num_batches of at least 1, position of"
        with pytest.raises(InputError, match=f"{name} {value}.*; wanted {wanted}"):
            PairedPatchLoader(bank, None, **{"batch_size": 2, "num_batches": 2, **options})
    with pytest.raises(InputError, match="labelled_foreground_fraction"):
        PairedPatchLoader(bank, None, 2, 2, labelled_foreground_fraction=1.5)
    other = SliceBank(torch.zeros(2, 1, 3, 3), None, ["a", "a"], torch.zeros(2))
    with pytest.raises(InputError, match="differ in size"):
        PairedPatchLoader(bank, other, 2, 2)
    with pytest.raises(InputError, match="another batch_size"):
        PairedPatchLoader(bank, None, 2, 2).load_state_dict({"position": 3, "seed": 0, "batch_size": 4})
