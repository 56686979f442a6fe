"""What the factory asks of a generative model: latents from a seed, and images with probabilities from latents."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch

__all__ = ["Latents", "PairSource", "sample_generator", "sample_seed"]


@dataclass(frozen=True)
class Latents:
    """Codes of one sample: of one slice, or of neighbouring slices.

    Args:
        styles: ``(D, L, C)``, w+ of each of the D slices.
        norm: distance of the sample from the middle of what it was drawn from; the source says in which unit.
        spatial: features ``(D, F, f, f)`` added to the generator's, or None.
    """

    styles: torch.Tensor
    norm: float
    spatial: torch.Tensor | None = None


@runtime_checkable
class PairSource(Protocol):
    """A generative model as the factory sees it. A bundle names one as ``source`` in its ``configs/generate.json``.

    One sample is made at a time, and all randomness comes from the generator that is handed over: a sample then
    depends on its seed alone, not on which others are made with it.

    Attributes:
        image_size: rows and columns of a slice.
        num_classes: classes of the masks, background included.
        fov_mm: width of a slice in mm.
        slice_spacing_mm: distance of neighbouring slices in mm.
        name: what is sampled from, for the lists.
    """

    image_size: int
    num_classes: int
    fov_mm: float
    slice_spacing_mm: float
    name: str

    def learn(self, scans: Sequence[torch.Tensor], depth: int) -> None:
        """Look at the training scans, ``(N, 1, S, S)`` each in [-1, 1]; called once, when a data set is given.

        Raises:
            InputError: no sample of ``depth`` slices can be made of them.
        """

    def sample_latents(self, generator: torch.Generator, truncation: float, depth: int) -> Latents:
        """Draw the latents of one sample of ``depth`` slices.

        Raises:
            InputError: the source lacks what it needs for that (a data set, stacks).
        """

    def synthesise(
        self, latents: Latents, generator: torch.Generator, style_noise: float = 0.0
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Images ``(D, 1, S, S)`` in [-1, 1] and class probabilities ``(D, K, S, S)``, background first.

        ``style_noise`` disturbs what changes texture and not anatomy, in standard deviations of the styles.
        """

    def features(self, images: torch.Tensor) -> torch.Tensor | None:
        """Features ``(N, F)`` of slices, for distances; None where there are none."""

    def reconstruct(self, images: torch.Tensor) -> torch.Tensor | None:
        """The model's own version of real slices; None where it cannot encode."""

    def critic_score(self, images: torch.Tensor) -> float | None:
        """How real the slices look, higher is more real; None without a critic."""


def sample_seed(seed: int, index: int, stream: int = 0) -> int:
    """Seed of sample ``index`` of a factory, 0 .. 2^53 - 1 (JSON keeps such numbers exactly).

    Args:
        seed: of the factory.
        index: number of the sample, from 0.
        stream: another value gives other samples (those that are looked at to set a threshold).
    """
    mask = 2**64 - 1
    mixed = (seed * 0x9E3779B97F4A7C15 + index * 0xBF58476D1CE4E5B9 + stream * 0x94D049BB133111EB) & mask
    # two rounds of xor and multiplication: neighbours get unrelated seeds
    mixed = ((mixed ^ (mixed >> 30)) * 0xBF58476D1CE4E5B9) & mask
    mixed = ((mixed ^ (mixed >> 27)) * 0x94D049BB133111EB) & mask
    return (mixed ^ (mixed >> 31)) >> 11


def sample_generator(seed: int, part: int) -> torch.Generator:
    """Random numbers of one part of a sample: 0 its latents, 1 its noise, 2 and up its disturbed views."""
    return torch.Generator().manual_seed(sample_seed(seed, part, stream=1))
