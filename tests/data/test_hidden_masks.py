"""Hidden masks are found where they lie, and the lists that train stay as they are."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from monai_semgan.data import find_hidden_masks, load_datalist
from monai_semgan.utils import InputError


def touch(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("a", "b", "c", "d"):
        touch(tmp_path / "ct" / "images" / f"{name}.nii.gz")
    for name in ("a", "b", "d"):
        touch(tmp_path / "ct" / "labels" / f"{name}.nii.gz")
    splits = {"ct_train": ["a", "b", "c"], "ct_val": ["d"], "labelled": {"1": ["a"]}}
    (tmp_path / "splits.json").write_text(json.dumps(splits), encoding="utf-8")
    return tmp_path


def test_scans_with_a_mask_beside_them(folder: Path) -> None:
    items = load_datalist(folder, labelled=1)["unlabelled"]
    before = [dict(item) for item in items]
    found = find_hidden_masks(items)
    assert [item["name"] for item in items] == ["b", "c"]
    assert [(item["name"], item["label"]) for item in found] == [
        ("b", str(folder.resolve() / "ct" / "labels" / "b.nii.gz"))
    ]
    assert items == before
    assert not any("label" in item for item in items)


def test_the_innermost_folder_counts(tmp_path: Path) -> None:
    base = tmp_path / "images" / "set"
    touch(base / "images" / "x" / "a.nii.gz")
    touch(base / "labels" / "x" / "a.nii.gz")
    (found,) = find_hidden_masks([{"image": str(base / "images" / "x" / "a.nii.gz")}])
    assert found["label"] == str(base / "labels" / "x" / "a.nii.gz")


@pytest.mark.parametrize("name", ["a.nii.gz", "images"])
def test_there_may_be_none(name: str, tmp_path: Path) -> None:
    touch(tmp_path / name)
    with pytest.raises(InputError, match=r"got 1 unlabelled scans, and nothing in labels/.*watch_hidden_masks off"):
        find_hidden_masks([{"image": str(tmp_path / name)}])
