"""Transferred pixel labels as a file between two stages."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from ..utils import InputError
from ..utils.checkpoint import load_checkpoint, save_checkpoint
from .slice_bank import SliceBank

__all__ = ["PseudoLabels"]

_FIX = "delete the folder of the labels and run the stage that makes them again"


class PseudoLabels:
    """Labels for the slices of named banks, and which slices those are.

    Args:
        labels: name of a bank -> ``(N, 1, H, W)`` uint8, 255 where nothing is known.
        cases: name of a bank -> the scan of each slice.
        settings: plain values that identify how they were made.
    """

    def __init__(
        self,
        labels: Mapping[str, torch.Tensor],
        cases: Mapping[str, list[str]],
        settings: Mapping[str, Any] | None = None,
    ) -> None:
        self.labels, self.cases = dict(labels), {name: list(rows) for name, rows in cases.items()}
        self.settings = dict(settings or {})

    def check(self, name: str, bank: SliceBank | None) -> None:
        """Refuse labels that are not of the bank's slices.

        Raises:
            InputError: other scans, another number of slices or another size.
        """
        if bank is None:
            return
        found = self.labels.get(name)
        if found is None or self.cases[name] != list(bank.cases) or found.shape != bank.images.shape:
            got = "none" if found is None else f"{tuple(found.shape)} of {len(set(self.cases[name]))} scans"
            raise InputError(
                f"transferred labels of the {name} slices", got=got,
                wanted=f"{tuple(bank.images.shape)} of the {len(set(bank.cases))} scans that are trained on", fix=_FIX,
            )  # fmt: skip

    def save(self, path: str | os.PathLike) -> None:
        """Write the file, atomically."""
        save_checkpoint({"labels": self.labels, "cases": self.cases, "settings": self.settings}, Path(path))

    @classmethod
    def load(cls, path: str | os.PathLike) -> PseudoLabels:
        """Read the file.

        Raises:
            InputError: it is missing, damaged, or something else.
        """
        state = load_checkpoint(Path(path))
        if not isinstance(state, dict) or not {"labels", "cases", "settings"} <= set(state):
            raise InputError(
                f"transferred labels {path}", got="another file", wanted="labels.pt of the stage", fix=_FIX
            )
        return cls(state["labels"], state["cases"], state["settings"])
