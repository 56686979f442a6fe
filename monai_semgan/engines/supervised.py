"""Supervised training on labelled slices alone: the baseline that the generative methods are held against."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
from monai.losses import DiceCELoss
from torch import nn

from ..utils.checkpoint import save_checkpoint
from ..utils.errors import InputError
from ..utils.model_settings import write_model_settings
from ..utils.processes import gather_batch
from .ema import EmaByImages
from .phase_trainer import Phase, PhaseTrainer, Terms
from .schedule import warmup_cosine


class SupervisedSliceTrainer(PhaseTrainer):
    """Trains a segmentation network on the labelled slices of each batch; unlabelled ones are ignored.

    Warp, appearance randomisation, optimiser, schedule and moving average are those of
    :class:`StyleEncoderTrainer`, so that a comparison with it is one of methods and not of recipes.

    Args:
        network: image ``(B, C, H, W)`` in [-1, 1] to logits ``(B, K, H, W)``, background first; or in three
            dimensions, with batches of volumes.
        randomise: appearance randomisation ``(image, label) -> image`` (None: none, the plain baseline).
        warp: random deformation ``(image, label) -> same`` (None: none).
        clean_fraction: part of each batch that is shown unrandomised.
        randomise_start: share of the training before any image is randomised. A network that has first learned the
            organ as it looks in its own modality is a far better start (and teacher) than one that has to find it
            under every appearance at once: with one labelled scan that decides.
        randomise_ramp: share of the training over which the unrandomised part then falls from all images to
            ``clean_fraction``.
        learning_rate: peak of a warm-up and cosine schedule of AdamW.
        weight_decay: of AdamW.
        loss: of logits and index map ``(B, 1, H, W)`` (default: cross-entropy plus Dice of the organs over
            the whole batch, since a slice without the organ has no Dice of its own).
        ema: moving average of the network (default: half-life 5000 images).
        network_settings: what the network was built with, written beside the weights.
        others: see :class:`PhaseTrainer`.

    Batches: ``{"labelled": {"image" (B, C, H, W), "label" (B, 1, H, W) class indices}, ...}``.
    On finishing, ``model.pt`` (averaged weights) and ``model.json`` are written to ``output_dir``.
    """

    def __init__(
        self,
        device: torch.device | str,
        max_epochs: int,
        epoch_length: int,
        train_data_loader: Iterable,
        network: nn.Module,
        randomise: Callable | None = None,
        warp: Callable | None = None,
        clean_fraction: float = 0.25,
        randomise_start: float = 0.0,
        randomise_ramp: float = 0.0,
        learning_rate: float = 1e-3,
        weight_decay: float = 1e-4,
        loss: Callable[[torch.Tensor, torch.Tensor], torch.Tensor] | None = None,
        ema: EmaByImages | None = None,
        network_settings: dict[str, Any] | None = None,
        output_dir: str | Path | None = None,
        **options: Any,
    ) -> None:
        shares = {
            "clean_fraction": clean_fraction,
            "randomise_start": randomise_start,
            "randomise_ramp": randomise_ramp,
        }
        for name, value in shares.items():
            if not 0 <= value <= 1:
                raise InputError(f"option {name}", got=value, wanted="0..1")
        self.network = network
        self.randomise_start, self.randomise_ramp = randomise_start, randomise_ramp
        self.randomise = randomise or (lambda image, label=None: image)
        self.warp = warp or (lambda image, label=None: (image, label))
        self.clean_fraction = clean_fraction
        self.learning_rate = learning_rate
        self.loss = loss or DiceCELoss(include_background=False, to_onehot_y=True, softmax=True, batch=True)
        optimizer = torch.optim.AdamW(network.parameters(), lr=learning_rate, weight_decay=weight_decay)
        super().__init__(
            device=device,
            max_epochs=max_epochs,
            epoch_length=epoch_length,
            train_data_loader=train_data_loader,
            networks={"network": network},
            optimizers={"network": optimizer},
            output_dir=output_dir,
            **options,
        )
        self.ema = ema or EmaByImages(network, half_life_images=5000)
        self.ema.average.to(device)
        self.network_settings = network_settings

    def phases(self) -> Sequence[Phase]:
        return (Phase("supervised", ("network",), "network", self.segment, clip=5.0),)

    def segment(self, batch: Any) -> Terms:
        """Loss of the warped and disguised slices."""
        image, label = self.warp(batch["labelled"]["image"], batch["labelled"]["label"])
        logits = self.network(self.disguise(image, label))
        return {"label": self.whole_loss(logits.float(), label.long())}

    def whole_loss(self, logits: torch.Tensor, *others: torch.Tensor) -> torch.Tensor:
        """The loss of the whole batch: its Dice is not the mean of those of the processes' parts."""
        return self.loss(*(gather_batch(part) for part in (logits, *others)))

    def disguise(self, image: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
        """Randomise the appearance of all but a fraction of the batch."""
        clean = self.clean_share()
        if clean >= 1:
            return image
        disguised = self.randomise(image, label)
        keep = torch.rand(len(image), *[1] * (image.ndim - 1), device=image.device) < clean
        return torch.where(keep, image, disguised)

    def done(self) -> float:
        """Share of the training that is over."""
        return max(0, self.state.iteration - 1) / max(1, self.total_iterations)

    def clean_share(self) -> float:
        """Chance of an image to be shown as it is, at this iteration."""
        done = self.done()
        if done < self.randomise_start:
            return 1.0
        risen = min(1.0, (done - self.randomise_start) / self.randomise_ramp) if self.randomise_ramp else 1.0
        return 1.0 + (self.clean_fraction - 1.0) * risen

    # ---- bookkeeping ---------------------------------------------------------------------------
    def batch_size(self, batch: Any) -> int:
        """Labelled images: the only ones that are looked at."""
        return int(batch["labelled"]["image"].shape[0])

    def before_iteration(self, iteration: int, batch: Any) -> None:
        self.network.train()
        for group in self.optimizers["network"].param_groups:
            group["lr"] = self.learning_rate * warmup_cosine(iteration, self.total_iterations)

    def after_iteration(self, iteration: int, batch: Any) -> None:
        self.ema.update(self.images_in(batch), self.state.images_seen)

    def extra_state(self) -> dict[str, Any]:
        return {"ema": self.ema.state_dict()}

    def load_extra_state(self, state: dict[str, Any]) -> None:
        self.ema.load_state_dict(state["ema"])

    def on_finished(self) -> None:
        """Write the deployable network: averaged weights as a plain state dict."""
        if self.output_dir is not None:
            save_checkpoint(self.ema.state_dict(), self.output_dir / "model.pt")
            if self.network_settings is not None:
                write_model_settings(self.network_settings, self.output_dir / "model.pt")
