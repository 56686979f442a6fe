"""Tracked runs as MLflow's client API gives them: found, read, listed and compared. Nothing is ever written."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .compare import compare_runs
    from .listing import list_table
    from .reading import find_run, read_runs
    from .stores import Store, find_stores, open_stores
    from .tracked_run import TrackedRun

__all__ = [
    "Store",
    "TrackedRun",
    "compare_runs",
    "find_run",
    "find_stores",
    "list_table",
    "open_stores",
    "read_runs",
]

_HOME = {
    "Store": "stores",
    "TrackedRun": "tracked_run",
    "compare_runs": "compare",
    "find_run": "reading",
    "find_stores": "stores",
    "list_table": "listing",
    "open_stores": "stores",
    "read_runs": "reading",
}


def __getattr__(name: str) -> Any:
    # looked up on first use: `monai-semgan runs --help` should not wait for MLflow
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f".{_HOME[name]}", __name__), name)
