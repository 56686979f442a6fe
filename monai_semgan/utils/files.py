"""Atomic file writing: a reader sees the old file or the whole new one, never a half-written one."""

from __future__ import annotations

import csv
import hashlib
import json
import os
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from .errors import InputError

__all__ = ["atomic_path", "make_output_folder", "write_csv_atomic", "write_json_atomic", "write_text_atomic"]

_LONGEST_WRITE = 3600.0  # seconds


@contextmanager
def atomic_path(path: str | os.PathLike) -> Iterator[Path]:
    """Yield a temporary path next to ``path`` that replaces ``path`` once the block has succeeded.

    The temporary name ends like ``path`` (``.nii.gz``, ``.csv`` ...), because many writers choose the format
    by the ending. Missing parent folders are made. On an exception the temporary file is deleted and ``path``
    is left as it was. What a killed process left of an earlier attempt at ``path`` goes an hour later.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    mark = f".tmp-{hashlib.sha256(path.name.encode()).hexdigest()[:8]}-"
    temporary = path.parent / f"{mark}{uuid.uuid4().hex[:12]}{''.join(path.suffixes[-2:])}"
    try:
        yield temporary
        os.replace(temporary, path)
        _delete_leftovers(path.parent, mark)
    except BaseException:
        with suppress(FileNotFoundError):
            temporary.unlink()
        raise


def _delete_leftovers(folder: Path, mark: str) -> None:
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            # another process may be writing the same file just now, but not for an hour
            if entry.name.startswith(mark) and entry.stat().st_mtime < time.time() - _LONGEST_WRITE:
                os.unlink(entry.path)


def make_output_folder(folder: str | os.PathLike) -> Path:
    """Make ``folder`` unless it is there, before work is done whose result could then not be written.

    Raises:
        InputError: it cannot be made, or nothing may be written there.
    """
    folder = Path(folder)
    wanted = "a folder that can be made and written to"
    fix = "give another --output_dir"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"output folder {folder}", got=error.strerror or str(error), wanted=wanted, fix=fix) from error
    if not os.access(folder, os.W_OK):
        raise InputError(f"output folder {folder}", got="no permission to write", wanted=wanted, fix=fix)
    return folder


def write_text_atomic(path: str | os.PathLike, text: str) -> None:
    """Write ``text`` as UTF-8 to ``path``, atomically."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json_atomic(path: str | os.PathLike, value: Any, indent: int = 2) -> None:
    """Write ``value`` as JSON to ``path``, atomically; NumPy and torch values become numbers and lists."""
    write_text_atomic(path, json.dumps(value, indent=indent, default=_plain) + "\n")


def write_csv_atomic(
    path: str | os.PathLike, rows: Sequence[Mapping[str, Any]], fieldnames: Sequence[str] | None = None
) -> None:
    """Write ``rows`` as CSV with a header to ``path``, atomically.

    Args:
        path: the file to write.
        rows: one mapping per line; keys that a row lacks are left empty.
        fieldnames: the columns; by default every key in the order of first appearance.
    """
    if fieldnames is None:
        fieldnames = list(dict.fromkeys(key for row in rows for key in row))
    with atomic_path(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, fieldnames=fieldnames, restval="")
        writer.writeheader()
        writer.writerows(rows)


def _plain(value: Any) -> Any:
    """Turn what ``json`` does not know into something it does."""
    if hasattr(value, "tolist"):
        return value.tolist()
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    raise TypeError(f"cannot write {type(value).__name__} as JSON")
