"""Exponential moving average of weights, counted in images."""

from __future__ import annotations

import copy

import torch
from torch import nn


class EmaByImages:
    """Averaged copy of a network whose half-life is a number of images, whatever the batch.

    ``decay = 0.5 ** (batch / half_life)``; at the start the half-life is at most ``ramp_up`` of the images
    seen so far (as in StyleGAN2-ADA's training, 2006.06676), so short runs are not an average with noise.

    Args:
        network: the network that is trained.
        half_life_images: images after which an old weight counts half.
        ramp_up: fraction of the images seen that the half-life may not exceed.
    """

    def __init__(self, network: nn.Module, half_life_images: float = 10000, ramp_up: float = 0.05) -> None:
        self.network = network
        self.average = copy.deepcopy(network).eval().requires_grad_(False)
        self.half_life_images = half_life_images
        self.ramp_up = ramp_up

    @torch.no_grad()
    def update(self, batch_size: int, images_seen: int) -> None:
        """Move the average towards the network after ``batch_size`` more images."""
        half_life = max(min(self.half_life_images, self.ramp_up * images_seen), 1e-8)
        decay = 0.5 ** (batch_size / half_life)
        for average, weight in zip(self.average.parameters(), self.network.parameters(), strict=True):
            average.lerp_(weight.detach(), 1.0 - decay)
        for average, buffer in zip(self.average.buffers(), self.network.buffers(), strict=True):
            average.copy_(buffer)

    def state_dict(self) -> dict[str, torch.Tensor]:
        return self.average.state_dict()

    def load_state_dict(self, state: dict[str, torch.Tensor]) -> None:
        self.average.load_state_dict(state)
