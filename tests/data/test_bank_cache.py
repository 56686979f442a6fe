"""Prepared slices on disk: found again, made anew when anything has changed, never half-written."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from monai.transforms import Compose, RandFlipd

from monai_semgan.data import (
    ImageSliceLoader,
    PairedPatchLoader,
    PairedSliceLoader,
    SliceBank,
    build_slice_bank,
)
from monai_semgan.data import bank_cache as module
from monai_semgan.utils import InputError

ROOT = Path(__file__).resolve().parents[2]
CALLS: list[str] = []


class Prepare:
    """Stand-in for the preprocessing: reads ``.npy`` volumes, and a mask where there is one."""

    def __init__(self, gain: float = 1.0) -> None:
        self.gain = gain

    def __call__(self, item: dict[str, Any]) -> dict[str, Any]:
        CALLS.append(item["name"])
        paths = {key: Path(item[key]) for key in ("image", "label") if item.get(key)}
        files = {key: next(path.iterdir()) if path.is_dir() else path for key, path in paths.items()}
        return item | {key: self.gain * torch.from_numpy(np.load(path))[None] for key, path in files.items()}


@pytest.fixture
def items(tmp_path: Path) -> list[dict[str, Any]]:
    CALLS.clear()
    return write_items(tmp_path / "scans")


def write_items(folder: Path, count: int = 4) -> list[dict[str, Any]]:
    draw = np.random.default_rng(0)
    folder.mkdir(exist_ok=True)
    found = []
    for number in range(count):
        image, label = folder / f"i{number}.npy", folder / f"l{number}.npy"
        np.save(image, draw.uniform(-1, 1, (8, 8, 3 + number)).astype(np.float32))
        np.save(label, draw.integers(0, 2, (8, 8, 3 + number)).astype(np.float32))
        found.append({"name": f"s{number}", "image": str(image), "label": str(label)})
    return found


def same(one: SliceBank, other: SliceBank) -> bool:
    pairs = [(one.images, other.images), (one.positions, other.positions)]
    pairs += [] if one.labels is None else [(one.labels, other.labels)]
    equal = all(a.dtype == b.dtype and torch.equal(a, b) for a, b in pairs)
    return equal and one.cases == other.cases and one.labelled == other.labelled


def folders(cache: Path) -> list[str]:
    return sorted(path.name for path in cache.iterdir())


@pytest.mark.parametrize("label_key", ["label", None])
@pytest.mark.parametrize("dtype", [torch.float32, "float16"])
def test_the_second_reads_no_scan(items: list, tmp_path: Path, label_key: str | None, dtype: Any) -> None:
    plain = build_slice_bank(items, Prepare(), label_key, dtype=dtype)
    options = {"label_key": label_key, "dtype": dtype, "cache_dir": tmp_path / "cache"}
    CALLS.clear()
    first = build_slice_bank(items, Prepare(), num_workers=3, **options)
    assert sorted(CALLS) == ["s0", "s1", "s2", "s3"]
    second = build_slice_bank(items, Prepare(), **options)
    assert len(CALLS) == 4
    assert same(plain, first)
    assert same(plain, second)
    assert type(second.images) is torch.Tensor
    (folder,) = folders(tmp_path / "cache")
    names = ["bank.json", "images.npy"] + (["labels.npy"] if label_key else [])
    assert sorted(path.name for path in (tmp_path / "cache" / folder).iterdir()) == names


def test_writing_into_a_bank_leaves_the_file_alone(items: list, tmp_path: Path) -> None:
    bank = build_slice_bank(items, Prepare(), cache_dir=tmp_path / "cache")
    before = bank.images.clone()
    bank.images.zero_()
    assert torch.equal(build_slice_bank(items, Prepare(), cache_dir=tmp_path / "cache").images, before)


def _touch(path: Path) -> None:
    os.utime(path, ns=(1, path.stat().st_mtime_ns + 1))


CHANGES: dict[str, Callable[[list[dict[str, Any]]], dict[str, Any] | None]] = {
    "time of a scan": lambda items: _touch(Path(items[1]["image"])),
    "time of a mask": lambda items: _touch(Path(items[2]["label"])),
    "a setting": lambda items: {"preprocessing": Prepare(2.0)},
    "dtype": lambda items: {"dtype": "float16"},
    "no masks": lambda items: {"label_key": None},
    "another mask": lambda items: items[0].update(label=items[0]["label"].replace("l0", "l0b")),
    "fewer scans": lambda items: items.pop(),
    "other order": lambda items: items.reverse(),
    "another name": lambda items: items[0].update(name="other"),
    "another entry": lambda items: items[0].update(series_uid="1.2.3"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_makes_new_slices(items: list, tmp_path: Path, change: str) -> None:
    np.save(items[0]["label"].replace("l0", "l0b"), np.zeros((8, 8, 3), np.float32))
    options: dict[str, Any] = {"preprocessing": Prepare(), "cache_dir": tmp_path / "cache"}
    build_slice_bank(items, **options)
    changed = CHANGES[change](items)
    options |= changed if isinstance(changed, dict) and "name" not in changed else {}
    CALLS.clear()
    assert same(build_slice_bank(items, **options), build_slice_bank(items, **options | {"cache_dir": None}))
    assert len(CALLS) == 2 * len(items)
    assert len(folders(tmp_path / "cache")) == 2


def test_a_relative_path_and_a_link_are_the_same_file(items: list, tmp_path: Path, monkeypatch) -> None:
    build_slice_bank(items, Prepare(), cache_dir=tmp_path / "cache")
    (tmp_path / "link").symlink_to(tmp_path / "scans")
    monkeypatch.chdir(tmp_path)
    CALLS.clear()
    for folder in ("scans", "link"):
        moved = [item | {key: str(Path(folder) / Path(item[key]).name) for key in ("image", "label")} for item in items]
        build_slice_bank(moved, Prepare(), cache_dir="cache")
    assert CALLS == []


def test_every_file_of_a_folder_counts(items: list, tmp_path: Path) -> None:
    series = tmp_path / "series"
    (series / "deep").mkdir(parents=True)
    Path(items[0]["image"]).rename(series / "a.npy")
    (series / "deep" / "b.txt").write_text("b")
    scans = [{"name": "s", "image": str(series)}]
    for touched in (series / "a.npy", series / "deep" / "b.txt"):
        build_slice_bank(scans, Prepare(), cache_dir=tmp_path / "cache")
        _touch(touched)
    build_slice_bank(scans, Prepare(), cache_dir=tmp_path / "cache")
    assert len(CALLS) == 3


def _cut(path: Path, end: int = -10) -> None:
    path.write_bytes(path.read_bytes()[:end])


def _edit(path: Path, **values: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def _pickled(path: Path) -> None:
    """An array of objects in place of the images: NumPy would have to unpickle it."""
    with path.open("wb") as stream:
        np.save(stream, np.array([print], dtype=object), allow_pickle=True)
    index = path.with_name("bank.json")
    arrays = json.loads(index.read_text())["arrays"]
    arrays["images"] = {"shape": [1], "dtype": "object", "bytes": path.stat().st_size}
    _edit(index, arrays=arrays)


DAMAGES: dict[str, Callable[[Path], Any]] = {
    "cut images": lambda folder: _cut(folder / "images.npy"),
    "cut masks": lambda folder: _cut(folder / "labels.npy"),
    "cut index": lambda folder: _cut(folder / "bank.json"),
    "empty index": lambda folder: _cut(folder / "bank.json", 0),
    "no masks": lambda folder: (folder / "labels.npy").unlink(),
    "no index": lambda folder: (folder / "bank.json").unlink(),
    "an index of others": lambda folder: _edit(folder / "bank.json", key="0" * 32),
    "an older format": lambda folder: _edit(folder / "bank.json", format=0),
    "counts that do not fit": lambda folder: _edit(folder / "bank.json", counts=[3, 4, 5, 7]),
    "names that do not fit": lambda folder: _edit(folder / "bank.json", names=["s0"]),
    "a list": lambda folder: (folder / "bank.json").write_text("[]"),
    "masks as images": lambda folder: os.replace(folder / "labels.npy", folder / "images.npy"),
    "a pickle": lambda folder: _pickled(folder / "images.npy"),
    "nothing inside": lambda folder: [path.unlink() for path in folder.iterdir()],
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_slices_are_made_anew(items: list, tmp_path: Path, damage: str, caplog) -> None:
    cache = tmp_path / "cache"
    first = build_slice_bank(items, Prepare(), cache_dir=cache)
    wanted, names = first.images.clone(), folders(cache)
    DAMAGES[damage](cache / names[0])
    CALLS.clear()
    with caplog.at_level(logging.WARNING):
        again = build_slice_bank(items, Prepare(), cache_dir=cache)
    assert "damaged" in caplog.text
    assert len(CALLS) == 4
    assert torch.equal(again.images, wanted)
    assert folders(cache) == names
    assert torch.equal(build_slice_bank(items, Prepare(), cache_dir=cache).images, wanted)
    assert len(CALLS) == 4


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError])
def test_an_interrupted_write_leaves_nothing(items: list, tmp_path: Path, monkeypatch, caplog, error: type) -> None:
    save, cache = np.save, tmp_path / "cache"

    def half(stream: Any, array: np.ndarray, **options: Any) -> None:
        if array.dtype == np.uint8:
            raise error(28, "No space left on device")
        save(stream, array, **options)

    with monkeypatch.context() as patch:
        patch.setattr(module.np, "save", half)
        if error is OSError:
            with caplog.at_level(logging.WARNING):
                assert same(build_slice_bank(items, Prepare(), cache_dir=cache), build_slice_bank(items, Prepare()))
            assert "No space left on device" in caplog.text
        else:
            with pytest.raises(error):
                build_slice_bank(items, Prepare(), cache_dir=cache)
    assert folders(cache) == []


def test_what_a_killed_process_left_is_not_taken_and_goes_later(items: list, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    young, old = cache / ".tmp-0-young", cache / ".tmp-0-old"
    for folder in (young, old):
        folder.mkdir(parents=True)
        (folder / "bank.json").write_text("{}")
    os.utime(old, (time.time() - 7200,) * 2)
    build_slice_bank(items, Prepare(), cache_dir=cache)
    assert len(CALLS) == 4
    assert young.exists()
    assert not old.exists()


def test_a_place_that_cannot_be_written_to_is_told(items: list, tmp_path: Path, caplog) -> None:
    (tmp_path / "file").write_text("")
    with caplog.at_level(logging.WARNING):
        bank = build_slice_bank(items, Prepare(), cache_dir=tmp_path / "file" / "cache")
    assert "going on without" in caplog.text
    assert same(bank, build_slice_bank(items, Prepare()))


def test_what_draws_at_random_is_not_kept(items: list, tmp_path: Path, caplog) -> None:
    """A training with another seed would be given the first one's draws."""
    preparing = Compose([Prepare(), RandFlipd(["image", "label"])])
    with caplog.at_level(logging.WARNING):  # one thread: MONAI's random transforms keep their draw in themselves
        build_slice_bank(items, preparing, num_workers=1, cache_dir=tmp_path / "cache")
    assert "RandFlipd draws at random" in caplog.text
    assert not (tmp_path / "cache").exists()


