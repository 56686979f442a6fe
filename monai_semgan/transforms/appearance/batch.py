"""Appearance randomisation of a whole batch on the trainer's device, with its settings kept."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from .randomise import randomise_appearance

__all__ = ["RandBatchAppearance"]


class RandBatchAppearance:
    """:func:`randomise_appearance` as a callable ``(image (B, 1, H, W), label or None) -> image``.

    Draws from torch's default generator, which the training engines seed before every iteration.

    Args:
        strength: 0 (identity) to 1.
        probabilities: of each change, by name.
    """

    def __init__(self, strength: float = 1.0, probabilities: Mapping[str, float] | None = None) -> None:
        self.strength = strength
        self.probabilities = dict(probabilities or {})

    def __call__(self, image: torch.Tensor, label: torch.Tensor | None = None) -> torch.Tensor:
        return randomise_appearance(image, label, strength=self.strength, probabilities=self.probabilities)
