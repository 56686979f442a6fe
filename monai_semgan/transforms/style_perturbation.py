"""Change what a generator's image looks like and leave where things are: the views of one-shot segmentation."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

from ..utils import InputError

__all__ = ["StylePerturbation", "rotated_pixels"]


class StylePerturbation:
    """Replace the two latents of one block of w+ by fresh ones (Manerikar and Kak 2023, 2303.05639).

    Block l holds rows 2l and 2l+1, which feed the second convolution at one resolution and the first at the next.
    Coarse blocks move anatomy, which a change of style must not: by default l >= 2 (16x16 and finer). The last block is
    left out, as in the released code; it colours the image and hardly enters the features.

    Args:
        num_latents: L of the generator.
        blocks: l to draw from; None for the default, the released code's are 0, 1, ... up to the last but one.
        sigma: 1 replaces the latents, less moves them towards the fresh ones.

    Raises:
        InputError: a block that the generator does not have.
    """

    def __init__(self, num_latents: int, blocks: Sequence[int] | None = None, sigma: float = 1.0) -> None:
        last = num_latents // 2 - 1
        if blocks is None:
            blocks = list(range(min(2, last - 1), last)) or [0]
        self.blocks, self.sigma = [int(b) for b in blocks], float(sigma)
        if not self.blocks or not all(0 <= b <= last for b in self.blocks):
            raise InputError("option perturbed_blocks", got=list(blocks), wanted=f"some of 0 to {last}")

    def __call__(self, latents: torch.Tensor, fresh: torch.Tensor) -> torch.Tensor:
        """``latents (B, L, D)`` with one block of each sample moved to ``fresh (B, 2, D)``."""
        chosen = torch.tensor(self.blocks, device=latents.device)
        block = chosen[torch.randint(len(self.blocks), (len(latents),), device=latents.device)]
        rows = (2 * block[:, None] + torch.arange(2, device=latents.device))[:, :, None].expand_as(fresh)
        moved = torch.lerp(latents.gather(1, rows), fresh, self.sigma)
        return latents.scatter(1, rows, moved)


def rotated_pixels(pixels: torch.Tensor, size: int, degrees: float = 10.0) -> torch.Tensor:
    """Where pixels of an image that was flipped and rotated at random were before; -1 for beyond the frame.

    The released code moves the two views apart in this way and then compares the same pixel numbers: not the same
    places. Kept for faithful runs.

    Args:
        pixels: ``(B, n)`` row * size + column.
        degrees: largest rotation to either side, one for each sample.
    """
    count = len(pixels)
    angle = (torch.rand(count, 1, device=pixels.device) * 2 - 1) * math.radians(degrees)
    flip = torch.where(torch.rand(count, 1, device=pixels.device) < 0.5, -1.0, 1.0)
    middle = (size - 1) / 2
    y, x = pixels // size - middle, (pixels % size - middle) * flip
    row = (y * angle.cos() - x * angle.sin() + middle).round().long()
    column = (y * angle.sin() + x * angle.cos() + middle).round().long()
    inside = (row >= 0) & (row < size) & (column >= 0) & (column < size)
    return torch.where(inside, row * size + column, torch.full_like(row, -1))
