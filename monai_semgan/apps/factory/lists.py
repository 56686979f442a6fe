"""The lists of a factory: a MONAI datalist of what was kept, one together with real scans, and what was refused."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ...utils.files import write_json_atomic
from .runner import count_reasons
from .store import PairStore, file_name, sample_name

__all__ = ["WITH_REAL", "write_lists"]

WITH_REAL = "with_real"
_HELD_OUT = 10


def write_lists(store: PairStore, real: Mapping[str, Any] | None = None, **about: Any) -> dict[str, Any]:
    """Write ``datalist.json``, ``rejected.json``, ``summary.json`` and, with real scans, ``with_real/datalist.json``.

    Validation and test scans of ``datalist.json`` are the real ones. Where there are none, every tenth pair is for
    validation, so that a training has something to look at; its scores then say nothing about real scans.

    Args:
        store: what was made.
        real: lists of the data set as ``load_datalist`` gives them.
        about: further entries of the summary.

    Returns:
        The summary.
    """
    pairs = [_entry(store, record) for record in store.kept]
    if real is None:
        held = set(range(_HELD_OUT - 1, len(pairs), _HELD_OUT)) or set(range(1, len(pairs))[-1:])
        training = [pair for place, pair in enumerate(pairs) if place not in held]
        validation = [pairs[place] for place in sorted(held)]
        judged: dict[str, Any] = {"validation": validation, "test": {}}
    else:
        training, judged = pairs, _judged(real)
    write_json_atomic(store.folder / "datalist.json", {"training": training, **judged})
    if real is not None:
        folder = store.folder / WITH_REAL
        both = [_real(item) for item in real["labelled"]] + [_moved(pair, store.folder, folder) for pair in training]
        write_json_atomic(folder / "datalist.json", {"training": both, **judged})
    dropped = ("kept", "anatomy", "unusable")
    rejected = [{key: value for key, value in r.items() if key not in dropped} for r in store.rejected]
    write_json_atomic(store.folder / "rejected.json", rejected)
    made = len(store.records)
    summary = {
        "kept": len(pairs),
        "training": len(training),
        "made": made,
        "kept_share": round(len(pairs) / made, 4) if made else None,
        "without_organ": sum(record["empty"] for record in store.kept),
        "rejected": count_reasons(store.rejected),
        **about,
    }
    write_json_atomic(store.folder / "summary.json", summary)
    return summary


def _entry(store: PairStore, record: Mapping[str, Any]) -> dict[str, Any]:
    entry = {"image": file_name(record, "images"), "label": file_name(record, "labels"), "name": sample_name(record)}
    keys = ("seed", "latents", "latent_norm", "truncation", "quality", "nearest")
    return entry | {key: record[key] for key in keys}


def _judged(real: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "validation": [_real(item) for item in real["validation"]],
        "test": {domain: [_real(item) for item in items] for domain, items in real["test"].items()},
    }


def _real(item: Mapping[str, Any]) -> dict[str, Any]:
    return {key: item[key] for key in ("image", "label", "name", "domain") if key in item}


def _moved(entry: Mapping[str, Any], old: Path, new: Path) -> dict[str, Any]:
    paths = {key: Path(os.path.relpath(old / entry[key], new)).as_posix() for key in ("image", "label")}
    return {**entry, **paths}


def reason_lines(summary: Mapping[str, Any]) -> Sequence[str]:
    """``uncertainty 90, anatomy 60``: most frequent first."""
    return [f"{name} {count}" for name, count in sorted(summary["rejected"].items(), key=lambda pair: -pair[1])]
