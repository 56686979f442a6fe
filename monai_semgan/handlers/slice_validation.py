"""A quick look at validation Dice while training, on slices at the network's resolution."""

from __future__ import annotations

from collections.abc import Callable

import torch
from ignite.engine import Engine, Events
from torch import nn

from ..data import SliceBank


class SliceValidation:
    """Sets ``engine.state.metrics["validation_dice_<name>"]``: mean over patients, first class, no post-processing.

    It is for watching: nothing is selected by it, so the validation patients stay unseen.

    Args:
        network: the network to judge, image to logits; a moving average, updated in place, may be given.
        banks: name to slices with masks.
        every: iterations between two looks.
        batch_size: slices at once.
        inferer: for a network of volumes: called as ``inferer(volume (1, 1, H, W, D), network)`` with all slices of a
            patient, gives logits (None: the network sees slices).
    """

    def __init__(
        self,
        network: nn.Module,
        banks: dict[str, SliceBank],
        every: int = 200,
        batch_size: int = 32,
        inferer: Callable[[torch.Tensor, nn.Module], torch.Tensor] | None = None,
    ) -> None:
        self.network = network
        self.banks = banks
        self.every = every
        self.batch_size = batch_size
        self.inferer = inferer

    def attach(self, engine: Engine) -> None:
        """Follow ``engine``."""
        engine.add_event_handler(Events.ITERATION_COMPLETED(every=self.every), self)

    def __call__(self, engine: Engine) -> None:
        for name, bank in self.banks.items():
            engine.state.metrics[f"validation_dice_{name}"] = self.dice(bank)

    def dice(self, bank: SliceBank) -> float:
        """Mean Dice over the patients of a bank."""
        cases = [torch.tensor([c == case for c in bank.cases]) for case in dict.fromkeys(bank.cases)]
        was_training = self.network.training
        self.network.eval()
        with torch.no_grad():
            predicted = (self._of_slices(bank) if self.inferer is None else self._of_volumes(bank, cases)) == 1
        self.network.train(was_training)
        wanted = bank.labels == 1
        scores = []
        for rows in cases:
            p, w = predicted[rows], wanted[rows]
            total = int(p.sum() + w.sum())
            scores.append(2 * int((p & w).sum()) / total if total else 1.0)
        return sum(scores) / len(scores)

    def _of_slices(self, bank: SliceBank) -> torch.Tensor:
        """Index maps ``(N, 1, H, W)``."""
        device = next(self.network.parameters()).device
        parts = [
            self.network(bank.images[i : i + self.batch_size].float().to(device)).argmax(1, keepdim=True).cpu()
            for i in range(0, len(bank), self.batch_size)
        ]
        return torch.cat(parts)

    def _of_volumes(self, bank: SliceBank, cases: list[torch.Tensor]) -> torch.Tensor:
        device = next(self.network.parameters()).device
        predicted = torch.empty(bank.images.shape, dtype=torch.long)
        for rows in cases:
            volume = bank.images[rows].float().permute(1, 2, 3, 0)[None].to(device)
            predicted[rows] = self.inferer(volume, self.network).argmax(1).permute(3, 0, 1, 2).cpu()
        return predicted