def test_a_type_that_numpy_does_not_know_is_not_kept(items: list, tmp_path: Path, caplog) -> None:
    with caplog.at_level(logging.WARNING):
        bank = build_slice_bank(items, Prepare(), cache_dir=tmp_path / "cache", dtype=torch.bfloat16)
    assert "bfloat16" in caplog.text
    assert bank.images.dtype == torch.bfloat16


def test_a_broken_scan_is_told_and_nothing_is_kept(items: list, tmp_path: Path) -> None:
    Path(items[2]["image"]).write_bytes(b"broken")
    for _ in range(2):
        with pytest.raises(InputError, match="1 of 4 scans"):
            build_slice_bank(items, Prepare(), cache_dir=tmp_path / "cache")
    assert not (tmp_path / "cache").exists()


def test_loaders_give_the_same_batches(items: list, tmp_path: Path) -> None:
    for _ in range(2):  # made, and found
        banks = [
            [
                build_slice_bank(items[:2], Prepare(), cache_dir=cache),
                build_slice_bank(items[2:], Prepare(), label_key=None, cache_dir=cache, dtype="float16"),
            ]
            for cache in (None, tmp_path / "cache")
        ]
        for make in (
            lambda pair: PairedSliceLoader(*pair, 3, 5, labelled_foreground_fraction=0.7),
            lambda pair: PairedPatchLoader(*pair, 2, 5, depth=4),
            lambda pair: ImageSliceLoader(pair, 3, 5),
        ):
            plain, kept = (list(make(pair)) for pair in banks)
            for one, other in zip(plain, kept, strict=True):
                for stream, part in one.items():
                    assert all(torch.equal(tensor, other[stream][name]) for name, tensor in part.items())


