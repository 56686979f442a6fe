"""Lists of a data set folder: who is labelled, unlabelled, validation and test."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from monai_semgan.data import load_datalist
from monai_semgan.utils import InputError


def _touch(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"")


def _splits(folder: Path, **changes: Any) -> Path:
    splits: dict[str, Any] = {
        "ct_train": ["c1", "c2", "c3", "c4"],
        "ct_val": ["c5"],
        "mr_dev_test": ["m1", "m2"],
        "mr_t1in_test": ["t1"],
        "labelled": {"1": ["c3"], "2": ["c3", "c1"], "4": ["c3", "c1", "c2", "c4"]},
        "note": "not a list of scans",
    }
    splits.update(changes)
    for domain, names in (("ct", ["c1", "c2", "c3", "c4", "c5"]), ("mr", ["m1", "m2"]), ("mr_t1in", ["t1"])):
        for name in names:
            _touch(folder / domain / "images" / f"{name}.nii.gz")
            _touch(folder / domain / "labels" / f"{name}.nii.gz")
    (folder / "splits.json").write_text(json.dumps(splits))
    return folder


def _names(items: list[dict]) -> list[str]:
    return [item["name"] for item in items]


def test_splits(tmp_path: Path) -> None:
    lists = load_datalist(_splits(tmp_path), labelled=2)
    assert _names(lists["labelled"]) == ["c3", "c1"]
    assert _names(lists["unlabelled"]) == ["c2", "c4"]
    assert _names(lists["validation"]) == ["c5"]
    assert {domain: _names(items) for domain, items in lists["test"].items()} == {
        "ct": ["c5"],
        "mr_t1in": ["t1"],
        "mr_t2spir": ["m1", "m2"],
    }
    assert lists["test"]["mr_t2spir"][0]["image"] == str(tmp_path / "mr" / "images" / "m1.nii.gz")
    assert lists["test"]["mr_t2spir"][0]["domain"] == "mr_t2spir"
    # Their masks lie on the disk, but must not come near the training.
    assert all(set(item) == {"image", "name", "domain"} for item in lists["unlabelled"])
    assert all(Path(item["label"]).parent.name == "labels" for item in lists["labelled"] + lists["validation"])


def test_domains_and_own_test_list(tmp_path: Path) -> None:
    _splits(tmp_path, ct_val=[], ct_test=["c5"])
    lists = load_datalist(tmp_path, labelled=1, domains=["ct"])
    assert list(lists["test"]) == ["ct"]
    assert lists["validation"] == []
    assert _names(lists["unlabelled"]) == ["c1", "c2", "c4"]


def test_test_scans_may_lack_masks(tmp_path: Path) -> None:
    _splits(tmp_path)
    (tmp_path / "mr" / "labels" / "m2.nii.gz").unlink()
    items = load_datalist(tmp_path, labelled=1)["test"]["mr_t2spir"]
    assert ["label" in item for item in items] == [True, False]


@pytest.mark.parametrize(
    ("changes", "labelled", "words"),
    [
        ({}, 3, "one of 1, 2, 4"),
        ({}, 0, "at least 1"),
        ({"labelled": {}}, 5, "at most the 4"),
        ({"labelled": {"1": ["c5"]}}, 1, "c5"),
        ({"ct_val": ["c1"]}, 1, "both in training and in validation"),
        ({"ct_val": ["gone"]}, 1, r"gone\.nii\.gz"),
        ({"ct_train": []}, 1, "ct_train"),
        ({"ct_train": "c1"}, 1, '"ct_train": got c1; wanted a list of names'),
        ({"labelled": {"1": "c3"}}, 1, '"labelled: 1": got c3; wanted a list'),
    ],
)
def test_wrong_splits(tmp_path: Path, changes: dict, labelled: int, words: str) -> None:
    with pytest.raises(InputError, match=words):
        load_datalist(_splits(tmp_path, **changes), labelled=labelled)


def test_labelled_scan_without_mask(tmp_path: Path) -> None:
    _splits(tmp_path)
    (tmp_path / "ct" / "labels" / "c3.nii.gz").unlink()
    with pytest.raises(InputError, match="c3 has no mask"):
        load_datalist(tmp_path, labelled=1)


def _datalist(folder: Path, content: Any) -> Path:
    for name in ("a", "b", "c", "d"):
        _touch(folder / f"{name}.nii.gz")
        _touch(folder / f"{name}_seg.nii.gz")
    (folder / "datalist.json").write_text(json.dumps(content))
    return folder


def test_datalist(tmp_path: Path) -> None:
    _datalist(
        tmp_path,
        {
            "training": [
                {"image": "a.nii.gz", "label": "a_seg.nii.gz"},
                {"image": "b.nii.gz"},
                {"image": "c.nii.gz", "label": "c_seg.nii.gz"},
            ],
            "test": {"mr_t1in": ["d.nii.gz"]},
        },
    )
    lists = load_datalist(tmp_path, labelled=1)
    assert _names(lists["labelled"]) == ["a"]
    assert _names(lists["unlabelled"]) == ["b", "c"]
    assert all("label" not in item for item in lists["unlabelled"])
    assert lists["validation"] == []
    assert _names(lists["test"]["mr_t1in"]) == ["d"]
    assert lists["test"]["mr_t1in"][0]["domain"] == "mr_t1in"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({"training": [{"image": "a.nii.gz"}]}, "no training scan has a mask"),
        ({"training": [{"label": "a.nii.gz"}]}, "entry 0"),
        ({"training": {"image": "a"}}, "wanted a list"),
        ({"other": []}, "training"),
        (["a"], "JSON object"),
    ],
)
def test_wrong_datalists(tmp_path: Path, content: Any, words: str) -> None:
    with pytest.raises(InputError, match=words):
        load_datalist(_datalist(tmp_path, content))


def test_bare_folder_is_split_by_seed(tmp_path: Path) -> None:
    for i in range(10):
        _touch(tmp_path / "images" / f"s{i}.nii.gz")
        if i < 8:
            _touch(tmp_path / "labels" / f"s{i}.nii.gz")
    lists = load_datalist(tmp_path, labelled=4, seed=1)
    assert lists == load_datalist(tmp_path, labelled=4, seed=1)
    parts = [set(_names(lists[part])) for part in ("labelled", "unlabelled", "validation")]
    assert [len(part) for part in parts] == [4, 5, 1]
    assert set.union(*parts) == {f"s{i}" for i in range(10)}
    assert {"s8", "s9"} <= parts[1]
    assert any(load_datalist(tmp_path, labelled=4, seed=s) != lists for s in range(2, 6))


def test_folders_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is missing"):
        load_datalist(tmp_path / "no")
    with pytest.raises(InputError, match="not understood"):
        load_datalist(tmp_path)
    (tmp_path / "splits.json").write_text("{")
    with pytest.raises(InputError, match="cannot be read"):
        load_datalist(tmp_path)


def test_validation_without_masks_and_unknown_domains(tmp_path: Path) -> None:
    _splits(tmp_path)
    with pytest.raises(InputError, match=r"option domains.*got mr; wanted some of ct, mr_t1in, mr_t2spir"):
        load_datalist(tmp_path, labelled=1, domains=["ct", "mr"])
    (tmp_path / "ct" / "labels" / "c5.nii.gz").unlink()
    with pytest.raises(InputError, match="no validation scan has a mask: got c5"):
        load_datalist(tmp_path, labelled=1)
