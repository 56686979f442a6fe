"""Appearance randomisation of a whole batch on the trainer's device, with its settings kept."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from .mr_contrast import random_mr_contrast
from .randomise import randomise_appearance

__all__ = ["RandBatchAppearance"]


class RandBatchAppearance:
    """:func:`randomise_appearance` as a callable ``(image (B, 1, H, W[, D]), label or None) -> image``.

    Draws from torch's default generator, which the training engines seed before every iteration.

    One strength for all samples is either too weak for the odd scan (a liver as dark as air) or so strong that the
    usual scan is never practised; so in most samples the changes have ``mild`` times ``strength``, in the rest all of
    it. Texture and tissue shifts, which leave a scan as readable as it was, always have all of it.

    For windowed CT a part of the samples can be drawn as MRI instead (:func:`random_mr_contrast`). These are changed
    only weakly afterwards, since what makes them useful is that they look like something.

    Args:
        strength: 0 (identity) to 1.
        probabilities: of each change, by name.
        mild_fraction: share of samples with milder changes, 0..1.
        mild: strength in those, as a share of ``strength``, 0..1.
        mr_fraction: share of samples that are drawn as MRI; their further changes have half of ``strength``, contrasts
            a quarter. For CT in the window of -125 to 275 HU alone.

    Raises:
        ValueError: ``mild_fraction``, ``mild`` or ``mr_fraction`` is out of range.
    """

    def __init__(
        self,
        strength: float = 1.0,
        probabilities: Mapping[str, float] | None = None,
        mild_fraction: float = 0.8,
        mild: float = 0.5,
        mr_fraction: float = 0.0,
    ) -> None:
        shares = {"mild_fraction": mild_fraction, "mild": mild, "mr_fraction": mr_fraction}
        for name, value in shares.items():
            if not 0.0 <= value <= 1.0:
                raise ValueError(f"{name}: got {value}; wanted a number in 0..1")
        self.strength = strength
        self.probabilities = dict(probabilities or {})
        self.mild_fraction, self.mild, self.mr_fraction = mild_fraction, mild, mr_fraction

    def __call__(self, image: torch.Tensor, label: torch.Tensor | None = None) -> torch.Tensor:
        if self.strength == 0 or not len(image):
            return image
        is_mild = torch.rand(len(image), device=image.device) < self.mild_fraction
        as_mr = torch.zeros_like(is_mild)
        if self.mr_fraction:
            as_mr = torch.rand(len(image), device=image.device) < self.mr_fraction
        changed = image.clone()
        kinds = (
            (is_mild & ~as_mr, self.strength, self.strength * self.mild),
            (~is_mild & ~as_mr, self.strength, self.strength),
            (as_mr, 0.5 * self.strength, 0.25 * self.strength),
        )
        for part, strength, contrast in kinds:
            if part.any():
                hint = None if label is None else label[part]
                drawn = image[part] if part is not as_mr else random_mr_contrast(image[part], hint)
                changed[part] = randomise_appearance(
                    drawn, hint, strength=strength, probabilities=self.probabilities, contrast_strength=contrast
                ).to(changed.dtype)
        return changed
