"""AdvSemiSeg: a segmenter taught by masks, by a discriminator of masks, and by what that discriminator trusts.

Hung, Tsai, Liou, Lin and Yang, Adversarial Learning for Semi-Supervised Semantic Segmentation, BMVC 2018, 1802.07934.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from monai.networks.utils import one_hot
from torch import nn

from ..losses import (
    MaskedSegmentationLoss,
    cap_background,
    confidence_adversarial_loss,
    confidence_discriminator_loss,
    masked_cross_entropy,
    r1_penalty,
    trusted_pixels,
)
from ..metrics import score_selection
from ..utils.errors import InputError
from ..utils.processes import gather_batch
from .phase_trainer import Phase, Terms
from .schedule import poly_decay
from .supervised import SupervisedSliceTrainer

logger = logging.getLogger(__name__)

STAGE = "adversarial_semi"


class AdversarialSemiTrainer(SupervisedSliceTrainer):
    """Trains a segmentation network with few masks and many images, and a discriminator of label maps beside it.

    The supervised trainer with more terms: with all three weights at 0 it is that trainer, bit for bit. An iteration is
    the paper's: both networks learn from what the other was at its start. The segmenter S steps on

        L_ce(labelled) + weight L_adv(labelled) + weight L_adv(unlabelled) + weight L_semi(unlabelled),

    then the discriminator D steps on the same predictions, cut from their graph, and on masks of another draw. Masks in
    the batch's unlabelled part would not be read.

    Slices are deformed; what S sees of them is also randomised in appearance, labelled ones with the mask as a hint to
    regions, unlabelled ones without. D never sees grey values (unless it was built with ``image_channels``, and then
    the clean ones), so the change of appearance costs it nothing.

    Args:
        network: S, image ``(B, C, ...)`` to logits ``(B, K, ...)`` of the same size, background first. Any network of
            MONAI that gives a single tensor, in two or three dimensions.
        discriminator: D, label maps ``(B, K, ...)`` to logits ``(B, 1, ...)``, high for reference masks.
        optimizer: of S (default: AdamW with ``learning_rate`` and ``weight_decay``). The rates it comes with are the
            first ones, group by group.
        discriminator_optimizer: of D (default: Adam, ``discriminator_learning_rate``, betas .9 and .99).
        decay: ``(iteration, total_iterations)`` to the factor on all first rates.
        loss: of logits and index map ``(B, 1, ...)`` (default: the paper's cross-entropy, without ignored pixels).
        ignore_index: label whose pixels have no class; left out of every loss on labelled slices (None: all count).
        adversarial_weight, unlabelled_adversarial_weight: lambda_adv of labelled and unlabelled slices.
        self_training_weight: lambda_semi.
        confidence_threshold: T_semi, one number or one for each class.
        self_training_start, unlabelled_adversarial_start: share of the training before these terms begin.
        discriminate_unlabelled: show D the predictions of unlabelled slices too.
        discriminator_every: iterations between two steps of D.
        real_target: D's target at reference masks; below 1 for one-sided label smoothing.
        instance_noise: standard deviation of the noise on D's input at the start; it falls to 0 in a straight line.
        r1_gamma, r1_every: gradient penalty of D at reference masks (0: none), and how often.
        background_cap: largest share of background among the pixels of self-training; 1: as it comes.
        ema_teacher: take what is trusted, and its classes, from the moving average's answer to the clean slice.
        options: see :class:`SupervisedSliceTrainer`.

    Batches: ``{"labelled": {"image", "label"}, "unlabelled": {"image"}, "real": {"image", "label"}}``, as
    ``RealMaskSliceLoader`` makes them; without ``unlabelled`` its terms are 0.

    The output has every term times its weight, and unweighted, under ``adversarial_semi/``: shares of the unlabelled
    pixels that D trusts (``trusted/ratio``, ``/ratio_background``, ``/ratio_organ``), D's mean confidence in masks and
    predictions, and its accuracy in telling them apart.

    Raises:
        InputError: an option out of range, a network whose output is no single map of logits, or batches without
            ``real`` masks for D.
    """

    def __init__(
        self,
        device: torch.device | str,
        max_epochs: int,
        epoch_length: int,
        train_data_loader: Iterable,
        network: nn.Module,
        discriminator: nn.Module,
        optimizer: torch.optim.Optimizer | None = None,
        discriminator_optimizer: torch.optim.Optimizer | None = None,
        discriminator_learning_rate: float = 1e-4,
        decay: Callable[[int, int], float] = poly_decay,
        loss: Callable[[torch.Tensor, torch.Tensor], torch.Tensor] | None = None,
        ignore_index: int | None = 255,
        adversarial_weight: float = 0.01,
        unlabelled_adversarial_weight: float = 0.001,
        self_training_weight: float = 0.1,
        confidence_threshold: float | Sequence[float] = 0.2,
        self_training_start: float = 0.25,
        unlabelled_adversarial_start: float = 0.0,
        discriminate_unlabelled: bool = True,
        discriminator_every: int = 1,
        real_target: float = 1.0,
        instance_noise: float = 0.0,
        r1_gamma: float = 0.0,
        r1_every: int = 16,
        background_cap: float = 1.0,
        ema_teacher: bool = False,
        **options: Any,
    ) -> None:
        self.discriminator = discriminator
        self.decay = decay
        self.ignore_index = ignore_index
        self.adversarial_weight = adversarial_weight
        self.unlabelled_adversarial_weight = unlabelled_adversarial_weight
        self.self_training_weight = self_training_weight
        self.confidence_threshold = confidence_threshold
        self.self_training_start = self_training_start
        self.unlabelled_adversarial_start = unlabelled_adversarial_start
        self.discriminate_unlabelled = discriminate_unlabelled
        self.discriminator_every = discriminator_every
        self.real_target = real_target
        self.instance_noise = instance_noise
        self.r1_gamma = r1_gamma
        self.r1_every = r1_every
        self.background_cap = background_cap
        self.ema_teacher = ema_teacher
        self.records: dict[str, float] = {}
        self._check_options()
        super().__init__(
            device=device,
            max_epochs=max_epochs,
            epoch_length=epoch_length,
            train_data_loader=train_data_loader,
            network=network,
            loss=loss or MaskedSegmentationLoss(ignore_index=ignore_index),
            **options,
        )
        if optimizer is not None:
            self.optimizers["network"] = optimizer
        self.networks["discriminator"] = discriminator.to(device)
        self.optimizers["discriminator"] = discriminator_optimizer or torch.optim.Adam(
            discriminator.parameters(), lr=discriminator_learning_rate, betas=(0.9, 0.99)
        )
        self.first_rates = {k: [g["lr"] for g in v.param_groups] for k, v in self.optimizers.items()}

    def _check_options(self) -> None:
        for name in ("adversarial_weight", "unlabelled_adversarial_weight", "self_training_weight",
                     "instance_noise", "r1_gamma"):  # fmt: skip
            if getattr(self, name) < 0:
                raise InputError(f"option {name}", got=getattr(self, name), wanted="0 or more")
        for name in ("self_training_start", "unlabelled_adversarial_start", "real_target", "background_cap"):
            if not 0 <= getattr(self, name) <= 1:
                raise InputError(f"option {name}", got=getattr(self, name), wanted="0..1")
        for name in ("discriminator_every", "r1_every"):
            if getattr(self, name) < 1:
                raise InputError(f"option {name}", got=getattr(self, name), wanted="1 iteration or more")

    @property
    def adversarial(self) -> bool:
        """Whether the discriminator has any say."""
        return bool(self.adversarial_weight or self.unlabelled_adversarial_weight or self.self_training_weight)

    def phases(self) -> Sequence[Phase]:
        plan = [Phase(f"{STAGE}/segmenter", ("network",), "network", self.segment, clip=5.0)]
        if not self.adversarial:
            return plan
        players, every = ("discriminator",), self.discriminator_every
        plan.append(Phase(f"{STAGE}/discriminator", players, players[0], self.discriminate, every, full_precision=True))
        if self.r1_gamma:
            plan.append(Phase(f"{STAGE}/r1", players, players[0], self.r1, self.r1_every, full_precision=True))
        return plan

    # ---- the segmenter's phase -----------------------------------------------------------------
    def segment(self, batch: Any) -> Terms:
        """All terms of S; the predictions are kept, cut from the graph, for D."""
        image, label = self.warp(batch["labelled"]["image"], batch["labelled"]["label"])
        logits = self.predict(self.disguise(image, label))
        terms = {"label": self.whole_loss(logits, label.long())}
        if not self.adversarial:
            return terms
        valid = self.valid(label)
        maps = logits.softmax(dim=1)
        self.shared["fake"] = [(maps.detach(), image, valid)]
        if self.adversarial_weight:
            confidence = self.judge(maps, image)
            self.records["confidence/labelled"] = mean_probability(confidence)
            terms["adversarial"] = self.adversarial_weight * confidence_adversarial_loss(
                gather_batch(confidence), gather_batch(valid)
            )
        if "unlabelled" in batch:
            terms.update(self.learn_unlabelled(batch["unlabelled"]["image"]))
        return terms

    def learn_unlabelled(self, image: torch.Tensor) -> Terms:
        """Adversarial and self-training terms; one pass of S gives the loss, the classes and what is trusted."""
        image = self.warp(image, None)[0]
        logits = self.predict(self.disguise(image, None))
        maps = logits.softmax(dim=1)
        if self.discriminate_unlabelled:
            self.shared["fake"].append((maps.detach(), image, torch.ones_like(maps[:, :1], dtype=torch.bool)))
        confidence = self.judge(maps, image)
        self.records["confidence/unlabelled"] = mean_probability(confidence)
        terms = {}
        if self.unlabelled_adversarial_weight and self.begun(self.unlabelled_adversarial_start):
            adversarial = confidence_adversarial_loss(confidence)
            terms["adversarial_unlabelled"] = self.unlabelled_adversarial_weight * adversarial
        if self.ema_teacher:
            with torch.no_grad():
                maps = self.ema.average(image).float().softmax(dim=1)
                confidence = self.judge(maps, image)
        predicted = maps.detach().argmax(dim=1, keepdim=True)
        trusted = trusted_pixels(confidence, predicted, self.confidence_threshold)
        scores = score_selection(predicted, trusted)
        self.records.update({f"trusted/{name}": value for name, value in scores.items()})
        if self.self_training_weight and self.begun(self.self_training_start):
            logits, predicted, trusted = (gather_batch(part) for part in (logits, predicted, trusted))
            weight = cap_background(trusted, predicted, self.background_cap)
            terms["self_training"] = self.self_training_weight * masked_cross_entropy(logits, predicted, weight)
        return terms

    def predict(self, image: torch.Tensor) -> torch.Tensor:
        """Logits of S in float32.

        Raises:
            InputError: S gives a list, or maps of another size: deep supervision, or no segmentation network.
        """
        logits = self.network(image)
        shape = tuple(logits.shape) if isinstance(logits, torch.Tensor) else type(logits).__name__
        if isinstance(shape, str) or shape[2:] != tuple(image.shape[2:]) or shape[1] < 2:
            raise InputError(
                f"network {type(self.network).__name__}", got=f"an output of {shape} for {tuple(image.shape)}",
                wanted="one map of logits for each class, background among them, in the size of the image",
                fix="switch deep supervision off (deep_supervision: false), or take another network",
            )  # fmt: skip
        return logits.float()

    def disguise(self, image: torch.Tensor, label: torch.Tensor | None) -> torch.Tensor:
        """Randomise the appearance of all but a fraction of the batch; the label, if any, tells regions apart."""
        hint = label
        if label is not None and self.ignore_index is not None:
            hint = torch.where(label == self.ignore_index, torch.zeros_like(label), label)
        disguised = self.randomise(image, hint)
        keep = torch.rand(len(image), *[1] * (image.ndim - 1), device=image.device) < self.clean_fraction
        return torch.where(keep, image, disguised)

    # ---- the discriminator's phases ------------------------------------------------------------
    def discriminate(self, batch: Any) -> Terms:
        """L_D on the predictions that S has just been corrected for, and on masks of another draw."""
        maps, images, valid = (torch.cat(parts) for parts in zip(*self.shared["fake"], strict=True))
        fake = self.judge(maps, images)
        real_maps, real_images, real_valid = self.real(batch, maps.shape[1])
        real = self.judge(real_maps, real_images)
        whole = [gather_batch(part) for part in (real, fake, real_valid, valid)]
        terms = confidence_discriminator_loss(*whole, self.real_target)
        self.records["confidence/real"] = mean_probability(real)
        self.records["confidence/fake"] = mean_probability(fake)
        told_apart = [(real > 0).float().mean(), (fake <= 0).float().mean()]
        self.records["discriminator_accuracy"] = float(torch.stack(told_apart).mean())
        return dict(zip(("real", "fake"), terms, strict=True))

    def r1(self, batch: Any) -> Terms:
        """Gradient penalty of D at reference masks."""
        maps, images, _ = self.real(batch, self.shared["fake"][0][0].shape[1])
        maps = maps.detach().requires_grad_()
        penalty = r1_penalty([self.judge(maps, images)], [maps])
        return {"": penalty * (self.r1_gamma / 2 * self.r1_every)}

    def judge(self, maps: torch.Tensor, image: torch.Tensor) -> torch.Tensor:
        """D's logits, always in full precision; while there is instance noise, on noisy maps."""
        sigma = self.instance_noise * (1 - (self.state.iteration - 1) / max(1, self.total_iterations))
        if sigma > 0:
            maps = maps + sigma * torch.randn_like(maps)
        with torch.autocast(maps.device.type, enabled=False):
            if getattr(self.discriminator, "image_channels", 0):
                return self.discriminator(maps, image)
            return self.discriminator(maps)

    def real(self, batch: Any, num_classes: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """One-hot reference masks, deformed as the slices are, their images, and where they have a class."""
        if "real" not in batch:
            raise InputError(
                "batches for the discriminator", got=f"the parts {', '.join(batch)}",
                wanted="also 'real': masks of labelled slices, drawn on their own", fix="use RealMaskSliceLoader",
            )  # fmt: skip
        if "real" not in self.shared:
            image, label = self.warp(batch["real"]["image"], batch["real"]["label"])
            valid = self.valid(label)
            classes = torch.where(valid, label, torch.zeros_like(label))
            # without a class no channel is 1; nor is such a pixel in the loss, or it would give the mask away
            self.shared["real"] = (one_hot(classes.long(), num_classes) * valid, image, valid)
        return self.shared["real"]

    def valid(self, label: torch.Tensor) -> torch.Tensor:
        """Pixels that have a class."""
        return torch.ones_like(label, dtype=torch.bool) if self.ignore_index is None else label != self.ignore_index

    # ---- bookkeeping ---------------------------------------------------------------------------
    def begun(self, share: float) -> bool:
        """Whether this share of the training is over."""
        return self.state.iteration - 1 >= round(share * self.total_iterations)

    def before_iteration(self, iteration: int, batch: Any) -> None:
        self.records = {}
        for network in self.networks.values():
            network.train()
        factor = self.decay(iteration, self.total_iterations)
        for name, optimizer in self.optimizers.items():
            for group, rate in zip(optimizer.param_groups, self.first_rates[name], strict=True):
                group["lr"] = rate * factor
        if (
            iteration == 0
            and "unlabelled" not in batch
            and (self.unlabelled_adversarial_weight or self.self_training_weight)
        ):
            logger.warning("there are no unlabelled slices: only the labelled ones are learned from")

    def _iteration(self, engine: Any, batchdata: Any) -> dict[str, float]:
        output = super()._iteration(engine, batchdata)
        # beside the terms, not among them: the sum in "loss" is of losses alone
        records = {f"{STAGE}/{name}": value for name, value in self.records.items() if math.isfinite(value)}
        return {**output, **records}


def mean_probability(logits: torch.Tensor) -> float:
    """Mean confidence of D, for the record."""
    return float(torch.sigmoid(logits.detach()).mean())
