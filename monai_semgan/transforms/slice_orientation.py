"""The eight ways to lay a square slice: quarter turns and their mirror images."""

from __future__ import annotations

import torch

__all__ = ["ORIENTATIONS", "RandSliceOrientation", "orient", "orient_back"]

ORIENTATIONS = 8
"""Number of orientations; 0 leaves everything as it is, 4 is the mirror image without a turn."""


def orient(image: torch.Tensor, number: int) -> torch.Tensor:
    """Turn ``(..., H, W)`` by ``number % 4`` quarters, then mirror it left to right if ``number`` is 4 or more."""
    turned = torch.rot90(image, number % 4, dims=(-2, -1))
    return turned.flip(-1) if number >= 4 else turned


def orient_back(image: torch.Tensor, number: int) -> torch.Tensor:
    """Undo :func:`orient`."""
    turned = image.flip(-1) if number >= 4 else image
    return torch.rot90(turned, -(number % 4), dims=(-2, -1))


class RandSliceOrientation:
    """Lay each slice of a batch in one of its eight orientations, all parts of it alike.

    For what must not know where in the body it is. It is no augmentation of anatomy: organs have a left and a right.

    Called with square tensors ``(B, C, H, W)``, it returns them in the same order (one alone as it is, several as a
    tuple; None stays None). Draws from torch's default generator.

    Raises:
        ValueError: slices that are not square.
    """

    def __call__(self, *parts: torch.Tensor | None) -> torch.Tensor | tuple[torch.Tensor | None, ...]:
        given = next(part for part in parts if part is not None)
        if given.shape[-1] != given.shape[-2]:
            raise ValueError(f"slices: got {tuple(given.shape)}; wanted square ones (a quarter turn must fit)")
        numbers = torch.randint(ORIENTATIONS, (len(given),)).tolist()
        turned = tuple(
            None if part is None else torch.stack([orient(part[i], n) for i, n in enumerate(numbers)]) for part in parts
        )
        return turned if len(turned) > 1 else turned[0]
