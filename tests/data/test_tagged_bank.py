"""Banks with tags: unknown pixels, candidates, the order of the slices, and no weak mask."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from monai.transforms import Compose, Orientationd

from monai_semgan.data import (
    UNKNOWN,
    OrganRoles,
    SliceBank,
    TaggedSliceBank,
    TagTable,
    build_tagged_slice_bank,
    tag_correlation,
    tag_slices,
)
from monai_semgan.transforms import (
    LoadScand,
    MapLabelsd,
    NormalizeFieldOfViewd,
    SliceInterpolation,
    UndoSliceInterpolationd,
    slices_in_file,
)
from monai_semgan.utils import InputError
from tests.scans import AFFINES, make_scan, make_transforms, write_scan

ROLES = OrganRoles({"liver": 1, "kidney": 2, "spleen": 4}, ["spleen", "kidney"], ["liver"])


def make_bank(labels: torch.Tensor | None) -> SliceBank:
    return SliceBank(torch.zeros(3, 1, 4, 4), labels, ["a"] * 3, torch.zeros(3))


def test_what_is_unmasked_beside_a_tagged_weak_organ_is_unknown() -> None:
    labels = torch.zeros(3, 1, 4, 4, dtype=torch.uint8)
    labels[:2, 0, 0] = 3
    tags = torch.tensor([[True, False, True], [False, False, True], [True, True, False]])
    bank = tag_slices(make_bank(labels), tags, ROLES)
    assert (bank.labels[0, 0, 1:] == UNKNOWN).all()
    assert (bank.labels[:2, 0, 0] == 3).all()  # masks stay
    assert (bank.labels[1, 0, 1:] == 0).all()  # no weak organ there: background is background
    assert (bank.labels[2] == UNKNOWN).all()
    # a strong organ would be masked: only weak ones may hide
    assert bank.candidates.int().tolist() == [[1, 1, 0, 0], [1, 0, 0, 0], [1, 1, 0, 0]]
    assert not (labels == UNKNOWN).any()


def test_without_masks_all_tagged_organs_are_candidates() -> None:
    tags = torch.tensor([[True, False, True], [False] * 3, [True] * 3])
    bank = tag_slices(make_bank(None), tags, ROLES)
    assert bank.labels is None
    assert torch.equal(bank.candidates[:, 1:], tags)
    assert bank.candidates[:, 0].all()


def test_a_weak_organ_in_the_masks_is_refused() -> None:
    labels = torch.ones(3, 1, 4, 4, dtype=torch.uint8)
    with pytest.raises(InputError, match="more than strong organs: got classes \\[1\\]; wanted classes \\[2, 3\\]"):
        tag_slices(make_bank(labels), torch.zeros(3, 3, dtype=torch.bool), ROLES)


def test_parts_that_do_not_fit() -> None:
    bank = make_bank(None)
    with pytest.raises(ValueError, match="do not fit"):
        TaggedSliceBank(bank.images, None, bank.cases, bank.positions, torch.zeros(3, 2), torch.zeros(3, 2))


def build(folder: Path, orientation: str, tags: Any, volume: np.ndarray | None = None) -> TaggedSliceBank:
    volume = make_scan(AFFINES[orientation])[0] if volume is None else volume
    item = {"name": "a", "image": str(write_scan(folder / "i.nii.gz", volume, AFFINES[orientation]))}
    preprocessing = make_transforms(32)[0]
    return build_tagged_slice_bank([item], preprocessing, tags, ROLES, label_key=None)


@pytest.mark.parametrize("orientation", ["RAS", "LPI"])
def test_tags_follow_their_slices_whatever_the_file_s_order(orientation: str, tmp_path: Path) -> None:
    liver = make_scan(AFFINES[orientation])[1]
    liver[:, :, 3:] = 0  # or both ends would be alike
    volume = np.where(liver > 0, 150, -1000).astype(np.int16)
    table = TagTable({"a": {k: ["spleen"] if there else [] for k, there in enumerate(liver.any((0, 1)))}})
    bank = build(tmp_path, orientation, table, volume)
    shows = (bank.images > -0.9).flatten(1).any(1)
    assert 0 < shows.sum() < 4
    assert torch.equal(bank.tags[:, ROLES.names.index("spleen")], shows)


def test_one_slice_tagged_at_an_end(tmp_path: Path) -> None:
    for orientation, place in (("RAS", 0), ("LPI", -1)):
        bank = build(tmp_path, orientation, TagTable({"a": {k: ["liver"] if k == 0 else [] for k in range(8)}}))
        assert bank.tags[:, 0].sum() == 1
        assert bank.tags[place, 0]


@pytest.mark.parametrize("orientation", ["RAS", "LPI"])
def test_tags_of_the_file_s_slices_go_to_those_of_the_scanner(orientation: str, tmp_path: Path) -> None:
    made = SliceInterpolation(33, 9 / 7.7, "first")
    draw = np.random.default_rng(0)
    body = make_scan(AFFINES[orientation])[0][:, :, :1] > -500
    scan = np.where(body, draw.normal(0, 60, (*body.shape[:2], made.matrix.shape[1])).cumsum(axis=-1), -1000)
    file = (scan @ made.matrix.T).round().astype(np.int16)
    path = write_scan(tmp_path / "i.nii.gz", file, AFFINES[orientation])
    shown = range(10, 20)
    table = TagTable({"a": {k: ["spleen"] if k in shown else [] for k in range(33)}})
    steps = [LoadScand("image"), Orientationd("image", axcodes="PLS", labels=None), UndoSliceInterpolationd("image")]
    preprocessing = Compose([*steps, NormalizeFieldOfViewd("image", size=32, fov_mm=352.0, body_threshold=-500.0)])
    given = [{"name": "a", "image": str(path)}], preprocessing, table, ROLES
    bank = build_tagged_slice_bank(*given, label_key=None)
    assert len(bank) < 33
    for _ in range(2):  # made, and found on disk
        kept = build_tagged_slice_bank(*given, label_key=None, cache_dir=tmp_path / "cache", device="cpu")
        assert torch.equal(kept.images, bank.images)
        assert torch.equal(kept.tags, bank.tags)
        assert torch.equal(kept.candidates, bank.candidates)
    assert len(list((tmp_path / "cache").iterdir())) == 1
    places = preprocessing({"image": str(path)})["image"]
    numbers = slices_in_file(places)
    if orientation == "LPI":
        numbers = [32 - k for k in numbers]
    assert bank.tags[:, ROLES.names.index("spleen")].tolist() == [k in shown for k in numbers]


def test_a_missing_slice_is_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="tags are missing for 1 of 8 slices of a"):
        build(tmp_path, "RAS", TagTable({"a": {k: [] for k in range(7)}}))


def test_no_table_no_tags(tmp_path: Path) -> None:
    assert not build(tmp_path, "RAS", None).tags.any()


def test_masks_of_weak_organs_do_not_come_through(tmp_path: Path) -> None:
    everything = TagTable({"a": {k: ["liver", "spleen"] for k in range(8)}})
    steps = [
        LoadScand(["image", "label"]),
        NormalizeFieldOfViewd(["image", "label"], size=32, fov_mm=352.0),
        MapLabelsd("label", ROLES.strong_mapping),
    ]
    volume, liver = make_scan(AFFINES["LAS"])
    banks = []
    for weak in (np.roll(liver, 4, 0), np.roll(liver, -4, 1), liver * 0):
        item = {"name": "a", "image": str(write_scan(tmp_path / "i.nii.gz", volume, AFFINES["LAS"]))}
        mask = np.where(liver > 0, 4, weak).astype(np.uint8)
        item["label"] = str(write_scan(tmp_path / "l.nii.gz", mask, AFFINES["LAS"]))
        banks.append(build_tagged_slice_bank([item], Compose(steps), everything, ROLES))
    assert set(torch.unique(banks[0].labels).tolist()) == {3, UNKNOWN}
    assert all(torch.equal(bank.labels, banks[0].labels) for bank in banks)


def test_correlation_of_tags() -> None:
    tags = torch.tensor([[1, 1, 0, 1], [0, 0, 1, 1], [1, 1, 0, 1], [0, 0, 0, 1]]) > 0
    matrix = tag_correlation(tags)
    assert matrix[0, 1] == pytest.approx(1.0)
    assert matrix[0, 2] < 0
    assert (matrix[3, :3] == 0).all()  # always there: it says nothing
