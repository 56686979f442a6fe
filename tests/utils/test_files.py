"""Atomic files: whole or untouched, and nothing left behind."""

from __future__ import annotations

import csv
import hashlib
import json
import os
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from monai_semgan.utils import (
    InputError,
    atomic_path,
    make_output_folder,
    write_csv_atomic,
    write_json_atomic,
    write_text_atomic,
)


def test_atomic_path_keeps_folder_and_endings(tmp_path: Path) -> None:
    target = tmp_path / "new" / "scan.v1.nii.gz"
    with atomic_path(target) as temporary:
        assert temporary.parent == target.parent
        assert temporary.name.endswith(".nii.gz")
        temporary.write_bytes(b"x")
        assert not target.exists()
    assert [p.name for p in target.parent.iterdir()] == [target.name]


def test_failure_leaves_the_old_file_alone(tmp_path: Path) -> None:
    target = tmp_path / "a.txt"
    target.write_text("old")

    def fail_half_way() -> None:
        with atomic_path(target) as temporary:
            temporary.write_text("half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail_half_way()
    assert target.read_text() == "old"
    assert len(list(tmp_path.iterdir())) == 1


def test_json_takes_arrays_tensors_and_paths(tmp_path: Path) -> None:
    value = {"a": np.float32(0.5), "b": torch.tensor([1, 2]), "c": Path("d"), "e": np.arange(2)}
    write_json_atomic(tmp_path / "a.json", value)
    assert json.loads((tmp_path / "a.json").read_text()) == {"a": 0.5, "b": [1, 2], "c": "d", "e": [0, 1]}


def test_json_that_cannot_be_written_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(TypeError):
        write_json_atomic(tmp_path / "a.json", {"a": object()})
    assert list(tmp_path.iterdir()) == []


def test_csv_has_every_column_once(tmp_path: Path) -> None:
    write_csv_atomic(tmp_path / "a.csv", [{"case": "x", "dice": 0.5}, {"case": "y", "hd95": 2}])
    with (tmp_path / "a.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert rows == [{"case": "x", "dice": "0.5", "hd95": ""}, {"case": "y", "dice": "", "hd95": "2"}]


def test_text_is_utf8(tmp_path: Path) -> None:
    write_text_atomic(tmp_path / "a.txt", "Leberlänge")
    assert (tmp_path / "a.txt").read_bytes() == "Leberlänge".encode()


def test_an_output_folder_is_made_or_refused(tmp_path: Path) -> None:
    assert make_output_folder(tmp_path / "a" / "b").is_dir()
    assert make_output_folder(tmp_path / "a").is_dir()
    (tmp_path / "file").touch()
    for wrong in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(InputError, match=r"output folder .*give another --output_dir"):
            make_output_folder(wrong)


def test_what_a_killed_writer_left_goes_an_hour_later(tmp_path: Path) -> None:
    def leave(age: float) -> Path:
        kept = tmp_path / f".tmp-{hashlib.sha256(b'a.json').hexdigest()[:8]}-{age:.0f}.json"
        kept.write_text("half")
        os.utime(kept, (time.time() - age,) * 2)
        return kept

    old, fresh = leave(4000), leave(60)
    other = tmp_path / ".tmp-00000000-x.json"
    other.write_text("another file's")
    os.utime(other, (0, 0))
    write_json_atomic(tmp_path / "a.json", 1)
    assert not old.exists()
    assert fresh.exists()
    assert other.exists()
