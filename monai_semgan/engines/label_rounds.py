"""Labels for unlabelled volumes from the network in training, made anew a few times."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

import torch
from monai.transforms import KeepLargestConnectedComponent
from torch import nn

from ..utils.errors import InputError

__all__ = ["UNSURE", "LabelRounds"]

logger = logging.getLogger(__name__)

UNSURE = 255
"""Label of a voxel of which nothing is said."""


class LabelRounds:
    """When, and how, the network in training labels whole unlabelled volumes (self-training in rounds).

    A teacher that is asked at every iteration sees a stack at a time, follows each of the student's moods, and costs a
    pass each time. Here the whole volume is looked at, in overlapping windows, and what is known of organs is used: an
    organ is one piece.

    Args:
        at: shares of the training at which all labels are made anew, rising, above 0 and below 1.
        inferer: ``inferer(volume (1, 1, H, W, D), network) -> logits (1, K, H, W, D)``, such as a
            ``SlidingWindowInferer``.
        confidence: voxels whose class has a lower probability are labelled ``UNSURE``.
        single: classes that are one piece; the rest of their pieces becomes background.

    Raises:
        InputError: an option is out of range.
    """

    def __init__(
        self,
        at: Sequence[float],
        inferer: Callable[..., torch.Tensor],
        confidence: float = 0.75,
        single: Sequence[int] = (1,),
    ) -> None:
        self.at = tuple(float(share) for share in at)
        if not self.at or list(self.at) != sorted(set(self.at)) or not 0 < self.at[0] <= self.at[-1] < 1:
            raise InputError(
                "option rounds", got=list(self.at), wanted="rising shares above 0 and below 1: [0.25, 0.5]"
            )
        if not 0 <= confidence <= 1:
            raise InputError("option confidence", got=confidence, wanted="0..1")
        self.inferer, self.confidence = inferer, confidence
        self.one_piece = KeepLargestConnectedComponent(applied_labels=list(single)) if single else None

    def due(self, iteration: int, total: int) -> bool:
        """Whether labels are made before this iteration (counted from 0) of ``total``."""
        return any(max(1, round(share * total)) == iteration for share in self.at)

    @torch.no_grad()
    def label(
        self, network: nn.Module, volumes: Sequence[torch.Tensor], device: torch.device | str = "cpu"
    ) -> list[torch.Tensor]:
        """Index maps ``(D, 1, H, W)`` uint8, ``UNSURE`` where the network is, of volumes ``(D, 1, H, W)``."""
        labels, expected = [], []
        for volume in volumes:
            stack = volume.to(device, torch.float32).permute(1, 2, 3, 0)[None]
            probability = self.inferer(stack, network).float().softmax(dim=1)[0]
            sure, chosen = probability.max(dim=0, keepdim=True)
            if self.one_piece is not None:
                chosen = torch.as_tensor(self.one_piece(chosen))
            expected.append(_expected_dice(probability, chosen))
            chosen = chosen.to(torch.uint8).masked_fill(sure < self.confidence, UNSURE)
            labels.append(chosen.permute(3, 0, 1, 2).cpu())
        if labels:
            unsure = sum(int((label == UNSURE).sum()) for label in labels) / sum(label.numel() for label in labels)
            logger.info(
                "%d unlabelled scans labelled: expected Dice %.2f to %.2f, %.1f %% of the voxels left out",
                len(labels), min(expected), max(expected), 100 * unsure,
            )  # fmt: skip
        return labels


def _expected_dice(probability: torch.Tensor, chosen: torch.Tensor) -> float:
    """Dice of the organs that the probabilities lead one to expect; an empty answer expects 0."""
    organ, answer = 1 - probability[0], (chosen[0] > 0).float()
    return float(2 * (organ * answer).sum() / (organ.sum() + answer.sum()).clamp(min=1e-6))
