"""Do the critics judge, or have they learnt their training slices by heart? And how good and smooth are the samples?"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import torch
from ignite.engine import Engine, Events
from monai.networks.utils import eval_mode, one_hot
from torch import nn

from ..data import SliceBank
from ..losses import path_lengths
from ..metrics import RandomConvFeatures, frechet_feature_distance
from ..transforms import encode_label

__all__ = ["CriticMonitor", "GeneratorMonitor"]


def _evenly(bank: SliceBank, count: int) -> torch.Tensor:
    """Rows of a bank, evenly spaced, at most ``count``."""
    return torch.linspace(0, len(bank) - 1, min(count, len(bank))).round().long()


class CriticMonitor:
    """Sets ``engine.state.metrics["critic_<critic>_<bank>"]``: mean score of real slices (or pairs), high is real.

    With a bank of training slices and one of held-out slices: when the first rises and the second falls, the critic
    knows its training slices by heart, and what it teaches the generator is no longer worth much.
    ``critic_<critic>_generated`` is the score of samples.

    Args:
        critics: name to critic of images ``(B, 1, H, W)``, or of pairs for those in ``pairs``; gives a tensor or what
            its ``logits`` turns into a list of maps.
        banks: name to slices; those that are None, and for pairs those without masks, are left out.
        generator: ``sample_latents`` and call give images and raw masks; None: no samples.
        pairs: names of the critics that see image and mask.
        maps: names of the discriminators of label maps: they see one channel per class with 0 and 1, and the image when
            their ``image_channels`` says so. Their score is a mean logit over pixels.
        num_classes: of the masks, with the background.
        every: iterations between two looks.
        start: first iteration of a look, e.g. the end of a warm start without critics.
        count: slices of each bank, and samples.
    """

    def __init__(
        self,
        critics: dict[str, nn.Module | None],
        banks: dict[str, SliceBank | None],
        generator: nn.Module | None = None,
        pairs: tuple[str, ...] | list[str] = ("joint",),
        maps: tuple[str, ...] | list[str] = (),
        num_classes: int = 2,
        every: int = 200,
        start: int = 0,
        count: int = 32,
    ) -> None:
        self.critics = {name: critic for name, critic in critics.items() if critic is not None}
        self.banks = {name: bank for name, bank in banks.items() if bank is not None}
        self.generator = generator
        self.pairs, self.maps = tuple(pairs), tuple(maps)
        self.num_classes = num_classes
        self.every, self.start = every, start
        self.count = count

    def attach(self, engine: Engine) -> None:
        """Follow ``engine``."""
        engine.add_event_handler(Events.ITERATION_COMPLETED(every=self.every), self)

    def __call__(self, engine: Engine) -> None:
        if engine.state.iteration >= self.start:
            for name, value in self.scores().items():
                engine.state.metrics[f"critic_{name}"] = value

    def scores(self) -> dict[str, float]:
        """``<critic>_<bank>`` -> mean score; the training's random numbers are left alone."""
        found = {}
        with torch.random.fork_rng(devices=[]), eval_mode(*self.critics.values()):
            torch.default_generator.manual_seed(0)
            shown = self._shown()
            for critic_name, critic in self.critics.items():
                device = next(critic.parameters()).device
                for name, (image, label, classes) in shown.items():
                    seen = self._seen(critic_name, critic, image, label, classes)
                    if seen is not None:
                        score = _mean_score(critic, critic(*(part.to(device) for part in seen)))
                        found[f"{critic_name}_{name}"] = score
        return found

    def _shown(self) -> dict[str, tuple[torch.Tensor, torch.Tensor | None, torch.Tensor | None]]:
        """Images, their encoded masks and their masks as classes; samples have no classes."""
        shown: dict[str, tuple[torch.Tensor, torch.Tensor | None, torch.Tensor | None]] = {}
        for name, bank in self.banks.items():
            rows = _evenly(bank, self.count)
            if bank.labels is None:
                shown[name] = (bank.images[rows].float().cpu(), None, None)
                continue
            label = bank.labels[rows].cpu()
            classes = one_hot(label.float(), self.num_classes)
            shown[name] = (bank.images[rows].float().cpu(), encode_label(label, self.num_classes), classes)
        if self.generator is not None:
            image, raw = self.generator(self.generator.sample_latents(self.count), noise="fixed")
            shown["generated"] = (image, raw if raw.shape[1] else None, None)
        return shown

    def _seen(
        self, name: str, critic: nn.Module, image: torch.Tensor, label: torch.Tensor | None,
        classes: torch.Tensor | None,
    ) -> tuple[torch.Tensor, ...] | None:  # fmt: skip
        if name in self.maps:
            if classes is None:
                return None
            return (classes, image) if getattr(critic, "image_channels", 0) else (classes,)
        if name in self.pairs:
            return None if label is None else (image, label)
        return (image,)