def test_the_slower_of_two_takes_what_the_faster_has_made(items: list, tmp_path: Path, monkeypatch) -> None:
    cache = tmp_path / "cache"

    class Race(Prepare):
        def __call__(self, item: dict[str, Any]) -> dict[str, Any]:
            if len(CALLS) == 3:  # the other begins and ends while this one is at work
                CALLS.append("other")
                build_slice_bank(items, Race(), cache_dir=cache, num_workers=1)
            return super().__call__(item)

    bank = build_slice_bank(items, Race(), cache_dir=cache, num_workers=1)
    assert len(CALLS) == 9
    assert same(bank, build_slice_bank(items, Prepare()))
    assert len(folders(cache)) == 1


WORKER = """
import sys, time
import torch
from pathlib import Path
from monai_semgan.data import build_slice_bank
from tests.data.test_bank_cache import Prepare, write_items
folder, name, other = Path(sys.argv[1]), *sys.argv[2]
cache, items = folder / "cache", write_items(folder / name)
items = [item | {key: item[key].replace(f"/{name}/", "/scans/") for key in ("image", "label")} for item in items]
for number in range(20):
    if number >= 10 and name == "a":  # the banks of the first half once more, damaged
        for path in cache.glob("slices-*/bank.json"):
            path.unlink()
    (folder / f"{name}{number}").touch()
    while not (folder / f"{other}{number}").exists():
        time.sleep(0)
    bank = build_slice_bank(items, Prepare(1.0 + number % 10), cache_dir=cache)
    torch.save({"images": bank.images.clone(), "labels": bank.labels.clone()}, folder / f"{name}{number}.pt")
"""


def test_two_processes_at_the_same_time(items: list, tmp_path: Path) -> None:
    """Twenty banks each; every time they wait for each other before they begin."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    running = [
        subprocess.Popen(
            [sys.executable, "-c", WORKER, str(tmp_path), names],
            cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True,
        ) for names in ("ab", "ba")
    ]  # fmt: skip
    try:
        ends = [(process.communicate(timeout=200)[1], process.returncode) for process in running]
    finally:
        for process in running:
            process.kill()
    assert [code for _, code in ends] == [0, 0], ends
    for number in range(20):
        wanted = build_slice_bank(items, Prepare(1.0 + number % 10))
        for name in ("a", "b"):
            found = torch.load(tmp_path / f"{name}{number}.pt", weights_only=True)
            assert torch.equal(found["images"], wanted.images)
            assert torch.equal(found["labels"], wanted.labels)
    assert len(folders(tmp_path / "cache")) == 10
    assert all(name.startswith("slices-") for name in folders(tmp_path / "cache"))
