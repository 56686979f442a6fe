"""Helpers with no knowledge of images or networks: errors, files, checkpoints."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from .errors import InputError
from .files import atomic_path, make_output_folder, write_csv_atomic, write_json_atomic, write_text_atomic
from .model_settings import read_model_settings, write_model_settings

if TYPE_CHECKING:
    from .checkpoint import load_checkpoint, load_network, save_checkpoint
    from .compiled import CompiledPasses
    from .device import require_device
    from .mixed_precision import bfloat16_is_fast
    from .processes import (
        first_process_first,
        gather_batch,
        gather_values,
        is_first_process,
        process_count,
        process_device,
        process_part,
        start_processes,
        wait_for_all,
    )
    from .start_weights import load_start

__all__ = [
    "CompiledPasses",
    "InputError",
    "atomic_path",
    "bfloat16_is_fast",
    "first_process_first",
    "gather_batch",
    "gather_values",
    "is_first_process",
    "load_checkpoint",
    "load_network",
    "load_start",
    "make_output_folder",
    "process_count",
    "process_device",
    "process_part",
    "read_model_settings",
    "require_device",
    "save_checkpoint",
    "start_processes",
    "wait_for_all",
    "write_csv_atomic",
    "write_json_atomic",
    "write_model_settings",
    "write_text_atomic",
]

_NEED_TORCH = {
    "CompiledPasses": "compiled",
    "bfloat16_is_fast": "mixed_precision",
    "first_process_first": "processes",
    "gather_batch": "processes",
    "gather_values": "processes",
    "is_first_process": "processes",
    "load_checkpoint": "checkpoint",
    "load_network": "checkpoint",
    "load_start": "start_weights",
    "process_count": "processes",
    "process_device": "processes",
    "process_part": "processes",
    "require_device": "device",
    "save_checkpoint": "checkpoint",
    "start_processes": "processes",
    "wait_for_all": "processes",
}


def __getattr__(name: str) -> Any:
    # looked up on first use: `monai-semgan --help` should not wait for torch
    if name not in _NEED_TORCH:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f".{_NEED_TORCH[name]}", __name__), name)
