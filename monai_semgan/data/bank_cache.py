"""Prepared slices on disk: found by all that they depend on, mapped into memory, never half-written."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch

from .description import UndescribableError, describe_value

__all__ = ["BankCache", "PreparedSlices"]

logger = logging.getLogger(__name__)

FORMAT = 1
"""To be raised whenever what is written, or what ``build_slice_bank`` makes of a preprocessed scan, changes."""

_INDEX = "bank.json"
_NAMES = {torch.float16: "float16", torch.float32: "float32", torch.float64: "float64", torch.uint8: "uint8"}
_LONGEST_WRITE = 3600.0  # seconds
_VERSIONS = ("monai-semgan", "monai", "torch", "numpy", "scipy", "nibabel", "SimpleITK")


@dataclass(frozen=True)
class PreparedSlices:
    """Slices of scans one after the other, and which belongs to which scan.

    Args:
        images: ``(N, 1, H, W)``.
        labels: ``(N, 1, H, W)`` uint8, or None.
        names: of the scans, in order; two may have one name.
        counts: slices of each scan; they add up to N.
        notes: of each scan, plain values (what JSON holds) that were taken down when it was preprocessed.
    """

    images: torch.Tensor
    labels: torch.Tensor | None
    names: list[str]
    counts: list[int]
    notes: list[Any] = field(default_factory=list)


class BankCache:
    """A folder below ``cache_dir`` for one set of prepared slices: ``bank.json``, ``images.npy`` and ``labels.npy``.

    Its name is a checksum of everything that the slices depend on: paths, sizes and times of change of the files of
    every item (of a DICOM folder: of all files in it) and the item's other entries; the keys; the dtype; the
    preprocessing (:func:`describe_value`) and the code of this package's transforms; versions of what computes. So it
    need never be looked after: what has changed has another name. Old folders are not deleted by anyone: delete them,
    or all of ``cache_dir``, at will.

    Nothing is pickled, and what is read is never run. Files are written into a temporary folder that gets its name when
    it is whole; of several processes that write the same at once, the first to end wins, and the others take its files.

    Args:
        cache_dir: where the folders are; made if it is missing.
        items, preprocessing, image_key, label_key, dtype, note: of :func:`prepare_slices`.

    Raises:
        UndescribableError: the preprocessing, or an item, cannot be told from another one, or draws at random.
    """

    def __init__(
        self,
        cache_dir: str | os.PathLike,
        items: Sequence[Mapping[str, Any]],
        preprocessing: Callable,
        image_key: str,
        label_key: str | None,
        dtype: torch.dtype,
        note: Callable | None = None,
    ) -> None:
        if dtype not in _NAMES:
            raise UndescribableError(f"images of {dtype}, which NumPy does not know")
        recipe = {
            "format": FORMAT,
            "items": [_describe_item(item, (image_key, label_key)) for item in items],
            "keys": [image_key, label_key],
            "dtype": _NAMES[dtype],
            "preprocessing": describe_value(preprocessing),
            "note": describe_value(note),
            "code": _code_of_transforms(),
            "versions": [_version(name) for name in _VERSIONS],
        }
        self.key = hashlib.sha256(json.dumps(recipe, sort_keys=True).encode()).hexdigest()[:32]
        self.cache_dir = Path(cache_dir).expanduser()
        self.folder = self.cache_dir / f"slices-{self.key}"

    def load(self) -> PreparedSlices | None:
        """Map the slices into memory; None when they are not there, or are damaged (which is logged).

        Pages are read when they are first looked at and are shared by all processes that map them. A process that
        writes into the tensors changes its own copy of a page and never the file.

        Sizes, shapes and the index are held against each other; single flipped bits inside the arrays are not found.
        """
        if not self.folder.is_dir():
            return None
        try:
            return self._read()
        except Exception as error:  # NumPy, JSON and the file system raise many kinds for a damaged file
            logger.warning("prepared slices %s are damaged (%s): they are made anew", self.folder, error)
            return None

    def store(self, slices: PreparedSlices) -> bool:
        """Write the slices; False, and a warning in the log, when the disk does not take them.

        Whoever finds that another process was faster leaves that one's files. A damaged folder is replaced.
        """
        temporary = self.cache_dir / f".tmp-{self.key[:8]}-{uuid.uuid4().hex[:12]}"
        try:
            temporary.mkdir(parents=True)
            self._write(temporary, slices)
            self._publish(temporary)
        except OSError as error:
            reason = error.strerror or f"{error}: the disk may be full"  # NumPy's own error has no number
            logger.warning("prepared slices cannot be kept in %s (%s): going on without", self.cache_dir, reason)
            return False
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
        self._delete_leftovers()
        return True

    # ---- files ---------------------------------------------------------------------------------
    def _write(self, folder: Path, slices: PreparedSlices) -> None:
        arrays = {"images": slices.images} | ({} if slices.labels is None else {"labels": slices.labels})
        for name, tensor in arrays.items():
            with (folder / f"{name}.npy").open("wb") as stream:
                np.save(stream, tensor.cpu().numpy(), allow_pickle=False)
                stream.flush()
                os.fsync(stream.fileno())
        index = {
            "format": FORMAT, "key": self.key, "names": slices.names, "counts": slices.counts, "notes": slices.notes,
            "arrays": {
                name: {
                    "shape": list(tensor.shape), "dtype": _NAMES[tensor.dtype],
                    "bytes": (folder / f"{name}.npy").stat().st_size,
                } for name, tensor in arrays.items()
            },
        }  # fmt: skip
        with (folder / _INDEX).open("w", encoding="utf-8") as stream:
            json.dump(index, stream)
            stream.flush()
            os.fsync(stream.fileno())

    def _publish(self, temporary: Path) -> None:
        aside = temporary.with_name(f"{temporary.name}-old")
        for attempt in range(3):
            try:
                os.rename(temporary, self.folder)
                return
            except OSError:
                # there is one already: a faster process's, which is as good, or a damaged one, which has to go
                if self.load() is not None:
                    return
                if attempt == 2 or not self.folder.exists():
                    raise
            # another process may be doing the same; files that are mapped stay with their users
            with suppress(OSError):
                os.rename(self.folder, aside)
            shutil.rmtree(aside, ignore_errors=True)

    def _read(self) -> PreparedSlices:
        index = json.loads((self.folder / _INDEX).read_text(encoding="utf-8"))
        if index["format"] != FORMAT or index["key"] != self.key:
            raise ValueError(f"{_INDEX} is of other slices")
        arrays = {name: self._map(name, wanted) for name, wanted in index["arrays"].items()}
        images, labels = arrays["images"], arrays.get("labels")
        names, counts = [str(name) for name in index["names"]], [int(count) for count in index["counts"]]
        if len(names) != len(counts) or sum(counts) != len(images) or len(index["notes"]) not in (0, len(names)):
            raise ValueError(f"{_INDEX} does not fit the arrays")
        if labels is not None and labels.shape != images.shape:
            raise ValueError(f"labels {tuple(labels.shape)} do not fit images {tuple(images.shape)}")
        return PreparedSlices(images, labels, names, counts, index["notes"])

    def _map(self, name: str, wanted: Mapping[str, Any]) -> torch.Tensor:
        if name not in ("images", "labels"):
            raise ValueError(f"{_INDEX} names an array {name!r}")
        path = self.folder / f"{name}.npy"
        if path.stat().st_size != wanted["bytes"]:
            raise ValueError(f"{path.name} has {path.stat().st_size} bytes instead of {wanted['bytes']}")
        # copy on write: torch asks for memory that it may write to, and the file must stay as it is
        array = np.load(path, mmap_mode="c", allow_pickle=False)
        if list(array.shape) != wanted["shape"] or array.dtype.name != wanted["dtype"]:
            raise ValueError(f"{path.name} holds {array.dtype.name} {array.shape}")
        return torch.from_numpy(array)

    def _delete_leftovers(self) -> None:
        """Temporary folders that killed processes have left behind."""
        with suppress(OSError), os.scandir(self.cache_dir) as entries:
            for entry in entries:
                if entry.name.startswith(".tmp-") and entry.stat().st_mtime < time.time() - _LONGEST_WRITE:
                    shutil.rmtree(entry.path, ignore_errors=True)


def _describe_item(item: Mapping[str, Any], keys: tuple[str | None, ...]) -> list[Any]:
    """Entries of an item by name; of those that are files or folders, what is there."""
    described = []
    for key in sorted(item, key=str):
        value = item[key]
        may_be_path = isinstance(value, os.PathLike) or (isinstance(value, str) and (key in keys or os.sep in value))
        described.append([str(key), (_stamp(Path(value)) if may_be_path else None) or describe_value(value)])
    return described


def _stamp(path: Path) -> list[Any] | None:
    """Place, size and time of change of a file, or of all files in a folder; None when there is nothing."""
    try:
        path = path.resolve()
        if path.is_file():
            return [str(path), _size_and_time(path)]
        if not path.is_dir():
            return None
        files = sorted(Path(folder) / name for folder, _, names in os.walk(path) for name in names)
        return [str(path), [[str(file.relative_to(path)), *_size_and_time(file)] for file in files]]
    except (OSError, ValueError):  # a name that no file can have; reading it will tell
        return None


def _size_and_time(path: Path) -> list[int]:
    status = path.stat()
    return [status.st_size, status.st_mtime_ns]


@cache
def _code_of_transforms() -> str:
    """Checksum of the transforms of this package: names alone would not tell that one of them has changed."""
    total = hashlib.sha256()
    room = Path(__file__).resolve().parents[1] / "transforms"
    for path in sorted(room.rglob("*.py")):
        total.update(path.relative_to(room).as_posix().encode() + b"\0" + path.read_bytes())
    return total.hexdigest()


def _version(package: str) -> str:
    try:
        return f"{package} {version(package)}"
    except ImportError:  # PackageNotFoundError: used from a folder that was not installed
        return package
