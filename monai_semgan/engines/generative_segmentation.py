"""Stage II of GSS: the grid of codes that a mask would have, from the image alone.

Chen, Lu, Zhu and Zhang, Generative Semantic Segmentation, CVPR 2023, 2303.11316.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ..losses import MaskedSegmentationLoss, labelled_cells, token_cross_entropy
from ..utils.checkpoint import load_network
from ..utils.errors import InputError
from ..utils.processes import part_weight
from .generative_segmentation_tokenizer import RECONSTRUCTION_FILE, check_reconstruction
from .phase_trainer import Phase, Terms
from .supervised import SupervisedSliceTrainer

__all__ = ["CodePriorTrainer"]

STAGE = "prior"


class CodePriorTrainer(SupervisedSliceTrainer):
    """Trains the conditioning network on the codes of masks; the tokenizer is frozen.

        token_weight CE(I(x), E(X(c~))) + pixel_weight L(aux(x), c),

    c~ the mask, completed where no label is known by what the auxiliary head says at present; places of the grid
    without any known pixel do not count. With a network of head ``"pixels"`` it is the supervised trainer, on the same
    batches and with the same loss as the auxiliary head: the baseline.

    Args:
        network: ``GenerativeSegmenter``.
        tokenizer_checkpoint: ``model.pt`` of stage I, read when the training starts, with ``reconstruction.json``
            beside it (None: the tokenizer as it is).
        gate: smallest mean Dice of the tokenizer, see ``check_reconstruction``.
        token_weight, pixel_weight: of the two terms.
        mask_weight: of the same loss as the auxiliary head's on the mask that is decoded from the mean code of every
            place (0: none, as in the paper).
        loss: of class logits and index map (default: cross-entropy without ignored pixels).
        ignore_index: label whose pixels have no class (None: all have one).
        options: see :class:`SupervisedSliceTrainer`.

    Batches: ``{"labelled": {"image", "label"}}``, in two dimensions or three. On finishing, ``model.pt`` and
    ``model.json`` are written: conditioning network and tokenizer in one.

    Raises:
        InputError: a negative weight; no tokenizer in the folder, or one below its gate.
    """

    def __init__(
        self,
        device: torch.device | str,
        max_epochs: int,
        epoch_length: int,
        train_data_loader: Iterable,
        network: nn.Module,
        tokenizer_checkpoint: str | Path | None = None,
        gate: float = 0.9,
        token_weight: float = 0.8,
        pixel_weight: float = 0.2,
        mask_weight: float = 0.0,
        loss: Any = None,
        ignore_index: int | None = 255,
        **options: Any,
    ) -> None:
        weights = {"token_weight": token_weight, "pixel_weight": pixel_weight, "mask_weight": mask_weight}
        for name, value in weights.items():
            if value < 0:
                raise InputError(f"option {name}", got=value, wanted="0 or more")
        self.tokenizer_checkpoint = None if network.pixels else tokenizer_checkpoint
        self.gate = gate
        self.token_weight, self.pixel_weight, self.mask_weight = token_weight, pixel_weight, mask_weight
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
        if self.tokenizer_checkpoint is not None:
            path = Path(self.tokenizer_checkpoint)
            check_reconstruction(path.parent / RECONSTRUCTION_FILE, self.gate)
            for network in (self.network, self.ema.average):
                load_network(network.tokenizer, path)
        super().run()

    def segment(self, batch: Any) -> Terms:
        """Cross-entropy of the codes, and the auxiliary head's loss."""
        image, label = self.warp(batch["labelled"]["image"], batch["labelled"]["label"])
        known = torch.ones_like(label, dtype=torch.bool) if self.ignore_index is None else label != self.ignore_index
        image = self.disguise(image, torch.where(known, label, torch.zeros_like(label)))
        network = self.network
        if network.pixels:
            return {"label": self.whole_loss(network(image).float(), label.long())}
        network.tokenizer.requires_grad_(False)  # the phase has thawed the whole network
        logits, auxiliary = (maps.float() for maps in network.conditioning(image))
        auxiliary = network.resize(auxiliary, image)
        codes = network.tokenizer.tokenize(complete(label, known, auxiliary))
        cells = labelled_cells(known, network.tokenizer.stride)
        terms = {
            "tokens": self.token_weight * part_weight(cells.sum()) * token_cross_entropy(logits, codes, cells),
            "pixels": self.pixel_weight * self.whole_loss(auxiliary, label.long()),
        }
        if self.mask_weight:
            decoded = network.tokenizer.decode(network.tokenizer.expect(logits.softmax(dim=1)))
            terms["mask"] = self.mask_weight * self.whole_loss(network.tokenizer.classify(decoded), label.long())
        return terms


def complete(label: torch.Tensor, known: torch.Tensor, logits: torch.Tensor) -> torch.Tensor:
    """c~: the mask, and where no label is known the most probable class."""
    return torch.where(known, label, logits.detach().argmax(dim=1, keepdim=True).to(label.dtype))
