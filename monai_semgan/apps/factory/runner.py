"""Make, judge and write pairs, one after the other."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from ...transforms.body import body_box
from ...transforms.modality import detect_modality
from ...utils.errors import InputError
from .anatomy import AnatomyRules, measure_mask
from .filters import Filters
from .hounsfield import from_hounsfield, to_hounsfield
from .memorisation import NearestSlices
from .source import PairSource, sample_generator, sample_seed
from .store import PairStore
from .uncertainty import score_uncertainty

__all__ = ["MadePair", "PairFactory", "count_reasons"]

_PILOT = 7


@dataclass(frozen=True)
class MadePair:
    """A sample before anybody has judged it.

    Args:
        image: ``(D, 1, S, S)`` in [-1, 1].
        label: ``(D, 1, S, S)`` class indices, uint8.
        record: its line in the lists, without ``kept`` and ``reasons``.
    """

    image: torch.Tensor
    label: torch.Tensor
    record: dict[str, Any]


class PairFactory:
    """Makes pairs from a source and judges them. What sample number i is depends on i and these arguments alone.

    Every sample is computed by itself, since a convolution of 32 slices and one of 5 differ in the last bits.

    Args:
        source: where pairs come from.
        rules: of anatomy.
        filters: what is refused.
        nearest: for the memorisation check, or None.
        seed: of the whole factory.
        truncation: factor on the latents' distance from their mean; below 1 samples are more alike and safer.
        depth: neighbouring slices of a sample; 1 makes single slices.
        views: how often a sample is drawn again with disturbed styles.
        style_noise: how much they are disturbed, in standard deviations of the styles.

    Raises:
        InputError: a number out of range.
    """

    def __init__(
        self,
        source: PairSource,
        rules: AnatomyRules,
        filters: Filters | None = None,
        nearest: NearestSlices | None = None,
        seed: int = 0,
        truncation: float = 1.0,
        depth: int = 1,
        views: int = 4,
        style_noise: float = 0.5,
    ) -> None:
        if not 0 < truncation <= 2:
            raise InputError("option truncation", got=truncation, wanted="above 0, at most 2; 1 changes nothing")
        for name, value, least in (("depth", depth, 1), ("views", views, 0), ("style_noise", style_noise, 0)):
            if value < least:
                raise InputError(f"option {name}", got=value, wanted=f"{least} or more")
        self.source, self.rules, self.filters, self.nearest = source, rules, filters or Filters(), nearest
        self.seed, self.truncation, self.depth = int(seed), float(truncation), int(depth)
        self.views, self.style_noise = int(views), float(style_noise)

    def make(self, index: int) -> MadePair:
        """Sample number ``index`` with its scores."""
        seed = sample_seed(self.seed, index)
        image, first, latents = self._draw(seed)
        others = [
            self.source.synthesise(latents, sample_generator(seed, 2 + view), self.style_noise)[1]
            for view in range(self.views)
        ]
        # NIfTI holds whole HU: what is judged is what is written
        image = from_hounsfield(to_hounsfield(image))
        label = first.argmax(dim=1, keepdim=True).to(torch.uint8).cpu()
        measures = measure_mask(image, label, self.source.fov_mm)
        critic = self.source.critic_score(image)
        found = None if self.nearest is None else self.nearest.nearest(image)
        quality = {
            **{name: round(value, 5) for name, value in score_uncertainty(torch.stack([first, *others])).items()},
            "critic": None if critic is None else round(critic, 5),
            "organs": {str(k): {n: _plain(v) for n, v in organ.items()} for k, organ in measures["organs"].items()},
            "body_share": round(measures["body_share"], 5),
        }
        record = {
            "index": index,
            "seed": seed,
            "latents": self.source.name,
            "latent_norm": round(latents.norm, 5),
            "truncation": self.truncation,
            "quality": quality,
            "nearest": None if found is None else found.as_dict(),
            "anatomy": self.rules.broken(measures),
            "unusable": self._unusable(image),
            "empty": not measures["organs"],
        }
        return MadePair(image, label, record)

    def draw(self, index: int) -> MadePair:
        """Image and mask of sample ``index`` again, without scores."""
        image, first, _ = self._draw(sample_seed(self.seed, index))
        image = from_hounsfield(to_hounsfield(image))
        return MadePair(image, first.argmax(dim=1, keepdim=True).to(torch.uint8).cpu(), {"index": index})

    def critic_threshold(self) -> float | None:
        """Quantile of the critic's scores of samples that are made for that alone; None without a critic."""
        worst, number = self.filters.critic_worst, self.filters.critic_samples
        if not worst or not number:
            return None
        scores = []
        for index in range(number):
            image, _, _ = self._draw(sample_seed(self.seed, index, stream=_PILOT))
            score = self.source.critic_score(from_hounsfield(to_hounsfield(image)))
            if score is None:
                return None
            scores.append(score)
        return round(float(np.quantile(scores, worst)), 5)

    def run(
        self,
        store: PairStore,
        number: int,
        max_tries: int,
        batch_size: int = 16,
        critic_least: float | None = None,
        report: Callable[[int, int], None] | None = None,
    ) -> bool:
        """Go on where ``store`` stands, until it holds ``number`` pairs or ``max_tries`` samples were made.

        Args:
            store: what was made before, and where the rest goes.
            number: pairs wanted in all.
            max_tries: samples made at most, in all.
            batch_size: samples that are written together. No result depends on it.
            critic_least: from :meth:`critic_threshold`.
            report: called with the numbers of pairs kept and samples made.

        Returns:
            Whether there are ``number`` pairs.
        """
        if number < 1 or batch_size < 1:
            raise InputError("factory", got=f"number {number}, batch_size {batch_size}", wanted="1 or more of both")
        kept, empty, index = len(store.kept), sum(record["empty"] for record in store.kept), len(store.records)
        while kept < number and index < max_tries:
            batch = []
            while len(batch) < batch_size and kept < number and index < max_tries:
                pair = self.make(index)
                reasons = self.filters.reasons(pair.record, kept, empty, critic_least)
                pair.record.update(kept=not reasons, reasons=reasons)
                kept, empty = kept + (not reasons), empty + (not reasons and pair.record["empty"])
                index += 1
                batch.append(pair)
            store.add(batch)
            if report is not None:
                report(kept, index)
        return kept >= number

    def _draw(self, seed: int) -> tuple[torch.Tensor, torch.Tensor, Any]:
        latents = self.source.sample_latents(sample_generator(seed, 0), self.truncation, self.depth)
        return *self.source.synthesise(latents, sample_generator(seed, 1)), latents

    def _unusable(self, image: torch.Tensor) -> list[str]:
        """What a training's preprocessing would refuse or misread."""
        pixel = self.source.fov_mm / image.shape[-1]
        volume = to_hounsfield(image)[:, 0].transpose(1, 2, 0)
        found = []
        if body_box(image[:, 0].permute(1, 2, 0), (pixel, pixel)) is None:
            found.append("no body")
        if volume.min() == volume.max() or detect_modality(volume) != "ct":
            found.append("no air, it would not be taken for CT")
        return found


def count_reasons(records: list[dict[str, Any]]) -> dict[str, int]:
    """How many samples each filter refused; a sample counts for each that did."""
    return dict(Counter(name for record in records for name in {text.split(":")[0] for text in record["reasons"]}))


def _plain(value: Any) -> Any:
    return round(value, 5) if isinstance(value, float) else value
