"""How fast is it here? Parts of a training and of inference, timed beside what the same machine can do at best."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .measure import measure_speed
    from .peaks import measure_peaks
    from .report import compare, table

__all__ = ["compare", "measure_peaks", "measure_speed", "table"]

_HOME = {"compare": "report", "measure_peaks": "peaks", "measure_speed": "measure", "table": "report"}


def __getattr__(name: str) -> Any:
    # looked up on first use: `monai-semgan benchmark --help` should not wait for torch
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f".{_HOME[name]}", __name__), name)
