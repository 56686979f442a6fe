"""Benchmarks: the methods of the project on the same splits, with the same budget, several seeds, side by side."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .collect import collect_results
    from .compare import PairedDifference, compare_rows, paired_difference, summarise_rows
    from .plan import Cell, plan_cells
    from .report import write_report
    from .rows import BENCHMARK_METHODS, PRESETS, BenchmarkMethod, Preset
    from .runner import run_cells

__all__ = [
    "BENCHMARK_METHODS",
    "BenchmarkMethod",
    "Cell",
    "PRESETS",
    "PairedDifference",
    "Preset",
    "collect_results",
    "compare_rows",
    "paired_difference",
    "plan_cells",
    "run_cells",
    "summarise_rows",
    "write_report",
]

_HOME = {
    "BENCHMARK_METHODS": "rows",
    "BenchmarkMethod": "rows",
    "Cell": "plan",
    "PRESETS": "rows",
    "PairedDifference": "compare",
    "Preset": "rows",
    "collect_results": "collect",
    "compare_rows": "compare",
    "paired_difference": "compare",
    "plan_cells": "plan",
    "run_cells": "runner",
    "summarise_rows": "compare",
    "write_report": "report",
}


def __getattr__(name: str) -> Any:
    # looked up on first use: `monai-semgan benchmark --help` should not wait for torch
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f".{_HOME[name]}", __name__), name)
