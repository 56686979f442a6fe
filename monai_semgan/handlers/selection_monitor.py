"""Are the pixels that a discriminator trusts right? A look at slices whose masks the training does not use."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from ignite.engine import Engine, Events
from monai.networks.utils import eval_mode
from torch import nn

from ..data import SliceBank
from ..losses import trusted_pixels
from ..metrics import score_selection


class SelectionMonitor:
    """Sets ``engine.state.metrics["selection_<name>_<score>"]``, scores as in ``score_selection``.

    For watching self-training only: masks go from the bank into the score and nowhere else. Mind that a bank of hidden
    masks must not be what the training reads its labelled slices from.

    Args:
        network: the network that is trained, image to logits.
        discriminator: label maps to logits.
        banks: name to slices with masks; those that are None are left out.
        threshold, warp, randomise: as in the training: a discriminator that has seen deformed slices alone may trust
            others less. Each look sees the same deformations; the training's random numbers are left alone.
        every: iterations between two looks.
        batch_size: slices at once.
    """

    def __init__(
        self,
        network: nn.Module,
        discriminator: nn.Module,
        banks: dict[str, SliceBank | None],
        threshold: float | Sequence[float] = 0.2,
        warp: Callable | None = None,
        randomise: Callable | None = None,
        every: int = 200,
        batch_size: int = 32,
    ) -> None:
        self.network = network
        self.discriminator = discriminator
        self.banks = {name: bank for name, bank in banks.items() if bank is not None}
        self.threshold = threshold
        self.warp = warp or (lambda image, label: (image, label))
        self.randomise = randomise or (lambda image, label: image)
        self.every = every
        self.batch_size = batch_size

    def attach(self, engine: Engine) -> None:
        """Follow ``engine``."""
        engine.add_event_handler(Events.ITERATION_COMPLETED(every=self.every), self)

    def __call__(self, engine: Engine) -> None:
        for name, bank in self.banks.items():
            for score, value in self.scores(bank).items():
                engine.state.metrics[f"selection_{name}_{score}"] = value

    def scores(self, bank: SliceBank) -> dict[str, float]:
        """Scores of the selection on all slices of a bank together."""
        device = next(self.network.parameters()).device
        parts: list[tuple[torch.Tensor, ...]] = []
        with eval_mode(self.network, self.discriminator), torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(0)  # the CPU's alone: that is the one which is given back
            for start in range(0, len(bank), self.batch_size):
                rows = slice(start, start + self.batch_size)
                image, label = self.warp(bank.images[rows].float().cpu(), bank.labels[rows].cpu())
                maps = self.network(self.randomise(image, None).to(device)).float().softmax(dim=1)
                seen = (maps, image.to(device)) if getattr(self.discriminator, "image_channels", 0) else (maps,)
                predicted = maps.argmax(dim=1, keepdim=True)
                trusted = trusted_pixels(self.discriminator(*seen), predicted, self.threshold)
                parts.append((predicted.cpu(), trusted.cpu(), label))
        return score_selection(*(torch.cat(part) for part in zip(*parts, strict=True)))
