"""The settings a network was built with, kept beside its weights."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from .errors import InputError
from .files import write_json_atomic


def settings_path(weights: str | Path) -> Path:
    """``model.json`` for ``model.pt``."""
    return Path(weights).with_suffix(".json")


def write_model_settings(settings: dict[str, Any], weights: str | Path) -> None:
    """Write the settings beside the weights, so that any configuration can rebuild the network."""
    write_json_atomic(settings_path(weights), settings)


class _Settings(dict):
    """A dictionary whose missing entries are told as what they are: the file's fault."""

    def __init__(self, values: dict[str, Any], path: Path) -> None:
        super().__init__(values)
        self._path = path

    def __missing__(self, name: str) -> Any:
        raise InputError(
            f"Settings {self._path}",
            got=f"no entry {name!r}",
            wanted="the settings of this very network",
            fix="copy model.json together with model.pt from the training of this bundle",
        )


def read_model_settings(weights: str | Path) -> dict[str, Any]:
    """Read what :func:`write_model_settings` wrote.

    Raises:
        InputError: when weights or settings are missing, the settings are no JSON object, or, later, an entry is asked
            for that they do not have.
    """
    weights = Path(weights)
    if not weights.is_file():
        raise InputError(
            f"Weights {weights}",
            got="no such file",
            wanted="weights of a finished training",
            fix="train first (python -m monai.bundle run --config_file bundles/ct_liver/train.json), or give "
            "--checkpoint PATH of existing weights",
        )
    path = settings_path(weights)
    if not path.is_file():
        raise InputError(
            f"Settings {path}",
            got="no such file",
            wanted="the settings that the training wrote beside the weights",
            fix="copy model.json together with model.pt",
        )
    try:
        settings = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(f"Settings {path}", got=f"no valid JSON ({error})", fix="copy the file again") from error
    if not isinstance(settings, dict):
        raise InputError(f"Settings {path}", got=type(settings).__name__, wanted="a JSON object")
    return _Settings(settings, path)
