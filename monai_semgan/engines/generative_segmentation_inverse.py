"""Stage III of GSS: from colours to classes, learned on what the network paints (2303.11316)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ..losses import MaskedSegmentationLoss
from ..utils.checkpoint import load_network
from ..utils.errors import InputError
from .phase_trainer import Phase, Terms
from .supervised import SupervisedSliceTrainer

__all__ = ["MaskigeInverseTrainer"]

STAGE = "inverse"
TRAINED_ON = ("prior", "posterior")


class MaskigeInverseTrainer(SupervisedSliceTrainer):
    """Trains X^-1 of a finished network; all the rest is frozen.

    Args:
        network: ``GenerativeSegmenter`` whose variant has an inverse to learn (FT, FT-W, TT).
        initial_checkpoint: ``model.pt`` of stage II, read when the training starts (None: the network as it is).
        trained_on: ``"prior"``: maskiges that the network paints of images, with its own mistakes, as in the authors'
            code; ``"posterior"``: reconstructions of true masks, as in the paper's equation 6.
        loss: of class logits and index map (default: cross-entropy without ignored pixels).
        ignore_index: label whose pixels have no class (None: all have one).
        options: see :class:`SupervisedSliceTrainer`.

    On finishing, ``model.pt`` and ``model.json`` of the whole network are written.

    Raises:
        InputError: a variant without an inverse to learn, or an unknown ``trained_on``.
    """

    def __init__(
        self,
        device: torch.device | str,
        max_epochs: int,
        epoch_length: int,
        train_data_loader: Iterable,
        network: nn.Module,
        initial_checkpoint: str | Path | None = None,
        trained_on: str = "prior",
        loss: Any = None,
        ignore_index: int | None = 255,
        **options: Any,
    ) -> None:
        if trained_on not in TRAINED_ON:
            raise InputError("option inverse_training", got=trained_on, wanted=f"one of {', '.join(TRAINED_ON)}")
        if network.pixels or not network.tokenizer.has_inverse:
            raise InputError(
                "stage III", got="a network without a learned inverse", wanted="variant FT, FT-W or TT, head codes"
            )
        self.initial_checkpoint, self.trained_on = initial_checkpoint, trained_on
        self.ignore_index = ignore_index
        super().__init__(
            device=device,
            max_epochs=max_epochs,
            epoch_length=epoch_length,
            train_data_loader=train_data_loader,
            network=network,
            loss=loss or MaskedSegmentationLoss(ignore_index=ignore_index),
            **options,
        )

    def phases(self) -> Sequence[Phase]:
        return (Phase(STAGE, ("network",), "network", self.segment, clip=5.0),)

    def run(self) -> None:
        path = self.checkpoint_path
        if self.initial_checkpoint is not None and not (path is not None and path.is_file()):
            load_network(self.network, self.initial_checkpoint)
            self.ema.load_state_dict(self.network.state_dict())
        super().run()

    def segment(self, batch: Any) -> Terms:
        """Loss of the classes that X^-1 finds in a picture that it cannot change."""
        network = self.network
        for part in (network.conditioning, network.tokenizer):
            part.requires_grad_(False)  # the phase has thawed the whole network
        network.tokenizer.inverse.requires_grad_(True)
        image, label = self.warp(batch["labelled"]["image"], batch["labelled"]["label"])
        known = torch.ones_like(label, dtype=torch.bool) if self.ignore_index is None else label != self.ignore_index
        with torch.no_grad():
            if self.trained_on == "prior":
                seen = self.disguise(image, torch.where(known, label, torch.zeros_like(label)))
                maskige = network.paint(network.conditioning(seen)[0])
            else:
                tokenizer = network.tokenizer
                maskige = tokenizer.decode(tokenizer.embed(tokenizer.tokenize(label)))
        logits = network.resize(network.tokenizer.classify(maskige), image)
        return {"label": self.whole_loss(logits.float(), label.long())}
