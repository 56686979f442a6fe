"""Records kept in files: order, copies of files, torn lines, and what MLflow refuses."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from monai_semgan.handlers.unsent import UNSENT, UnsentRecords


def alive() -> None:
    pass


def test_order_files_and_a_new_process(tmp_path):
    source = tmp_path / "scores.csv"
    source.write_text("a,b")
    kept = UnsentRecords.new(tmp_path)
    assert not kept
    assert not (tmp_path / UNSENT).exists()
    kept.write_header(run_name="run", status="RUNNING")
    kept.add({"kind": "metrics", "values": [["loss", float("nan"), 1, 2]]})
    kept.add({"kind": "file", "file": str(source), "folder": "x"})
    kept.add({"kind": "image", "array": np.full((2, 3, 3), 7, np.uint8), "key": "k"})
    source.write_text("changed later")
    (again,) = UnsentRecords.all(tmp_path)
    assert len(again) == 3
    assert again.header["run_name"] == "run"
    seen = []

    def perform(record):
        text = Path(record["file"]).read_bytes() if "file" in record else b""
        seen.append((record["kind"], text[:4]))

    again.send(perform, alive)
    assert seen == [("metrics", b""), ("file", b"a,b"), ("image", b"\x89PNG")]
    assert not again
    again.remove()
    assert not (tmp_path / UNSENT).exists()


def test_what_was_sent_is_not_sent_twice(tmp_path):
    kept, seen = UnsentRecords(tmp_path / "x"), []
    for number in range(4):
        kept.add({"kind": "text", "text": str(number)})

    def perform(record):
        if record["text"] == "2" and len(seen) == 2:
            raise ConnectionError("away")
        seen.append(record["text"])

    def away():
        raise ConnectionError("away")

    with pytest.raises(ConnectionError):
        kept.send(perform, away)
    assert len(kept) == 2
    kept.add({"kind": "text", "text": "4"})
    seen.append("back")
    UnsentRecords(tmp_path / "x").send(perform, alive)
    assert seen == ["0", "1", "back", "2", "3", "4"]


def test_a_torn_line_and_a_refused_record_stop_nothing(tmp_path, caplog):
    kept = UnsentRecords(tmp_path / UNSENT / "x")
    kept.write_header(status="RUNNING")
    kept.add({"kind": "bad"})
    kept.add({"kind": "good"})
    with (kept.folder / "records.jsonl").open("a") as stream:
        stream.write('{"kind": "torn')
    seen = []

    def perform(record):
        if record["kind"] == "bad":
            raise ValueError("no such kind")
        seen.append(record["kind"])

    kept = UnsentRecords(kept.folder)
    kept.send(perform, alive)
    assert seen == ["good"]
    assert "refused" in caplog.text
    kept.remove()
    assert '"bad"' in (kept.folder / "refused.jsonl").read_text()


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_a_refused_copy_leaves_nothing_half(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = tmp_path / "made"
    part = source / "part.json" if kind == "folder" else source
    part.parent.mkdir(exist_ok=True)
    part.write_text("x" * 100, encoding="utf-8")

    def full(_: object, target: str | Path) -> None:
        half = Path(target) / "part.json" if kind == "folder" else Path(target)
        half.parent.mkdir(exist_ok=True)
        half.write_text("x" * 10, encoding="utf-8")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(shutil, "copytree" if kind == "folder" else "copyfile", full)
    records = UnsentRecords.new(tmp_path / "out")
    with pytest.raises(OSError, match="No space left"):
        records.add({"kind": "artifact", "file": str(source)})
    left = [path for path in (tmp_path / "out").rglob("*") if path.is_file()]
    assert left == []
    assert not records
