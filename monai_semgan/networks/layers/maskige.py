"""From masks to maskiges, pictures in the classes' colours, and back by the nearest colour (2303.11316)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from .maskige_palette import arrange_colours, maskige_palette

__all__ = ["Maskige"]


class Maskige(nn.Module):
    """``X``: a class to its colour; ``X^-1``: a colour to the class with the nearest one.

    The inverse that the paper prints, by the pseudo-inverse of the palette, finds few classes once there are more of
    them than colour channels; nearest colour, which the authors' code uses too, finds all. It is linear: but for a term
    that all classes share, ``-|x - b_k|^2 = 2 x b_k - |b_k|^2``.

    Args:
        num_classes: K, background included.
        palette: see :func:`maskige_palette`.
        temperature: divides the scores, so that their softmax is of use: colours are 0 to 1 apart.
        seed: of random colours.

    Shape: ``encode``: class indices ``(B, 1, ...)`` to ``(B, M, ...)`` in [0, 1]; ``forward``: ``(B, M, ...)`` to class
    scores ``(B, K, ...)``, whose largest is the nearest colour.
    """

    def __init__(
        self,
        num_classes: int,
        palette: str | Sequence[Sequence[float]] = "lattice",
        temperature: float = 0.2,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.num_classes, self.temperature = num_classes, float(temperature)
        # a parameter, since two of the variants learn it; a training that does not give it to an optimiser leaves it
        self.palette = nn.Parameter(maskige_palette(num_classes, palette, seed), requires_grad=False)

    @property
    def channels(self) -> int:
        """M."""
        return int(self.palette.shape[1])

    @torch.no_grad()
    def arrange(self, adjacency: torch.Tensor) -> None:
        """Give the colours to the classes by which of them touch, see :func:`arrange_colours`."""
        self.palette.copy_(arrange_colours(self.palette.detach().cpu(), adjacency).to(self.palette))

    @torch.no_grad()
    def project(self) -> None:
        """Bring learned colours back into [0, 1]."""
        self.palette.clamp_(0.0, 1.0)

    def encode(self, label: torch.Tensor) -> torch.Tensor:
        """The mask in colours; what is no class (a pixel whose label is not known) gets the mean of all colours."""
        classes = label[:, 0].long()
        colours = torch.cat([self.palette, self.palette.mean(dim=0, keepdim=True)])
        return colours[classes.clamp(max=self.num_classes)].movedim(-1, 1).contiguous()

    def forward(self, maskige: torch.Tensor) -> torch.Tensor:
        scores = 2.0 * maskige.movedim(1, -1) @ self.palette.t() - (self.palette * self.palette).sum(dim=1)
        return scores.movedim(-1, 1) / self.temperature
