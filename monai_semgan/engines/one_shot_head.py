"""One-shot segmentation, last stage: a head on projected features learns from one annotated image (2303.05639)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from ..losses import ClassWeightedLoss
from ..utils.checkpoint import save_checkpoint
from ..utils.errors import InputError
from ..utils.model_settings import write_model_settings
from .one_shot_files import load_projector, load_reader
from .phase_trainer import Phase, PhaseTrainer, Terms

__all__ = ["OneShotHeadTrainer", "head_loss"]


def head_loss(name: str) -> nn.Module:
    """``"dice_ce"``: classes weighted, with Dice; ``"cross_entropy"``: plain, as in the released code.

    Raises:
        InputError: another name.
    """
    if name == "dice_ce":
        return ClassWeightedLoss()
    if name == "cross_entropy":
        return ClassWeightedLoss(dice_weight=0.0, weighted=False)
    raise InputError("option head_loss", got=repr(name), wanted="'dice_ce' or 'cross_entropy'")


class OneShotHeadTrainer(PhaseTrainer):
    """Fits the head on the projected features of the annotated image, everything else frozen.

    In one image the organ's place gives it away, and a head on features that know their place learns that and nothing
    else: every slice then gets the outline of the annotated one. So in most iterations image and mask are moved
    together at random and the encoder reads the moved image; what stays the same is the tissue. In the other ones the
    features are those of the annotated image as it stands, computed once, with the noise maps off, as stored, and
    drawn, so that the head does not learn from noise.

    Args:
        network: a ``OneShotSegmenter``.
        reader_checkpoint, projector_checkpoint: files of the stages before (None: the networks as they are).
        loss: ``"dice_ce"`` or ``"cross_entropy"``.
        learning_rate: of Adam, betas .9 and .99.
        dropout: share of the projected features that is left out at each iteration.
        noise_draws: versions with drawn noise maps, beside those with none and with the stored ones (0: the stored
            ones alone, as released).
        warp: moves image ``(n, 1, S, S)`` and mask together, e.g. ``RandSliceAffine``; None: never.
        warped_fraction: share of the iterations with moved images (0: released).
        network_settings: what the network was built with, written beside the weights.
        options: see :class:`PhaseTrainer`.

    Batches: ``{"labelled": {"image", "label", "latents"[, "spatial"]}}`` of ``ShotLoader``, all alike. On finishing,
    ``model.pt`` (the whole network) and ``model.json`` are written.

    Raises:
        InputError: an option out of range.
    """

    def __init__(
        self,
        device: torch.device | str,
        max_epochs: int,
        epoch_length: int,
        train_data_loader: Iterable,
        network: nn.Module,
        reader_checkpoint: str | Path | None = None,
        projector_checkpoint: str | Path | None = None,
        loss: str = "dice_ce",
        learning_rate: float = 2e-3,
        dropout: float = 0.1,
        noise_draws: int = 2,
        warp: Callable[..., tuple[torch.Tensor, torch.Tensor]] | None = None,
        warped_fraction: float = 0.75,
        network_settings: dict[str, Any] | None = None,
        output_dir: str | Path | None = None,
        **options: Any,
    ) -> None:
        if not 0 <= dropout < 1:
            raise InputError("option head_dropout", got=dropout, wanted="0 or more and less than 1")
        if not 0 <= warped_fraction <= 1:
            raise InputError("option warped_fraction", got=warped_fraction, wanted="0..1")
        self.network, self.loss = network, head_loss(loss)
        self.reader_checkpoint, self.projector_checkpoint = reader_checkpoint, projector_checkpoint
        self.dropout, self.noise_draws = dropout, int(noise_draws)
        self.warp, self.warped_fraction = warp, warped_fraction if warp is not None else 0.0
        self.network_settings = network_settings
        self.maps: torch.Tensor | None = None
        head = network.generator.head
        optimizer = torch.optim.Adam(head.parameters(), lr=learning_rate, betas=(0.9, 0.99))
        super().__init__(
            device=device,
            max_epochs=max_epochs,
            epoch_length=epoch_length,
            train_data_loader=train_data_loader,
            # the network is frozen first, then its head is freed again: the order matters
            networks={"network": network, "head": head},
            optimizers={"head": optimizer},
            output_dir=output_dir,
            **options,
        )

    def phases(self) -> Sequence[Phase]:
        return (Phase("head", ("head",), "head", self.segment),)

    def run(self) -> None:
        path = self.checkpoint_path
        if not (path is not None and path.is_file()):
            if self.reader_checkpoint is not None:
                load_reader(self.network, self.reader_checkpoint)
            if self.projector_checkpoint is not None:
                load_projector(self.network, self.projector_checkpoint)
        self.network.eval()
        super().run()

    # ---- the phase -----------------------------------------------------------------------------
    def segment(self, batch: Any) -> Terms:
        """Loss of the annotated images' pixels."""
        shot = batch["labelled"]
        if self.warped_fraction > 0 and float(torch.rand(())) < self.warped_fraction:
            chosen, label = self.moved(shot)
        else:
            if self.maps is None:
                self.maps = self.versions(shot)
            chosen, label = self.maps[int(torch.randint(len(self.maps), ()))], shot["label"]
        logits = self.network.generator.head(F.dropout2d(chosen, self.dropout, training=True))
        return {"": self.loss(logits.float(), label)}

    @torch.no_grad()
    def moved(self, shot: dict[str, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
        """Projected features ``(n, d, S, S)`` of the annotated images, moved and read again, and their moved masks."""
        assert self.warp is not None
        image, label = self.warp(shot["image"], shot["label"])
        latents, spatial = self.network.encoder(image)
        return self.network.generator.project(latents, "zero", spatial)[1], label

    @torch.no_grad()
    def versions(self, shot: dict[str, torch.Tensor]) -> torch.Tensor:
        """Projected features ``(versions, n, d, S, S)`` of the annotated images."""
        generator = self.network.generator
        maps: list[Any] = ["fixed"]
        if self.noise_draws:
            draw = torch.Generator().manual_seed(self.seed)
            maps += ["zero", *(generator.make_noise(1, "random", draw) for _ in range(self.noise_draws))]
        return torch.stack([generator.project(shot["latents"], noise, shot.get("spatial"))[1] for noise in maps])

    # ---- bookkeeping ---------------------------------------------------------------------------
    def batch_size(self, batch: Any) -> int:
        return len(batch["labelled"]["latents"])

    def on_finished(self) -> None:
        """Write the deployable network as a plain state dict."""
        if self.output_dir is not None:
            save_checkpoint(self.network.state_dict(), self.output_dir / "model.pt")
            if self.network_settings is not None:
                write_model_settings(self.network_settings, self.output_dir / "model.pt")
