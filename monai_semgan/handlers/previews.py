"""Pictures of what a training has reached: samples from fixed latents, and reconstructions."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from ..data import SliceBank
from ..transforms import decode_label
from ..visualize import reconstruction_grid, sample_grid


class GeneratorPreview:
    """Samples of a generator from latents that stay the same through the training.

    Args:
        network: the generator to draw from; a moving average, updated in place, may be given.
        count: number of samples.
        seed: of the latents.
        truncation: psi of the truncation trick: below 1 the pictures show the likelier part of the prior.

    Called without arguments it returns ``{"samples": uint8 (H, W, 3)}``; it does not touch the global
    random state.
    """

    def __init__(self, network: nn.Module, count: int = 16, seed: int = 0, truncation: float = 1.0) -> None:
        self.network = network
        self.count = count
        self.seed = seed
        self.truncation = truncation

    def __call__(self) -> dict[str, np.ndarray]:
        generator = self.network
        draw = torch.Generator().manual_seed(self.seed)
        with torch.no_grad():
            latents = generator.sample_latents(self.count, truncation=self.truncation, generator=draw)
            image, raw = generator(latents, noise="fixed")
        label = decode_label(raw).cpu() if raw.shape[1] else None  # a generator of images alone has no masks
        return {"samples": sample_grid(image.clamp(-1, 1).cpu(), label)}


class LatentWalk:
    """The way from one sample of a generator to the next and back to the first, as the frames of an animation.

    A smooth walk between good pictures is a sign that the generator has learnt the space between the training slices,
    and not the slices.

    Args:
        network: the generator to draw from; a moving average, updated in place, may be given.
        rows: walks side by side.
        stops: samples on each way.
        steps: frames from one stop to the next.
        seed: of the latents.
        truncation: as in :class:`GeneratorPreview`.

    Called without arguments it returns ``stops * steps`` pictures, uint8 ``(H, W, 3)``; it does not touch the global
    random state.
    """

    def __init__(
        self, network: nn.Module, rows: int = 4, stops: int = 4, steps: int = 6, seed: int = 0, truncation: float = 0.7
    ) -> None:
        self.network = network
        self.rows = rows
        self.stops = stops
        self.steps = steps
        self.seed = seed
        self.truncation = truncation

    def __call__(self) -> list[np.ndarray]:
        generator = self.network
        draw = torch.Generator().manual_seed(self.seed)
        frames = []
        with torch.no_grad():
            latents = generator.sample_latents(self.rows * self.stops, truncation=self.truncation, generator=draw)
            latents = latents.reshape(self.stops, self.rows, *latents.shape[1:])
            for stop in range(self.stops):
                here, there = latents[stop], latents[(stop + 1) % self.stops]
                for step in range(self.steps):
                    image, raw = generator(torch.lerp(here, there, step / self.steps), noise="fixed")
                    label = decode_label(raw).cpu() if raw.shape[1] else None
                    frames.append(sample_grid(image.clamp(-1, 1).cpu(), label, columns=self.rows))
        return frames


class ReconstructionPreview:
    """Real slices, what the network makes of them, and their masks.

    Args:
        network: has ``reconstruct``; a moving average, updated in place, may be given.
        banks: name to slices; evenly spaced ones are shown.
        count: slices a bank.
    """

    def __init__(self, network: nn.Module, banks: dict[str, SliceBank], count: int = 8) -> None:
        self.network = network
        self.banks = banks
        self.count = count

    def __call__(self) -> dict[str, np.ndarray]:
        network = self.network
        pictures = {}
        for name, bank in self.banks.items():
            chosen = torch.linspace(0, len(bank) - 1, self.count + 2)[1:-1].round().long()
            image = bank.images[chosen].float().cpu()
            label = bank.labels[chosen].cpu() if bank.labels is not None else None
            device = next(network.parameters()).device
            with torch.no_grad():
                made, logits = network.reconstruct(image.to(device))
            prediction = logits.argmax(dim=1, keepdim=True).cpu() if logits.shape[1] else None
            pictures[f"reconstruction_{name}"] = reconstruction_grid(image, made.clamp(-1, 1).cpu(), label, prediction)
        return pictures
