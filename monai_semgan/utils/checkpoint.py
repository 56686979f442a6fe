"""Checkpoints: tensors and plain values only, written whole or not at all."""

from __future__ import annotations

import os
import zipfile
from pathlib import Path
from typing import Any

import torch

from .errors import InputError
from .files import atomic_path

_WRITING = (
    "iostream error",
    "inline_container",
    "StreamWriter",
    "file write",
    "cannot be opened",
    "does not exist",
    "failed finding central directory",
)


def save_checkpoint(state: dict[str, Any], path: str | Path) -> None:
    """Write ``state`` atomically; an interrupted call leaves the earlier file as it was.

    Raises:
        InputError: the disk is full, or may not be written to; the earlier file is whole.
    """
    path = Path(path)
    try:
        with atomic_path(path) as temporary:
            torch.save(state, temporary)
    except (OSError, RuntimeError) as error:
        # torch's own writer tells of a full disk in words that say nothing about disks
        if isinstance(error, RuntimeError) and not any(word in str(error) for word in _WRITING):
            raise
        number = error.errno if isinstance(error, OSError) else None
        raise InputError(
            f"Checkpoint {path} cannot be written",
            got=os.strerror(number) if number else "a disk that did not take all of it (it may be full)",
            fix="make room, or see to the folder's permissions, and give the same command again: "
            + ("the earlier checkpoint is whole" if path.is_file() else "there was none before this one"),
        ) from error


def load_checkpoint(path: str | Path, map_location: str | torch.device = "cpu") -> Any:
    """Read a checkpoint without running any code in it.

    Raises:
        InputError: when the file is missing, damaged, or holds more than tensors and plain values.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(
            f"Checkpoint {path}",
            got="no such file",
            wanted="a .pt file written by a training",
            fix="train first, or give the path of an existing checkpoint",
        )
    try:
        return torch.load(path, map_location=map_location, weights_only=True)
    except Exception as error:  # torch, zipfile, pickle and the file system raise many kinds for a bad file
        raise InputError(
            f"Checkpoint {path} cannot be read",
            got=_reason(path, error),
            wanted="a file of tensors and plain values saved by this package",
            fix="copy the file again, or delete it and train again; files that hold code are refused on purpose",
        ) from error


def _reason(path: Path, error: Exception) -> str:
    """What is wrong with the file, without torch's advice to load it unsafely."""
    if path.stat().st_size == 0:
        return "an empty file"
    if zipfile.is_zipfile(path) and "weights only" in str(error).lower():
        return "a file that holds more than tensors (such files can run code when they are read)"
    if not zipfile.is_zipfile(path):
        return "a cut-off file, or no PyTorch file, or one that holds code"
    return f"{type(error).__name__}: {' '.join(str(error).split())[:160]}"


def load_network(network: torch.nn.Module, path: str | Path) -> torch.nn.Module:
    """Load a deployable network's weights (plain state dict, or under the key ``model``); returns it in eval mode.

    Raises:
        InputError: for an unreadable file, or weights of another architecture (the first names that
            do not fit are given).
    """
    state = load_checkpoint(path)
    if isinstance(state, dict) and "model" in state and isinstance(state["model"], dict):
        state = state["model"]
    if isinstance(state, dict) and "optimizers" in state:
        raise InputError(
            f"Weights {path}", got="the state of a training", wanted="the weights of its result",
            fix="give model.pt of the same folder",
        )  # fmt: skip
    load_weights(network, state if isinstance(state, dict) else {}, f"Weights {path}")
    return network.eval()


def load_weights(network: torch.nn.Module, state: dict[str, Any], what: str) -> None:
    """``load_state_dict`` with a message that a user can act on; ``what`` is the file or part of it.

    Raises:
        InputError: weights of another architecture (the first names that do not fit are given).
    """
    own = network.state_dict()
    state = {k: v for k, v in state.items() if isinstance(v, torch.Tensor)}
    missing = [k for k in own if k not in state]
    surplus = [k for k in state if k not in own]
    other = [
        f"{k}: file {tuple(state[k].shape)}, network {tuple(own[k].shape)}"
        for k in own
        if k in state and tuple(state[k].shape) != tuple(own[k].shape)
    ]
    if missing or surplus or other:
        shown = other[:3] + [f"missing {k}" for k in missing[:3]] + [f"not wanted {k}" for k in surplus[:3]]
        raise InputError(
            what,
            got="; ".join(shown),
            wanted=f"the {len(own)} tensors of {type(network).__name__} as configured",
            fix="use the configuration (image_size, widths, latent_dim) that the weights were trained with",
        )
    network.load_state_dict(state)
