"""Keeping optimised noise maps noise (StyleGAN2, appendix D)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F


def noise_regularisation(maps: Sequence[torch.Tensor]) -> torch.Tensor:
    """Squared autocorrelation at a shift of one pixel, over each map and its halvings down to 8x8.

    Shape: maps ``(B, 1, s, s)`` to ``(B,)``.
    """
    total = torch.zeros(maps[0].shape[0], device=maps[0].device)
    for noise in maps:
        while True:
            for dim in (2, 3):
                product = (noise * noise.roll(1, dims=dim)).flatten(1).mean(dim=1)
                total = total + product.square()
            if noise.shape[-1] <= 8:
                break
            noise = F.avg_pool2d(noise, 2)
    return total


def standardise_noise(noise: torch.Tensor) -> None:
    """Set mean 0 and standard deviation 1 of each sample, in place."""
    flat = noise.flatten(1)
    mean, std = flat.mean(dim=1), flat.std(dim=1, unbiased=False).clamp(min=1e-8)
    noise.sub_(mean[:, None, None, None]).div_(std[:, None, None, None])
