"""Helpers with no knowledge of images or networks: errors, files, checkpoints."""

from __future__ import annotations

from .checkpoint import load_checkpoint, load_network, save_checkpoint
from .device import require_device
from .errors import InputError
from .files import atomic_path, make_output_folder, write_csv_atomic, write_json_atomic, write_text_atomic
from .mixed_precision import bfloat16_is_fast
from .model_settings import read_model_settings, write_model_settings

__all__ = [
    "InputError",
    "atomic_path",
    "bfloat16_is_fast",
    "load_checkpoint",
    "load_network",
    "make_output_folder",
    "read_model_settings",
    "require_device",
    "save_checkpoint",
    "write_csv_atomic",
    "write_json_atomic",
    "write_model_settings",
    "write_text_atomic",
]
