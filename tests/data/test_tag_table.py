"""Tables of tags: from the user's file, from masks, and every way to get them wrong."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from monai_semgan.data import OrganRoles, TagTable, load_tag_table
from monai_semgan.utils import InputError
from tests.scans import AFFINES, make_scan, write_scan

KNOWN = ["liver", "spleen", "left_kidney"]
ROLES = OrganRoles({"liver": 1, "spleen": 4, "left_kidney": 3}, ["spleen"], ["liver"])


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def test_numbers_ranges_and_sums_of_rows(tmp_path: Path) -> None:
    rows = "a,0-3,\na,1-2,liver\na,2,spleen; left_kidney\nb,0,liver|spleen\n"
    path = write(tmp_path / "t.csv", f"case,slice,tags\n{rows}")
    table = TagTable.read(path, KNOWN)
    assert table.rows("a", 4, KNOWN).tolist() == [
        [False] * 3, [True, False, False], [True, True, True], [False] * 3,
    ]  # fmt: skip
    assert table.rows("b", 1, ["spleen", "liver"]).tolist() == [[True, True]]


def test_columns_in_any_order_and_more_of_them(tmp_path: Path) -> None:
    path = write(tmp_path / "t.csv", "\ufefftags, slice, reader, case\nliver, 0, me, a\n")
    assert TagTable.read(path, KNOWN).rows("a", 1, KNOWN).tolist() == [[True, False, False]]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("case,slice\na,0\n", "got columns case, slice; wanted columns case,slice,tags"),
        ("", "got columns none"),
        ("case,slice,tags\na,x,liver\n", "line 2: slice: got 'x'"),
        ("case,slice,tags\na,5-2,liver\n", "line 2: slice: got '5-2'"),
        ("case,slice,tags\na,-1,liver\n", "line 2: slice: got '-1'"),
        ("case,slice,tags\n,1,liver\n", "line 2: no case"),
        ("case,slice,tags\na,1,livr\n", r"line 2: unknown organ: got livr; wanted liver\?"),
        ("case,slice,tags\na,1,heart\n", "unknown organ: got heart; wanted some of liver, spleen"),
    ],
)
def test_tables_that_cannot_be_read(text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=message):
        TagTable.read(write(tmp_path / "t.csv", text), KNOWN)


def test_every_bad_row_is_counted(tmp_path: Path) -> None:
    text = "case,slice,tags\n" + "a,x,liver\n" * 11
    with pytest.raises(InputError, match=r"line 9: (.|\n)*and 3 more"):
        TagTable.read(write(tmp_path / "t.csv", text), KNOWN)
    with pytest.raises(InputError, match="got no such file"):
        TagTable.read(tmp_path / "gone.csv", KNOWN)


@pytest.mark.parametrize(
    ("case", "count", "message"),
    [
        ("a1", 3, "no tags for a1: .*the table has a01: correct the name"),
        ("zzz", 3, "no tags for zzz: .*add rows"),
        ("a01", 6, "tags are missing for 3 of 6 slices of a01: got no row for slice 2, 4-5; .*empty tags"),
        ("a01", 3, "slice 3 of a01: got a scan of 3 slices; wanted numbers from 0 to 2"),
    ],
)
def test_cases_that_do_not_fit(case: str, count: int, message: str) -> None:
    table = TagTable({"a01": {0: ["liver"], 1: [], 3: []}})
    with pytest.raises(InputError, match=message):
        table.rows(case, count, KNOWN)


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    table = TagTable({"a": {0: ["spleen", "liver"], 1: []}, "b": {0: ["liver"]}})
    table.write(tmp_path / "t.csv")
    again = TagTable.read(tmp_path / "t.csv", KNOWN)
    assert again.tags == table.tags
    assert again.fingerprint == table.fingerprint
    assert TagTable({"a": {0: ["liver"], 1: []}, "b": {0: ["liver"]}}).fingerprint != table.fingerprint


def make_data(folder: Path) -> list[dict[str, str]]:
    volume, liver = make_scan(AFFINES["LPI"])
    items = []
    for name in ("a", "b"):
        image = write_scan(folder / "images" / f"{name}.nii.gz", volume, AFFINES["LPI"])
        items.append({"image": str(image), "name": name})
        items[-1]["label"] = str(write_scan(folder / "labels" / f"{name}.nii.gz", liver, AFFINES["LPI"]))
    return items


def test_from_masks_by_the_slices_of_the_file(tmp_path: Path) -> None:
    items = make_data(tmp_path)
    found = TagTable.derive(items, {"liver": 1, "spleen": 4}, 0).rows("a", 8, ["liver", "spleen"])
    liver = make_scan(AFFINES["LPI"])[1]
    assert found[:, 0].tolist() == liver.any((0, 1)).tolist()
    assert not found[:, 1].any()


def test_masks_of_unlabelled_scans_are_found_for_the_tags_alone(tmp_path: Path) -> None:
    items = make_data(tmp_path)
    bare = {key: value for key, value in items[1].items() if key != "label"}
    table = load_tag_table(None, [items[0], bare], ROLES, 0)
    assert torch.equal(table.rows("a", 8, ["liver"]), table.rows("b", 8, ["liver"]))
    assert "label" not in bare


def test_no_table_and_no_masks(tmp_path: Path) -> None:
    items = make_data(tmp_path)
    (tmp_path / "labels" / "b.nii.gz").unlink()
    bare = [{key: value for key, value in item.items() if key != "label"} for item in items]
    with pytest.raises(InputError, match=r"tags are missing for 1 scans: got b; .*--tags_file"):
        load_tag_table(None, bare, ROLES)


def test_a_mask_that_cannot_be_read(tmp_path: Path) -> None:
    items = make_data(tmp_path)
    Path(items[0]["label"]).write_bytes(b"garbage")
    with pytest.raises(InputError, match=r"1 masks give no tags:\n  - a: .*cannot be read"):
        load_tag_table(None, items, ROLES)


def test_with_a_table_no_mask_is_opened(tmp_path: Path) -> None:
    items = make_data(tmp_path)
    for item in items:
        Path(item["label"]).write_bytes(b"garbage")
    path = write(tmp_path / "t.csv", "case,slice,tags\na,0-7,liver\nb,0-7,\n")
    table = load_tag_table(path, items, ROLES)
    assert table.rows("a", 8, ["liver"]).all()
    assert not table.rows("b", 8, ["liver"]).any()


def test_without_weak_organs_nobody_needs_tags(tmp_path: Path) -> None:
    assert load_tag_table(None, [{"name": "a", "image": "gone"}], OrganRoles({"liver": 1}, ["liver"])) is None


def test_moving_a_mask_within_its_slices_moves_no_tag(tmp_path: Path) -> None:
    items = make_data(tmp_path)
    before = TagTable.derive(items, {"liver": 1}, 0).fingerprint
    liver = make_scan(AFFINES["LPI"])[1]
    write_scan(Path(items[0]["label"]), np.roll(liver, (5, -4), (0, 1)), AFFINES["LPI"])
    assert TagTable.derive(items, {"liver": 1}, 0).fingerprint == before
