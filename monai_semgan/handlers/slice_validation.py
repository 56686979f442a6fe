"""A quick look at validation Dice while training, on slices at the network's resolution."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from ignite.engine import Engine, Events
from torch import nn

from ..data import SliceBank
from ..visualize import outline_grid
from .experiment_run import ExperimentRun
from .track_training import images_seen


class SliceValidation:
    """Sets ``engine.state.metrics["validation_dice_<name>"]``: mean over patients, first class, no post-processing.

    It is for watching: no training is changed by it. It looks once more when the training ends, so that trainings can
    be held against each other by it (see ``monai_semgan.apps.log_bundle_model``) and the test patients stay unseen.

    Args:
        network: the network to judge, image to logits; a moving average, updated in place, may be given.
        banks: name to slices with masks.
        every: iterations between two looks.
        batch_size: slices at once.
        inferer: for a network of volumes: called as ``inferer(volume (1, 1, H, W, D), network)`` with all slices of a
            patient, gives logits (None: the network sees slices).
        run: the experiment to log pictures to: evenly spaced slices with the outlines of reference (green) and
            prediction (red), as a series ``<picture>_<name>``.
        pictures: slices in a picture.
        picture: name of the series, one for each stage that has its own.
    """

    def __init__(
        self,
        network: nn.Module,
        banks: dict[str, SliceBank],
        every: int = 200,
        batch_size: int = 32,
        inferer: Callable[[torch.Tensor, nn.Module], torch.Tensor] | None = None,
        run: ExperimentRun | None = None,
        pictures: int = 8,
        picture: str = "contours",
    ) -> None:
        self.network = network
        self.banks = banks
        self.every = every
        self.batch_size = batch_size
        self.inferer = inferer
        self.run = run
        self.pictures, self.picture = pictures, picture
        self._last = 0

    def attach(self, engine: Engine) -> None:
        """Follow ``engine``."""
        engine.add_event_handler(Events.ITERATION_COMPLETED(every=self.every), self)
        engine.add_event_handler(Events.COMPLETED, self)

    def __call__(self, engine: Engine) -> None:
        if engine.state.iteration == self._last:
            return
        self._last = engine.state.iteration
        for name, bank in self.banks.items():
            score, predicted = self._look(bank)
            engine.state.metrics[f"validation_dice_{name}"] = score
            if self.run is not None:
                picture = self._draw(bank, predicted)
                self.run.log_image(picture, f"{self.picture}_{name}", images_seen(engine))

    def dice(self, bank: SliceBank) -> float:
        """Mean Dice over the patients of a bank."""
        return self._look(bank)[0]

    def _draw(self, bank: SliceBank, predicted: torch.Tensor) -> np.ndarray:
        """Slices that show the organ, evenly spaced."""
        shown = bank.labels.flatten(1).any(dim=1).nonzero().flatten().cpu()
        shown = shown if len(shown) else torch.arange(len(bank))
        rows = shown[torch.linspace(0, len(shown) - 1, min(self.pictures, len(shown))).round().long()]
        return outline_grid(bank.images[rows].cpu(), bank.labels[rows].cpu(), predicted[rows])

    def _look(self, bank: SliceBank) -> tuple[float, torch.Tensor]:
        """Mean Dice over the patients, and the index maps ``(N, 1, H, W)``."""
        cases = [torch.tensor([c == case for c in bank.cases]) for case in dict.fromkeys(bank.cases)]
        was_training = self.network.training
        self.network.eval()
        with torch.no_grad():
            maps = self._of_slices(bank) if self.inferer is None else self._of_volumes(bank, cases)
        self.network.train(was_training)
        predicted = maps == 1
        wanted = (bank.labels == 1).cpu()
        scores = []
        for rows in cases:
            p, w = predicted[rows], wanted[rows]
            total = int(p.sum() + w.sum())
            scores.append(2 * int((p & w).sum()) / total if total else 1.0)
        return sum(scores) / len(scores), maps

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
