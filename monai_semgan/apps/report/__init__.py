"""One self-contained page about a tracked run: what was trained on what, how good it is, where it fails."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .evaluation import Evaluation, MeanInterval, mean_interval, read_evaluation
    from .page import build_report

__all__ = ["Evaluation", "MeanInterval", "build_report", "mean_interval", "read_evaluation"]

_HOME = {
    "Evaluation": "evaluation",
    "MeanInterval": "evaluation",
    "build_report": "page",
    "mean_interval": "evaluation",
    "read_evaluation": "evaluation",
}


def __getattr__(name: str) -> Any:
    # looked up on first use: `monai-semgan report --help` should not wait for torch
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f".{_HOME[name]}", __name__), name)
