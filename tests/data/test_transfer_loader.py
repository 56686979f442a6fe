"""Batches of the transfer: what is in which part, and never a mask of a slice without masks."""

from __future__ import annotations

import logging
from dataclasses import replace

import pytest
import torch

from monai_semgan.data import UNKNOWN, OrganRoles, TransferSliceLoader
from monai_semgan.utils import InputError
from tests.tiny_transfer import ROLES, make_loader, make_tagged, make_truth


def test_parts_and_keys() -> None:
    batch = make_loader().batch(0)
    assert set(batch["labelled"]) == {"image", "label", "tags", "candidates", "index"}
    assert set(batch["unlabelled"]) == {"image", "tags", "candidates", "index"}  # no mask key at all
    assert set(batch["real"]) == {"image", "label"}
    assert set(make_loader(parts=("labelled",)).batch(0)) == {"labelled"}
    assert set(make_loader(unlabelled=None).batch(0)) == {"labelled", "real"}


def test_rows_belong_together() -> None:
    loader = make_loader(batch=8)
    for name, bank in (("labelled", loader.labelled), ("unlabelled", loader.unlabelled)):
        part = loader.batch(3)[name]
        assert torch.equal(part["image"], bank.images[part["index"]])
        assert torch.equal(part["tags"], bank.tags[part["index"]])
        assert torch.equal(part["candidates"], bank.candidates[part["index"]])


def test_real_silhouettes_are_complete_and_of_strong_organs() -> None:
    loader = make_loader(batch=16)
    assert loader.has_real
    label = loader.batch(0)["real"]["label"]
    assert set(torch.unique(label).tolist()) == {0, 2}
    assert (label > 0).flatten(1).any(1).all()


def test_without_clear_slices_there_is_nothing_real() -> None:
    truth = make_truth()
    shows = (truth.labels == 1).flatten(1).any(1)
    chosen = torch.nonzero(shows).flatten()
    bank = make_tagged(
        replace(truth, images=truth.images[chosen], labels=truth.labels[chosen], positions=truth.positions[chosen],
                cases=[truth.cases[int(i)] for i in chosen])
    )  # fmt: skip
    loader = make_loader(labelled=bank)
    assert not loader.has_real
    assert "real" not in loader.batch(0)


def test_foreground_is_strong_organs_not_unknown_pixels() -> None:
    loader = make_loader(batch=16, labelled_foreground_fraction=1.0)
    label = loader.batch(0)["labelled"]["label"]
    assert ((label > 0) & (label != UNKNOWN)).flatten(1).any(1).all()


def test_batches_depend_on_seed_and_number_alone() -> None:
    loader, other = make_loader(4), make_loader(4)
    batches = list(loader)
    other.load_state_dict({**other.state_dict(), "position": 2})
    for first, second in zip(batches[2:], list(other)[:2], strict=True):
        for name in first:
            assert all(torch.equal(first[name][key], second[name][key]) for key in first[name])


def test_an_organ_that_is_never_there_is_told() -> None:
    labelled, bare = make_tagged(), make_tagged(masks=False)
    empty = replace(labelled, labels=torch.where(labelled.labels == 2, 0, labelled.labels).to(torch.uint8))
    with pytest.raises(InputError, match="strong organs without any mask: got square"):
        TransferSliceLoader(empty, bare, ROLES, 2, 2)
    tagless = [replace(bank, tags=bank.tags & torch.tensor([False, True])) for bank in (labelled, bare)]
    with pytest.raises(InputError, match="tagged in no slice: got disc; wanted tags of all organs"):
        TransferSliceLoader(*tagless, ROLES, 2, 2)
    # without weak organs tags are not asked for
    both = OrganRoles({"disc": 1, "square": 2}, ["disc", "square"])
    TransferSliceLoader(replace(tagless[0], labels=make_truth().labels), None, both, 2, 2)


def test_tags_of_weak_organs_alone_make_one_suspicious(caplog: pytest.LogCaptureFixture) -> None:
    bare = make_tagged(masks=False)
    with caplog.at_level(logging.WARNING):
        TransferSliceLoader(make_tagged(), replace(bare, tags=bare.tags & torch.tensor([True, False])), ROLES, 2, 2)
    assert "without masks is tagged with square" in caplog.text


def test_unknown_parts() -> None:
    with pytest.raises(InputError, match="parts of a batch"):
        make_loader(parts=("labelled", "masks"))
    with pytest.raises(InputError, match="parts of a batch"):
        make_loader(parts=("unlabelled",))
