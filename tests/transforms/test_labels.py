"""Masks: renumbering and the networks' channels."""

from __future__ import annotations

import pytest
import torch
from monai.data import MetaTensor

from monai_semgan.transforms import EncodeLabeld, MapLabels, MapLabelsd, decode_label, encode_label
from monai_semgan.utils import InputError


def test_only_mapped_values_stay() -> None:
    label = torch.tensor([0, 1, 2, 3, 13], dtype=torch.uint8).reshape(1, 5, 1, 1)
    assert MapLabels()(label).flatten().tolist() == [0, 1, 0, 0, 0]
    assert MapLabels({"2": 1, "3": 1, "13": 2})(label.float()).flatten().tolist() == [0, 0, 1, 1, 2]
    assert MapLabels()(label).dtype == torch.uint8


def test_values_that_cannot_be_labels() -> None:
    for wrong in (0.5, -1.0, 300.0):
        with pytest.raises(InputError):
            MapLabels()(torch.tensor([[0.0, wrong]]))
    with pytest.raises(InputError, match=r"unknown label values: got \[7\]"):
        MapLabels({1: 1}, known_values=range(5))(torch.tensor([[0, 7]]))
    with pytest.raises(InputError, match="mapping"):
        MapLabels({"liver": 1})


def test_a_single_organ_of_another_number_is_refused() -> None:
    with pytest.raises(InputError, match="no wanted label: got the value 255 alone; wanted the value 1"):
        MapLabels()(torch.tensor([[0, 255]]))
    for label in ([0, 0], [0, 2, 3], [1, 0], [1, 255]):  # nothing there, another part of the body, the liver
        assert MapLabels()(torch.tensor([label])).max() <= 1


def test_metadata_and_missing_masks() -> None:
    label = MetaTensor(torch.ones(1, 2, 2, 2), meta={"name": "a"})
    out = MapLabelsd("label", {1: 4})({"label": label})["label"]
    assert out.meta["name"] == "a"
    assert out.unique().tolist() == [4]
    assert MapLabelsd("label", {1: 4}, allow_missing_keys=True)({"image": 0}) == {"image": 0}


@pytest.mark.parametrize(("classes", "channels"), [(2, 1), (3, 3), (14, 14)])
def test_encoding_is_undone_by_decoding(classes: int, channels: int) -> None:
    label = torch.randint(0, classes, (2, 1, 6, 5), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    code = encode_label(label, classes)
    assert code.shape == (2, channels, 6, 5)
    assert set(code.unique().tolist()) == {-1.0, 1.0}
    assert torch.equal(decode_label(code), label)
    if channels > 1:
        assert torch.equal((code > 0).sum(1), torch.ones(2, 6, 5, dtype=torch.long))


def test_encoding_refuses_what_does_not_fit() -> None:
    with pytest.raises(ValueError, match="2 classes"):
        encode_label(torch.tensor([[[2]]]), 2)
    with pytest.raises(ValueError, match="index map"):
        encode_label(torch.zeros(2, 3, 4, 4))


def test_dictionary_form() -> None:
    out = EncodeLabeld("label", num_classes=3)({"label": MetaTensor(torch.zeros(1, 4, 4, 2))})["label"]
    assert out.shape == (3, 4, 4, 2)
    assert bool((out[0] == 1).all())
