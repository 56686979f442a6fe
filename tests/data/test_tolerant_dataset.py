"""One bad item must not cost the others their place."""

from __future__ import annotations

import pytest
import torch
from monai.transforms import Compose, Lambdad
from torch.utils.data import DataLoader

from monai_semgan.data.tolerant_dataset import TolerantDataset
from monai_semgan.utils import InputError


def load(value):
    if value == "bad":
        raise InputError("scan b.nii.gz", got="4 dimensions", wanted="3", fix="split it")
    if value == "broken":
        raise KeyError("no such header")
    return torch.ones(1, 2, 2) * len(value)


ITEMS = [
    {"name": "a", "image": "x"},
    {"name": "b", "image": "bad"},
    {"image": "broken"},
    {"name": "d", "image": "yy"},
]


def test_bad_items_become_notes_and_good_ones_pass():
    dataset = TolerantDataset(ITEMS, Compose([Lambdad("image", load)]))
    items = [dataset[i] for i in range(len(dataset))]
    assert [item["name"] for item in items] == ["a", "b", "item 3", "d"]
    assert "failed" not in items[0]
    assert torch.equal(items[3]["image"], torch.full((1, 2, 2), 2.0))
    # MONAI wraps the error in "applying transform ..."; the user gets the words meant for him.
    assert items[1] == {
        "name": "b",
        "failed": str(InputError("scan b.nii.gz", "4 dimensions", "3", "split it")),
    }
    assert items[2]["failed"].startswith("KeyError")
    assert "no such header" in items[2]["failed"]


def test_a_data_loader_gives_every_item():
    loader = DataLoader(TolerantDataset(ITEMS, Lambdad("image", load)), batch_size=1, num_workers=0)
    batches = list(loader)
    assert [batch["name"][0] for batch in batches] == ["a", "b", "item 3", "d"]
    assert "failed" in batches[1]
    assert batches[0]["image"].shape == (1, 1, 2, 2)


def test_a_transform_that_gives_no_dictionary_is_a_note_too():
    assert "wanted one dictionary" in TolerantDataset([{"name": "a"}], lambda item: [item, item])[0]["failed"]


def test_the_user_can_still_stop_the_run():
    def interrupt(item):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        TolerantDataset(ITEMS, interrupt)[0]
