"""Programs on top of the library. Each command module has `add_parser(subparsers)` and `run(args) -> int`."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .config_check import check_configuration
    from .error_messages import show_input_errors
    from .evaluation import DomainEvaluation
    from .phantom import make_phantom, prepare_phantom
    from .transfer_report import TransferReport, organ_table

__all__ = [
    "DomainEvaluation",
    "TransferReport",
    "check_configuration",
    "make_phantom",
    "organ_table",
    "prepare_phantom",
    "show_input_errors",
]

_HOME = {
    "DomainEvaluation": "evaluation",
    "TransferReport": "transfer_report",
    "check_configuration": "config_check",
    "make_phantom": "phantom",
    "organ_table": "transfer_report",
    "prepare_phantom": "phantom",
    "show_input_errors": "error_messages",
}


def __getattr__(name: str) -> Any:
    # looked up on first use: `monai-semgan --help` should not wait for torch
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f".{_HOME[name]}", __name__), name)
