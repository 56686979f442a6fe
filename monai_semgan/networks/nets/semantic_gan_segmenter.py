"""The deployable network: encoder and generator as one module, image in, mask logits out."""

from __future__ import annotations

import torch
from torch import nn


class SemanticGANSegmenter(nn.Module):
    """Encode an image to latents and read the mask off the generator.

    Args:
        encoder: image to ``(w+, spatial or None)``.
        generator: a :class:`SemanticStyleGenerator`.
        temperature: the generator's raw mask values are near +-1; divided by this they are logits
            (.3 for one channel, .1 for several, as in the paper's released code).

    Shape: ``(B, C, S, S)`` in [-1, 1] to logits ``(B, K, S, S)``, K >= 2 with background first.
    """

    def __init__(self, encoder: nn.Module, generator: nn.Module, temperature: float = 0.3) -> None:
        super().__init__()
        self.encoder = encoder
        self.generator = generator
        self.temperature = temperature

    def logits(self, raw_label: torch.Tensor) -> torch.Tensor:
        """Class logits of the generator's raw mask; one channel becomes background and foreground."""
        scaled = raw_label / self.temperature
        if raw_label.shape[1] == 1:
            # softmax over (0, t) equals the sigmoid of t
            return torch.cat([torch.zeros_like(scaled), scaled], dim=1)
        return scaled

    def reconstruct(self, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The generator's version of the image ``(B, C, S, S)`` and the logits ``(B, K, S, S)``."""
        latents, spatial = self.encoder(image)
        made, raw_label = self.generator(latents, noise="zero", spatial=spatial)
        return made, self.logits(raw_label)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.reconstruct(image)[1]
