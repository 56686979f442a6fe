"""Programs on top of the library. Each command module has `add_parser(subparsers)` and `run(args) -> int`."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .bundle_model import log_bundle_model
    from .bundle_segmenter import BundleSegmenter
    from .config_check import check_configuration
    from .error_messages import show_input_errors
    from .evaluation import DomainEvaluation
    from .phantom import make_phantom, prepare_phantom
    from .run_configuration import resolved_configuration
    from .transfer_report import TransferReport, organ_table

__all__ = [
    "BundleSegmenter",
    "DomainEvaluation",
    "TransferReport",
    "check_configuration",
    "log_bundle_model",
    "make_phantom",
    "organ_table",
    "prepare_phantom",
    "resolved_configuration",
    "show_input_errors",
]

_HOME = {
    "BundleSegmenter": "bundle_segmenter",
    "DomainEvaluation": "evaluation",
    "TransferReport": "transfer_report",
    "check_configuration": "config_check",
    "log_bundle_model": "bundle_model",
    "make_phantom": "phantom",
    "organ_table": "transfer_report",
    "prepare_phantom": "phantom",
    "resolved_configuration": "run_configuration",
    "show_input_errors": "error_messages",
}


def __getattr__(name: str) -> Any:
    # looked up on first use: `monai-semgan --help` should not wait for torch
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f".{_HOME[name]}", __name__), name)
