"""A quick look at validation Dice while training, on slices at the network's resolution."""

from __future__ import annotations

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
    """

    def __init__(
        self,
        network: nn.Module,
        banks: dict[str, SliceBank],
        every: int = 200,
        batch_size: int = 32,
    ) -> None:
        self.network = network
        self.banks = banks
        self.every = every
        self.batch_size = batch_size

    def attach(self, engine: Engine) -> None:
        """Follow ``engine``."""
        engine.add_event_handler(Events.ITERATION_COMPLETED(every=self.every), self)

    def __call__(self, engine: Engine) -> None:
        for name, bank in self.banks.items():
            engine.state.metrics[f"validation_dice_{name}"] = self.dice(bank)

    def dice(self, bank: SliceBank) -> float:
        """Mean Dice over the patients of a bank."""
        network = self.network
        device = next(network.parameters()).device
        was_training = network.training
        network.eval()
        with torch.no_grad():
            parts = [
                network(bank.images[i : i + self.batch_size].float().to(device)).argmax(1, keepdim=True).cpu()
                for i in range(0, len(bank), self.batch_size)
            ]
        network.train(was_training)
        predicted, wanted = torch.cat(parts) == 1, bank.labels == 1
        scores = []
        for case in dict.fromkeys(bank.cases):
            rows = torch.tensor([c == case for c in bank.cases])
            p, w = predicted[rows], wanted[rows]
            total = int(p.sum() + w.sum())
            scores.append(2 * int((p & w).sum()) / total if total else 1.0)
        return sum(scores) / len(scores)
