"""L-Net: what is an organ, whichever, learned from strong organs (Xiao et al. 2018, 1711.06828)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch

from ..losses import objectness_loss, objectness_target
from ..transforms import RandSliceOrientation
from ..utils.processes import gather_batch
from .phase_trainer import Phase, Terms
from .supervised import SupervisedSliceTrainer

__all__ = ["ClassAgnosticTrainer"]


class ClassAgnosticTrainer(SupervisedSliceTrainer):
    """Trains a network of one output channel to find organs, with the masks of strong organs merged into one.

    What keeps it from becoming a detector of those very organs: slices are laid in any of their eight orientations, so
    that place says nothing; grey values are changed; and where a weak organ is tagged, what is not masked is not called
    background (see ``objectness_target``).

    Args:
        network: L-Net, image ``(B, C, H, W)`` in [-1, 1] to logits ``(B, 1, H, W)``. With instance normalisation it may
            collapse to everything or nothing; batch normalisation does not.
        ring: pixels around a masked organ that count as background in any case.
        air: grey value up to which there is no tissue.
        orientation: how a batch is laid, ``(image, label) -> same`` (default: ``RandSliceOrientation``).
        gain, shift: largest change of the grey values: ``exp`` of -gain..gain times them, plus -shift..shift.
        options: see :class:`SupervisedSliceTrainer`.

    Batches: ``{"labelled": {"image", "label"}}``, labels with 255 for unknown, as ``TransferSliceLoader`` makes them.
    """

    stage = "l_net"

    def __init__(
        self,
        *args: Any,
        ring: int = 2,
        air: float = -0.95,
        orientation: Callable | None = None,
        gain: float = 0.2,
        shift: float = 0.1,
        **options: Any,
    ) -> None:
        self.ring, self.air = ring, air
        self.orientation = orientation or RandSliceOrientation()
        self.gain, self.shift = gain, shift
        super().__init__(*args, **options)

    def phases(self) -> Sequence[Phase]:
        return (Phase(self.stage, ("network",), "network", self.segment, clip=1.0),)

    def segment(self, batch: Any) -> Terms:
        """Loss of the merged masks."""
        image, label = self.warp(batch["labelled"]["image"], batch["labelled"]["label"])
        image, label = self.orientation(image, label)
        target, valid = objectness_target(label, image, self.ring, self.air)
        logits = self.network(self.disguise(image, target.to(torch.uint8)))
        return {"objects": objectness_loss(*(gather_batch(part) for part in (logits.float(), target, valid)))}

    def disguise(self, image: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
        """Randomise the appearance as the parent does, then scale and shift all grey values; air stays air."""
        image = super().disguise(image, label)
        draw = torch.rand(2, len(image), *[1] * (image.ndim - 1), device=image.device) * 2 - 1
        changed = (image + 1) * (self.gain * draw[0]).exp() + self.shift * draw[1] * (image > -1)
        return (changed - 1).clamp(-1, 1)
