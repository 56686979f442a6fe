"""Stage 3 of SemanticGAN: a plain segmentation network taught by masks, by generated pairs and by its own average.

The generative model is a source of annotated anatomy (DatasetGAN, 2104.06490, has this use of a generator), the
unlabelled scans are a source of real anatomy (mean teacher, Tarvainen and Valpola, 1703.01780), and appearance
randomisation makes both count in other modalities. The student alone is deployed: one forward pass a slice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ..transforms import decode_label, resize_plane
from ..utils.checkpoint import load_checkpoint, load_weights
from ..utils.errors import InputError
from ..utils.start_weights import load_start
from .label_rounds import UNSURE, LabelRounds
from .phase_trainer import Phase, Terms
from .supervised import SupervisedSliceTrainer

__all__ = ["StudentTrainer"]

CONSISTENCIES = ("hard", "soft")


class StudentTrainer(SupervisedSliceTrainer):
    """The supervised trainer with two more sources of annotated slices.

    Slices or volumes, as the loader gives them. Three terms, each on images that are deformed and, all but
    ``clean_fraction`` of them, randomised in appearance:

    - labelled slices with their masks, as in :class:`SupervisedSliceTrainer`;
    - unlabelled slices with what the moving average of the student (and, with ``reader_weight``, the generative model)
      says of the same slice *before* its appearance was changed, where that is confident;
    - pairs from the generator, resized to the student's slices.

    With ``consistency="soft"`` and no generator this is the mean teacher.

    Args:
        network: the student, image ``(B, 1, H, W[, D])`` in [-1, 1] to logits ``(B, K, H, W[, D])``, background
            first.
        segmenter: a ``SemanticGANSegmenter`` (None: no generated pairs, no second teacher).
        segmenter_checkpoint: its ``model.pt`` of stage 2, read when the training starts (None: as it is).
        consistency: ``"hard"``: the loss of the labelled slices on the teacher's classes; where the teacher is below
            ``confidence`` the student's own answer stands and sends no gradient. ``"soft"``: squared distance of the
            probabilities, as in the mean teacher.
        unlabelled_weight: of the second term, at full height.
        ramp: share of the training over which that weight rises from 0 (after ``start``).
        start: share of the training before it begins, and before generated pairs are shown: until then the student
            learns from masks alone.
        unlabelled_share: share of the iterations, after ``start``, that show unlabelled images *instead* of labelled
            ones: one pass and one step for each, so more steps in the same time. None: every iteration shows both.
        confidence: least probability of the teacher's class, 0..1.
        rounds: labels of whole unlabelled volumes, made by the moving average a few times in the training, in place of
            a teacher that is asked at every iteration; the unlabelled term waits for the first. Needs a loader with
            ``set_answers``. None: every iteration asks.
        start_weights: weights to start from (None: as the network is): a ``model.pt`` of the same network, or of a
            U-Net without its finest level, see :func:`load_start`. A training that goes on does not read them.
        reader_weight: weight of the generative model's answer in the teacher's; it falls to 0 along the training.
        generated_weight: of the third term.
        generated_every: iterations between two batches of generated pairs.
        mixture: how far generated pairs are from the real slices they are made of: the largest weight of a second
            latent; 0 reconstructs slices as they are.
        prior_fraction: share of generated slices drawn from the prior alone (volumes: none).
        stage: name of the phase in logs.
        options: see :class:`SupervisedSliceTrainer`.

    Raises:
        InputError: an option is out of range, or generated pairs are asked for without a segmenter.
    """

    may_compile = True

    def __init__(
        self,
        device: torch.device | str,
        max_epochs: int,
        epoch_length: int,
        train_data_loader: Iterable,
        network: nn.Module,
        segmenter: nn.Module | None = None,
        segmenter_checkpoint: str | Path | None = None,
        consistency: str = "hard",
        unlabelled_weight: float = 1.0,
        ramp: float = 0.2,
        start: float = 0.1,
        unlabelled_share: float | None = None,
        confidence: float = 0.8,
        rounds: LabelRounds | None = None,
        start_weights: str | Path | None = None,
        reader_weight: float = 0.0,
        generated_weight: float = 0.5,
        generated_every: int = 2,
        mixture: float = 0.5,
        prior_fraction: float = 0.25,
        stage: str = "student",
        loss: Callable[[torch.Tensor, torch.Tensor], torch.Tensor] | None = None,
        **options: Any,
    ) -> None:
        if consistency not in CONSISTENCIES:
            raise InputError("option consistency", got=repr(consistency), wanted="'hard' or 'soft'")
        for name, value in {"ramp": ramp, "start": start, "confidence": confidence, "reader_weight": reader_weight,
                            "unlabelled_share": unlabelled_share, "mixture": mixture,
                            "prior_fraction": prior_fraction}.items():  # fmt: skip
            if value is not None and not 0 <= value <= 1:
                raise InputError(f"option {name}", got=value, wanted="0..1")
        for name, value in {"unlabelled_weight": unlabelled_weight, "generated_weight": generated_weight}.items():
            if value < 0:
                raise InputError(f"option {name}", got=value, wanted="0 or more")
        if generated_every < 1:
            raise InputError("option generated_every", got=generated_every, wanted="1 iteration or more")
        if segmenter is None and (generated_weight > 0 or reader_weight > 0):
            raise InputError(
                "generated pairs without a generative model", wanted="a SemanticGANSegmenter as segmenter",
                fix="give one, or set generated_weight and reader_weight to 0",
            )  # fmt: skip
        if rounds is not None and not hasattr(train_data_loader, "set_answers"):
            raise InputError(
                "option rounds", got=f"a loader of {type(train_data_loader).__name__}",
                wanted="one that takes labels of whole volumes: PairedPatchLoader",
                fix="train on volumes, or leave rounds out",
            )  # fmt: skip
        self.stage = stage
        self.rounds = rounds if unlabelled_weight > 0 else None
        self.start_weights = Path(start_weights) if start_weights else None
        self.segmenter = segmenter
        self.segmenter_checkpoint = Path(segmenter_checkpoint) if segmenter_checkpoint else None
        self.consistency, self.unlabelled_weight, self.ramp, self.start = consistency, unlabelled_weight, ramp, start
        self.unlabelled_share, self.confidence, self.reader_weight = unlabelled_share, confidence, reader_weight
        self.generated_weight, self.generated_every = generated_weight, int(generated_every)
        self.mixture, self.prior_fraction = mixture, prior_fraction
        super().__init__(device, max_epochs, epoch_length, train_data_loader, network, loss=loss, **options)
        if segmenter is not None:
            segmenter.to(device).eval().requires_grad_(False)

    def run(self) -> None:
        if self.segmenter is not None and self.segmenter_checkpoint is not None:
            where = f"Stage 2's result {self.segmenter_checkpoint}"
            load_weights(self.segmenter, load_checkpoint(self.segmenter_checkpoint), where)
        begun = self.checkpoint_path is not None and self.checkpoint_path.is_file()
        if self.start_weights is not None and not begun:
            load_start(
                self.network, load_checkpoint(self.start_weights), f"Weights to start from, {self.start_weights}"
            )
            self.ema.load_state_dict(self.network.state_dict())
        super().run()

    def phases(self) -> tuple[Phase, ...]:
        return (Phase(self.stage, ("network",), "network", self.segment, clip=5.0),)

    # ---- the phase -----------------------------------------------------------------------------
    def segment(self, batch: Any) -> Terms:
        """Terms of the labelled, unlabelled and generated slices; the student sees all of them in one pass."""
        shown: list[torch.Tensor] = []
        parts: dict[str, tuple[int, torch.Tensor]] = {}
        taught = "unlabelled" in batch and (self.rounds is None or "label" in batch["unlabelled"])
        height = self.unlabelled_height() if taught else 0.0
        labelled, unlabelled = self.sources(height > 0)
        if labelled:
            image, label = self.warp(batch["labelled"]["image"], batch["labelled"]["label"])
            shown.append(self.disguise(image, label))
            parts["label"] = (len(image), label)
        if unlabelled and self.rounds is not None:
            clean, answer = self.warp(batch["unlabelled"]["image"], batch["unlabelled"]["label"])
            shown.append(self.disguise(clean, answer.masked_fill(answer == UNSURE, 0)))
            parts["unlabelled"] = (len(clean), answer)
        elif unlabelled:
            clean = self.warp(batch["unlabelled"]["image"], None)[0]
            probability = self.teach(clean)
            hint = probability.argmax(dim=1, keepdim=True)
            shown.append(self.disguise(clean, hint.to(batch["labelled"]["label"].dtype)))
            parts["unlabelled"] = (len(clean), probability)
        if self.due_for_pairs():
            made, made_label = self.warp(*self.generated(batch))
            shown.append(self.disguise(made, made_label))
            parts["generated"] = (len(made), made_label)
        counts = [count for count, _ in parts.values()]
        logits = dict(zip(parts, self.passes(self.network)(torch.cat(shown)).float().split(counts), strict=True))
        terms = {}
        if "label" in parts:
            terms["label"] = self.whole_loss(logits["label"], parts["label"][1].long())
        if "unlabelled" in parts:
            taught_by = self.agree if self.rounds is None else self.follow
            terms["unlabelled"] = height * taught_by(logits["unlabelled"], parts["unlabelled"][1])
        if "generated" in parts:
            loss = self.whole_loss(logits["generated"], parts["generated"][1].long())
            terms["generated"] = self.generated_weight * loss
        return terms

    def due_for_pairs(self) -> bool:
        """Whether this iteration shows generated pairs."""
        due = (self.state.iteration - 1) % self.generated_every == 0
        return bool(self.generated_weight) and due and self.done() >= self.start

    def sources(self, taught: bool) -> tuple[bool, bool]:
        """Whether this iteration shows labelled images, and unlabelled ones; ``taught``: those have a weight."""
        if not taught or self.unlabelled_share is None:
            return True, taught
        # evenly spread, and the same after a resume
        iteration, share = self.state.iteration, self.unlabelled_share
        unlabelled = int(iteration * share) > int((iteration - 1) * share)
        return not unlabelled, unlabelled

    def unlabelled_height(self) -> float:
        """Weight of the unlabelled term at this iteration."""
        done = self.done()
        if done < self.start:
            return 0.0
        return self.unlabelled_weight * (min(1.0, (done - self.start) / self.ramp) if self.ramp else 1.0)

    def after_iteration(self, iteration: int, batch: Any) -> None:
        super().after_iteration(iteration, batch)
        if self.rounds is not None and self.rounds.due(iteration + 1, self.total_iterations):
            with self.precision(self.schedule[0]):
                device = self.state.device
                answers = self.rounds.label(self.ema.average, self.data_loader.unlabelled, device)
            self.data_loader.set_answers(answers)

    def extra_state(self) -> dict[str, Any]:
        answers = {"answers": self.data_loader.answers} if self.rounds is not None else {}
        return {**super().extra_state(), **answers}

    def load_extra_state(self, state: dict[str, Any]) -> None:
        super().load_extra_state(state)
        if self.rounds is not None:
            self.data_loader.set_answers(state.get("answers", []))

    @torch.no_grad()
    def teach(self, image: torch.Tensor) -> torch.Tensor:
        """The teacher's class probabilities ``(B, K, ...)`` of clean images."""
        probability = self.passes(self.ema.average)(image).float().softmax(dim=1)
        share = self.reader_weight * (1 - self.done())
        if share > 0:
            slices = as_slices(image)
            read = self.segmenter(resize(slices, self.segmenter.generator.image_size)).float()
            read = as_images(resize(read, image.shape[3]), image).softmax(dim=1)
            probability = torch.lerp(probability, read, share)
        return probability

    def agree(self, logits: torch.Tensor, probability: torch.Tensor) -> torch.Tensor:
        """Distance of the student's answer to disguised images from the teacher's to the clean ones."""
        if self.consistency == "soft":
            return (logits.softmax(dim=1) - probability).square().sum(dim=1).mean()
        sure, chosen = probability.max(dim=1, keepdim=True)
        return self.loss_where(logits, sure >= self.confidence, chosen)

    def follow(self, logits: torch.Tensor, answer: torch.Tensor) -> torch.Tensor:
        """Loss of the student's answer to disguised volumes on the last round's, where there was one."""
        return self.loss_where(logits, answer != UNSURE, answer.long())

    def loss_where(self, logits: torch.Tensor, trusted: torch.Tensor, chosen: torch.Tensor) -> torch.Tensor:
        """The labelled images' loss on ``chosen (B, 1, ...)``, of ``trusted`` pixels alone."""
        # elsewhere the student's own answer stands: no gradient, and Dice stays one of whole organs
        own = logits.detach()
        kept = torch.where(trusted, logits, own)
        target = torch.where(trusted, chosen, own.argmax(dim=1, keepdim=True))
        return self.whole_loss(kept, target)

    @torch.no_grad()
    def generated(self, batch: Any) -> tuple[torch.Tensor, torch.Tensor]:
        """A batch of generated images and index maps, in the shape of the labelled ones.

        Slices: the latents of real slices, mixed two by two, and latents of the prior. Volumes: all slices of a stack
        are encoded and moved by one step in latent space, towards a latent of the prior, so that neighbouring slices
        stay neighbours.
        """
        generator, encoder = self.segmenter.generator, self.segmenter.encoder
        like = batch["labelled"]["image"]
        real = batch["unlabelled" if "unlabelled" in batch else "labelled"]["image"]
        slices = resize(as_slices(real), generator.image_size)
        latents, spatial = self.passes(encoder)(slices)
        per_image = len(slices) // len(real)
        weight = self.mixture * torch.rand(len(real), 1, 1, device=latents.device).repeat_interleave(per_image, dim=0)
        if per_image == 1:
            latents = torch.lerp(latents, latents.roll(1, dims=0), weight)
            drawn = torch.rand(len(latents), device=latents.device) < self.prior_fraction
            prior = generator.sample_latents(len(latents))
            latents = torch.where(drawn[:, None, None], prior, latents)
            if spatial is not None:
                spatial = torch.where(drawn[:, None, None, None], torch.zeros_like(spatial), spatial)
        else:
            direction = generator.sample_latents(len(real)) - generator.mean_latent()
            latents = latents + weight * direction.repeat_interleave(per_image, dim=0)
        noise = generator.make_noise(len(latents), "zero" if per_image > 1 else "random")
        image, raw = self.passes(generator)(latents, noise=noise, spatial=spatial)
        image, raw = (as_images(resize(x.float(), like.shape[3]), real) for x in (image, raw))
        return image.clamp(-1, 1), decode_label(raw)


def resize(slices: torch.Tensor, size: int) -> torch.Tensor:
    """Square slices ``(N, C, size, size)``."""
    if slices.shape[-1] == size:
        return slices
    return resize_plane(slices, (size, size))


def as_slices(image: torch.Tensor) -> torch.Tensor:
    """Volumes ``(B, C, H, W, D)`` as slices ``(B * D, C, H, W)``; slices as they are."""
    return image if image.ndim == 4 else image.permute(0, 4, 1, 2, 3).flatten(0, 1)


def as_images(slices: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    """Undo :func:`as_slices`; ``like`` tells the number of volumes."""
    return slices if like.ndim == 4 else slices.unflatten(0, (len(like), -1)).permute(0, 2, 3, 4, 1)
