"""Appearance randomisation of a whole batch on the trainer's device, with its settings kept."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from .randomise import randomise_appearance

__all__ = ["RandBatchAppearance"]


class RandBatchAppearance:
    """:func:`randomise_appearance` as a callable ``(image (B, 1, H, W[, D]), label or None) -> image``.

    Draws from torch's default generator, which the training engines seed before every iteration.

    One strength for all samples is either too weak for the odd scan (a liver as dark as air) or so strong that the
    usual scan is never practised; so in most samples the changes have ``mild`` times ``strength``, in the rest all of
    it. Texture and tissue shifts, which leave a scan as readable as it was, always have all of it.

    Args:
        strength: 0 (identity) to 1.
        probabilities: of each change, by name.
        mild_fraction: share of samples with milder changes, 0..1.
        mild: strength in those, as a share of ``strength``, 0..1.

    Raises:
        ValueError: ``mild_fraction`` or ``mild`` is out of range.
    """

    def __init__(
        self,
        strength: float = 1.0,
        probabilities: Mapping[str, float] | None = None,
        mild_fraction: float = 0.8,
        mild: float = 0.5,
    ) -> None:
        for name, value in {"mild_fraction": mild_fraction, "mild": mild}.items():
            if not 0.0 <= value <= 1.0:
                raise ValueError(f"{name}: got {value}; wanted a number in 0..1")
        self.strength = strength
        self.probabilities = dict(probabilities or {})
        self.mild_fraction, self.mild = mild_fraction, mild

    def __call__(self, image: torch.Tensor, label: torch.Tensor | None = None) -> torch.Tensor:
        if self.strength == 0 or not len(image):
            return image
        is_mild = torch.rand(len(image), device=image.device) < self.mild_fraction
        changed = image.clone()
        for part, contrast in ((is_mild, self.strength * self.mild), (~is_mild, self.strength)):
            if part.any():
                hint = None if label is None else label[part]
                changed[part] = randomise_appearance(
                    image[part], hint, strength=self.strength, probabilities=self.probabilities,
                    contrast_strength=contrast,
                ).to(changed.dtype)  # fmt: skip
        return changed