def _mean_score(critic: nn.Module, answer: Any) -> float:
    maps = critic.logits(answer) if hasattr(critic, "logits") else [answer]  # type: ignore[operator]
    return float(torch.stack([m.float().mean() for m in maps]).mean())


class GeneratorMonitor:
    """Sets ``engine.state.metrics["frechet_<bank>"]`` and ``["path_length"]``: how good and how smooth the samples are.

    The Frechet distance is taken between samples and real slices in the features of ``RandomConvFeatures``: comparable
    between trainings at one image size, not with published numbers. Samples nearer to the training slices than to
    held-out ones point to a generator that repeats what it was shown; the distance between the two banks themselves,
    ``frechet_<first>_to_<second>``, is what a perfect generator would have to reach.

    Args:
        network: the generator; a moving average, updated in place, may be given.
        banks: name to slices; those that are None are left out.
        every: iterations between two looks; there is one at the end, too.
        count: samples, and at most as many slices of each bank.
        batch_size: samples at once.
        paths: samples whose path length (StyleGAN2, section 3.2) is measured; 0: none.
        features: slices ``(B, 1, H, W)`` to features ``(B, F)``.
    """

    def __init__(
        self,
        network: nn.Module,
        banks: dict[str, SliceBank | None],
        every: int = 200,
        count: int = 128,
        batch_size: int = 32,
        paths: int = 4,
        features: Callable[[torch.Tensor], torch.Tensor] | None = None,
    ) -> None:
        self.network = network
        self.banks = {name: bank for name, bank in banks.items() if bank is not None and len(bank) > 1}
        self.every = every
        self.count = count
        self.batch_size = batch_size
        self.paths = paths
        self.features = features or RandomConvFeatures()
        self._real: dict[str, torch.Tensor] = {}
        self._last = 0

    def attach(self, engine: Engine) -> None:
        """Follow ``engine``."""
        engine.add_event_handler(Events.ITERATION_COMPLETED(every=self.every), self)
        engine.add_event_handler(Events.COMPLETED, self)

    def __call__(self, engine: Engine) -> None:
        if engine.state.iteration != self._last:
            self._last = engine.state.iteration
            engine.state.metrics.update(self.measures())

    def measures(self) -> dict[str, float]:
        """The metrics now; the training's random numbers are left alone."""
        values = {}
        devices = [next(self.network.parameters()).device] if next(self.network.parameters()).is_cuda else []
        with torch.random.fork_rng(devices=devices):
            torch.manual_seed(0)
            made = self._of_samples()
            for name, real in self._of_banks().items():
                values[f"frechet_{name}"] = frechet_feature_distance(made, real)
            names = list(self._real)
            for first, second in pairwise(names):
                values[f"frechet_{first}_to_{second}"] = frechet_feature_distance(self._real[first], self._real[second])
            if self.paths:
                values["path_length"] = self._path_length()
        return values

    def _of_samples(self) -> torch.Tensor:
        parts = []
        with torch.no_grad():
            for start in range(0, self.count, self.batch_size):
                latents = self.network.sample_latents(min(self.batch_size, self.count - start))
                image, _ = self.network(latents, noise="fixed")
                parts.append(self.features(image.clamp(-1, 1).float().cpu()))
        return torch.cat(parts)

    def _of_banks(self) -> dict[str, torch.Tensor]:
        if not self._real:
            for name, bank in self.banks.items():
                rows = _evenly(bank, self.count)
                parts = [self.features(bank.images[part].float().cpu()) for part in rows.split(self.batch_size)]
                self._real[name] = torch.cat(parts)
        return self._real

    def _path_length(self) -> float:
        with torch.no_grad():
            latents = self.network.sample_latents(self.paths)
        with torch.enable_grad():
            latents = latents.detach().requires_grad_()
            image, _ = self.network(latents, noise="fixed")
            return float(path_lengths(image, latents).mean().detach())
