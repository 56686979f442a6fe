"""Several grids of codes for one scan: what a generative segmenter is unsure of (2303.11316)."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from monai.inferers import Inferer
from monai.utils import convert_to_dst_type
from torch import nn

from ..transforms import MostProbableLabel
from ..utils import InputError
from .appearance_ensemble import _judge, _plain

__all__ = ["CodeSamplingInferer"]


class CodeSamplingInferer(Inferer):
    """Draw the codes several times, decode each grid, and average the class probabilities.

    The paper decodes the most probable codes once. Each code is drawn by its own probability, so what differs between
    the draws is where the network hesitates; places are drawn apart from each other, so the draws are no plausible
    masks as wholes.

    Args:
        inferer: called as ``inferer(inputs, function)``, e.g. MONAI's ``SliceInferer``.
        samples: draws.
        temperature: divides the logits of the codes.
        seed: of the draws; the same scan gives the same answer.

    ``__call__``: ``inputs (B, C, H, W[, D])`` to ``(B, K, H, W[, D])``, the logarithm of the mean probability. The
    network must have ``sample``, as ``GenerativeSegmenter`` does. Afterwards ``uncertainty`` is a map
    ``(B, 1, H, W[, D])``, the entropy of the mean probability over its largest value, 0..1, and ``report`` holds
    ``predicted_dice`` and, of two draws or more, ``agreement``, as of ``AppearanceEnsembleInferer``.

    Raises:
        InputError: fewer than one draw, or a temperature that is not above 0.
    """

    def __init__(self, inferer: Callable, samples: int = 8, temperature: float = 1.0, seed: int = 0) -> None:
        super().__init__()
        if samples < 1 or temperature <= 0:
            raise InputError(
                "sampled codes", got=f"samples {samples}, temperature {temperature}",
                wanted="at least 1 sample, a temperature above 0",
            )  # fmt: skip
        self.inferer = inferer
        self.samples, self.temperature, self.seed = samples, temperature, seed
        self.needs_affine = bool(getattr(inferer, "needs_affine", False))  # the inner one's wish is passed on
        self._to_label = MostProbableLabel()
        self.report: dict[str, Any] = {}
        self.uncertainty: torch.Tensor | None = None

    def __call__(self, inputs: torch.Tensor, network: nn.Module, *args: Any, **kwargs: Any) -> torch.Tensor:
        generator = torch.Generator(inputs.device).manual_seed(self.seed)

        def draw(image: torch.Tensor) -> torch.Tensor:
            return network.sample(_plain(image), self.temperature, generator)

        with torch.no_grad():
            labels, mean = [], None
            for _ in range(self.samples):
                probability = _plain(self.inferer(inputs, draw, *args, **kwargs)).float().softmax(dim=1)
                labels.append(self._label(probability))
                mean = probability if mean is None else mean + probability
            mean = mean / self.samples
            self.report = _judge(mean, self._label(mean), labels, {})
            logarithm = mean.clamp(min=torch.finfo(mean.dtype).tiny).log()
            self.uncertainty = -(mean * logarithm).sum(dim=1, keepdim=True) / math.log(mean.shape[1])
        return convert_to_dst_type(logarithm, inputs, dtype=logarithm.dtype)[0]

    def _label(self, probability: torch.Tensor) -> torch.Tensor:
        return torch.cat([self._to_label(item) for item in probability])
