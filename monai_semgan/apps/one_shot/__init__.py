"""One annotated image: exporting it, reading its mask back, comparing what can be learned from it, and its price."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .annotation import export_annotation, read_annotation
    from .compare import compare_labellers
    from .labellers import LABELLERS, Labeller
    from .networks import load_one_shot, load_untaught
    from .timing import time_labelling

__all__ = [
    "LABELLERS",
    "Labeller",
    "compare_labellers",
    "export_annotation",
    "load_one_shot",
    "load_untaught",
    "read_annotation",
    "time_labelling",
]

_HOME = {
    "LABELLERS": "labellers",
    "Labeller": "labellers",
    "compare_labellers": "compare",
    "export_annotation": "annotation",
    "load_one_shot": "networks",
    "load_untaught": "networks",
    "read_annotation": "annotation",
    "time_labelling": "timing",
}


def __getattr__(name: str) -> Any:
    # looked up on first use: `monai-semgan one-shot --help` should not wait for torch
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f".{_HOME[name]}", __name__), name)
