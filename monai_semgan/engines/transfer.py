"""P-Net: the segmenter of all organs, from masks of strong and transferred labels of weak ones (1711.06828).

Xiao, Wei, Liu, Zhang and Feng, Transferable Semi-Supervised Semantic Segmentation, AAAI 2018.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ..data import OrganRoles, PseudoLabels
from ..losses import (
    CandidateSegmentationLoss,
    confidence_adversarial_loss,
    confidence_discriminator_loss,
)
from ..transforms import RandSliceOrientation
from ..utils.checkpoint import load_network
from ..utils.errors import InputError
from .phase_trainer import Phase, Terms
from .schedule import poly_decay
from .supervised import SupervisedSliceTrainer

__all__ = ["PredictionTransferTrainer"]


class PredictionTransferTrainer(SupervisedSliceTrainer):
    """Trains the network that is used afterwards, which needs no tags.

    Without pseudo-labels it learns from the masks of strong organs alone: the segmenter that the stages before need,
    and the start of the one that is wanted. With them it steps on

        L(labelled) + weight L(unlabelled) + adversarial_weight mean BCE(D(x, q), 1),

    q the probability of any organ in slices without masks, and then the critic D steps on the same q, cut from its
    graph, and on silhouettes of strong organs. D sees a slice and one silhouette, never which organ it is of: the
    channels of weak organs alone would tell it what is predicted. Real silhouettes come from slices without a weak
    organ, where the masks are all there is. Both kinds are laid in random orientations, so that place does not tell
    them apart.

    Args:
        network: P-Net, image ``(B, C, H, W)`` to logits ``(B, K, H, W)``, background first.
        roles: strong and weak organs.
        critic: ``(silhouette (B, 1, H, W), image) -> logits (B, 1, H, W)``, high for true ones (None: no adversary;
            there is none either without pseudo-labels, or without slices that have no masks).
        pseudo_labels: file of the labelling stage, read when the training starts (None: none).
        initial_checkpoint: ``model.pt`` to start from (None: the network as it is).
        optimizer: of P-Net (default: AdamW with ``learning_rate`` and ``weight_decay``).
        critic_optimizer: of D (default: Adam, ``critic_learning_rate``, betas .5 and .99).
        decay: ``(iteration, total_iterations)`` to the factor on all first rates.
        loss: of logits, labels and candidates (default: cross-entropy plus Dice, see ``CandidateSegmentationLoss``).
        unlabelled_weight: of the loss on transferred labels of slices without masks.
        adversarial_weight: lambda_adv.
        adversarial_start: share of the training before the adversary begins.
        options: see :class:`SupervisedSliceTrainer`.

    Batches: as ``TransferSliceLoader`` makes them. On finishing, ``model.pt`` and ``model.json`` are written.

    Raises:
        InputError: a critic, and no slices for real silhouettes; an option out of range; pseudo-labels of other slices.
    """

    stage = "p_net"

    def __init__(
        self,
        device: torch.device | str,
        max_epochs: int,
        epoch_length: int,
        train_data_loader: Iterable,
        network: nn.Module,
        roles: OrganRoles,
        critic: nn.Module | None = None,
        pseudo_labels: str | Path | None = None,
        initial_checkpoint: str | Path | None = None,
        optimizer: torch.optim.Optimizer | None = None,
        critic_optimizer: torch.optim.Optimizer | None = None,
        critic_learning_rate: float = 2e-4,
        decay: Callable[[int, int], float] = poly_decay,
        loss: Callable[..., torch.Tensor] | None = None,
        unlabelled_weight: float = 1.0,
        adversarial_weight: float = 0.01,
        adversarial_start: float = 0.2,
        stage: str = "p_net",
        **options: Any,
    ) -> None:
        if adversarial_weight < 0 or unlabelled_weight < 0 or not 0 <= adversarial_start <= 1:
            raise InputError(
                "weights of P-Net",
                got=f"adversarial_weight {adversarial_weight}, unlabelled_weight {unlabelled_weight}, "
                f"adversarial_start {adversarial_start}",
                wanted="weights of 0 or more, a start within 0..1",
            )
        self.stage, self.roles = stage, roles
        loader = train_data_loader
        fakes = pseudo_labels is not None and getattr(loader, "unlabelled", loader) is not None
        self.critic = critic if adversarial_weight and fakes else None
        self.pseudo_labels_path, self.initial_checkpoint = pseudo_labels, initial_checkpoint
        self.pseudo_labels: PseudoLabels | None = None
        self.decay = decay
        self.unlabelled_weight = unlabelled_weight
        self.adversarial_weight, self.adversarial_start = adversarial_weight, adversarial_start
        self.orientation = RandSliceOrientation()
        super().__init__(
            device=device,
            max_epochs=max_epochs,
            epoch_length=epoch_length,
            train_data_loader=train_data_loader,
            network=network,
            loss=loss or CandidateSegmentationLoss(),
            **options,
        )
        if optimizer is not None:
            self.optimizers["network"] = optimizer
        if self.critic is not None:
            if not getattr(loader, "has_real", True):
                raise InputError(
                    "silhouettes for the critic", got="no slice of a strong organ without a weak one",
                    wanted="slices in which the masks are all there is",
                    fix="train without it: --adversarial_weight 0.0",
                )  # fmt: skip
            self.networks["critic"] = self.critic.to(device)
            self.optimizers["critic"] = critic_optimizer or torch.optim.Adam(
                self.critic.parameters(), lr=critic_learning_rate, betas=(0.5, 0.99)
            )
        self.first_rates = {k: [g["lr"] for g in v.param_groups] for k, v in self.optimizers.items()}

    def phases(self) -> Sequence[Phase]:
        plan = [Phase(f"{self.stage}/segmenter", ("network",), "network", self.segment, clip=5.0)]
        if self.critic is not None:
            start = round(self.adversarial_start * self.total_iterations)
            plan.append(
                Phase(f"{self.stage}/critic", ("critic",), "critic", self.criticise, start=start, full_precision=True)
            )
        return plan

    def run(self) -> None:
        if self.pseudo_labels_path is not None:
            self.pseudo_labels = PseudoLabels.load(self.pseudo_labels_path)
            self.pseudo_labels.check("labelled", self.data_loader.labelled)
            self.pseudo_labels.check("unlabelled", self.data_loader.unlabelled)
        path = self.checkpoint_path
        if self.initial_checkpoint is not None and not (path is not None and path.is_file()):
            load_network(self.network, self.initial_checkpoint)
            self.ema.load_state_dict(self.network.state_dict())
        super().run()

    # ---- the segmenter's phase -----------------------------------------------------------------
    def segment(self, batch: Any) -> Terms:
        """All terms of P-Net."""
        part = batch["labelled"]
        terms = {"label": self.learn(part["image"], self.label_of("labelled", part), part["candidates"])[0]}
        if "unlabelled" not in batch or self.pseudo_labels is None:
            return terms
        part = batch["unlabelled"]
        loss, share, image = self.learn(part["image"], self.label_of("unlabelled", part), part["candidates"])
        terms["transferred"] = self.unlabelled_weight * loss
        if self.critic is not None and self.state.iteration - 1 >= round(
            self.adversarial_start * self.total_iterations
        ):
            silhouette, image = self.orientation(1 - share[:, :1], image)
            self.shared["fake"] = (silhouette.detach(), image)
            terms["adversarial"] = self.adversarial_weight * confidence_adversarial_loss(self.judge(silhouette, image))
        return terms

    def learn(
        self, image: torch.Tensor, label: torch.Tensor, candidates: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Loss, probabilities, and the deformed slices that they are of."""
        image, label = self.warp(image, label)
        hint = torch.where(label == 255, torch.zeros_like(label), label)
        logits = self.network(self.disguise(image, hint)).float()
        return self.whole_loss(logits, label, candidates), logits.softmax(dim=1), image

    def label_of(self, name: str, part: dict[str, torch.Tensor]) -> torch.Tensor:
        """Masks of strong organs where there are any, and transferred labels for the rest."""
        label = part.get("label")
        if self.pseudo_labels is None:
            return label
        transferred = self.pseudo_labels.labels[name][part["index"].cpu()].to(part["image"].device)
        if label is None:
            return transferred
        # the masks say where strong organs are: elsewhere there is none, whatever their segmenter thinks
        strong = torch.tensor(self.roles.strong_classes, dtype=transferred.dtype, device=transferred.device)
        transferred = torch.where(torch.isin(transferred, strong), torch.full_like(transferred, 255), transferred)
        return torch.where(label == 255, transferred, label)

    # ---- the critic's phase --------------------------------------------------------------------
    def criticise(self, batch: Any) -> Terms:
        """L_D on the silhouettes that P-Net has just been corrected for, and on true ones."""
        fake = self.judge(*self.shared["fake"])
        image, label = self.warp(batch["real"]["image"], batch["real"]["label"])
        silhouette, image = self.orientation((label > 0).to(image.dtype), image)
        terms = confidence_discriminator_loss(self.judge(silhouette, image), fake)
        return dict(zip(("real", "fake"), terms, strict=True))

    def judge(self, silhouette: torch.Tensor, image: torch.Tensor) -> torch.Tensor:
        """D's logits, in full precision."""
        with torch.autocast(silhouette.device.type, enabled=False):
            return self.critic(silhouette, image)

    # ---- bookkeeping ---------------------------------------------------------------------------
    def before_iteration(self, iteration: int, batch: Any) -> None:
        for network in self.networks.values():
            network.train()
        factor = self.decay(iteration, self.total_iterations)
        for name, optimizer in self.optimizers.items():
            for group, rate in zip(optimizer.param_groups, self.first_rates[name], strict=True):
                group["lr"] = rate * factor
