"""Pooling of class maps to image scores, over objects alone."""

from __future__ import annotations

import torch
from torch import nn

_SHUT = -1e4  # as a logarithm


class GatedLSEPool(nn.Module):
    """``(1/r) log(sum of m exp(r s) / sum of m)``: a soft maximum of the map ``s`` where the gate ``m`` is open.

    Plain average pooling lets a classifier find an organ by what surrounds it: in a scan of fixed anatomy that is
    easier than to find the organ. Behind a gate that is open on objects it has to say on which of them it looks.

    Args:
        sharpness: r; towards 0 it is the gated mean, with a large one the maximum.
        floor: below this value the gate is shut. Where it is shut everywhere, all of the image counts, so that an image
            without any object has a score.

    Shape: ``maps (B, C, ...)``, ``gate (B, 1 or C, ...)`` in 0..1 or None (open everywhere); returns ``(B, C)``.
    """

    def __init__(self, sharpness: float = 4.0, floor: float = 0.25) -> None:
        super().__init__()
        self.sharpness, self.floor = sharpness, floor

    def forward(self, maps: torch.Tensor, gate: torch.Tensor | None = None) -> torch.Tensor:
        scores = self.sharpness * maps.flatten(2)
        if gate is None:
            weight = torch.zeros_like(scores)
        else:
            weight = gate.expand_as(maps).flatten(2)
            shut = weight < self.floor
            # really shut: a small weight is made up for by a large score
            weight = weight.clamp(min=self.floor).log().masked_fill(shut, _SHUT)
            weight = weight.masked_fill(shut.all(dim=2, keepdim=True), 0.0)
        return ((scores + weight).logsumexp(dim=2) - weight.logsumexp(dim=2)) / self.sharpness
