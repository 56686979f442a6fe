"""Stage 1 of SemanticGAN: image and mask generator against two critics (Li et al. 2021, 2104.05833)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ..losses import (
    RawLabelLoss,
    feature_matching_loss,
    hinge_critic_loss,
    hinge_generator_loss,
    logistic_critic_loss,
    logistic_generator_loss,
    moved_path_length,
    path_length_penalty,
    path_lengths,
    r1_penalty,
)
from ..transforms import encode_label
from ..utils.checkpoint import save_checkpoint
from ..utils.errors import InputError
from ..utils.model_settings import write_model_settings
from ..utils.processes import gather_batch
from .ema import EmaByImages
from .phase_trainer import Phase, PhaseTrainer, Terms
from .semantic_gan_autoencoder import AutoencoderPhases


def lazy_adam(
    parameters: Iterable[nn.Parameter], lr: float, every: int, betas: tuple[float, float] = (0.0, 0.99)
) -> torch.optim.Adam:
    """Adam corrected for a regulariser that steps once in ``every`` iterations (StyleGAN2, appendix B)."""
    c = every / (every + 1) if every else 1.0
    return torch.optim.Adam(parameters, lr=lr * c, betas=(betas[0] ** c, betas[1] ** c), eps=1e-8)


class SemanticGANTrainer(AutoencoderPhases, PhaseTrainer):
    """Trains generator, image critic and joint critic; optionally warms up as an autoencoder first.

    One iteration (after the warm start), as in the paper: image critic, joint critic, their R1 every
    ``critic_regularise_every`` iterations, generator, path length every ``path_length_every``, moving
    average. Both critics see the same fakes (the reference made two sets).

    Args:
        generator, image_critic, joint_critic, encoder: the players. The encoder is trained only in the
            autoencoder phases and is handed to stage 2. Without a joint critic the image branch is trained
            alone: no mask is looked at, batches need no labelled part, the generator needs no mask heads.
        augment: differentiable augmentation ``(image, label or None) -> same`` of what critics see.
        warp: random deformation of real slices ``(image, label or None) -> same`` (None: none).
        learning_rate: of the adversarial players; autoencoder_learning_rate, encoder_learning_rate: of generator
            and encoder in the autoencoder phases; mapping_learning_rate: of the mapping network where it is fitted
            to the encoded latents, then beside the later autoencoder phases as well (None: as the generator's, and
            in the warm start alone).
        r1_gamma, r1_gamma_joint: weights of R1 on each critic.
        path_length_weight: 0 switches the phase off.
        feature_matching_weight, joint_weight: of the generator's terms against the joint critic.
        mixing_probability: style mixing.
        warmup_iterations: length of the autoencoder warm start (0: the paper's training).
        reconstruct_weight: weight of the autoencoder phase after the warm start (0: off).
        reconstruct_every: iterations between autoencoder phases after the warm start.
        prior_weight: weight of the energy distance that ties encoded latents to the prior.
        wplus_weight: weight of the spread of an image's latents around their mean.
        latent_noise: standard deviation of noise on the latents that are decoded in the autoencoder phases, so
            that what lies between two encoded images decodes to an image as well.
        perceptual_weight: of the image critic's features in the autoencoder phase after the warm start
            (Larsen et al. 2016, 1512.09300).
        slices_at_once: how many slices pass generator and image critic at once in the adversarial phases, which sum the
            gradients of their parts: less memory, the same step. None: all of a batch. With a multiple of 4 the groups
            of the minibatch standard deviation stay whole.
        ema: moving average of the generator (default: half-life 10 000 images).
        network_settings: what the networks were built with, written beside the result.
        others: see :class:`PhaseTrainer`.
    """

    may_compile = True

    def __init__(
        self,
        device: torch.device | str,
        max_epochs: int,
        epoch_length: int,
        train_data_loader: Iterable,
        generator: nn.Module,
        image_critic: nn.Module,
        joint_critic: nn.Module | None = None,
        encoder: nn.Module | None = None,
        augment: Callable | None = None,
        warp: Callable | None = None,
        learning_rate: float = 0.002,
        autoencoder_learning_rate: float = 0.004,
        encoder_learning_rate: float = 0.001,
        mapping_learning_rate: float | None = None,
        r1_gamma: float = 10.0,
        r1_gamma_joint: float = 1.0,
        critic_regularise_every: int = 16,
        path_length_weight: float = 2.0,
        path_length_every: int = 4,
        feature_matching_weight: float = 2.0,
        joint_weight: float = 1.0,
        mixing_probability: float = 0.9,
        warmup_iterations: int = 0,
        reconstruct_weight: float = 0.0,
        reconstruct_every: int = 1,
        prior_weight: float = 1.0,
        wplus_weight: float = 1.0,
        latent_noise: float = 0.1,
        perceptual_weight: float = 0.0,
        slices_at_once: int | None = None,
        ema: EmaByImages | None = None,
        network_settings: dict[str, Any] | None = None,
        output_dir: str | Path | None = None,
        **options: Any,
    ) -> None:
        self.generator = generator
        self.image_critic = image_critic
        self.joint_critic = joint_critic
        self.encoder = encoder
        self.augment = augment or (lambda image, label=None: (image, label))
        self.warp = warp or (lambda image, label=None: (image, label))
        self.r1_gamma = r1_gamma
        self.r1_gamma_joint = r1_gamma_joint
        self.critic_every = critic_regularise_every
        self.path_length_weight = path_length_weight
        self.path_length_every = path_length_every
        self.feature_matching_weight = feature_matching_weight
        self.joint_weight = joint_weight
        self.mixing_probability = mixing_probability
        self.warmup_iterations = warmup_iterations
        self.reconstruct_weight = reconstruct_weight
        self.reconstruct_every = reconstruct_every
        self.keep_fitting = bool(mapping_learning_rate) and reconstruct_weight > 0
        self.prior_weight = prior_weight
        self.wplus_weight = wplus_weight
        self.label_loss = RawLabelLoss()
        self.num_classes = max(2, generator.label_channels)
        self.mean_path_length = torch.zeros(())
        self.memory = torch.zeros(0, generator.latent_dim)
        self.latent_noise = latent_noise
        self.perceptual_weight = perceptual_weight
        if slices_at_once is not None and slices_at_once < 1:
            raise InputError("option slices_at_once", got=slices_at_once, wanted="1 or more, or null for whole batches")
        self.slices_at_once = slices_at_once
        networks = {"generator": generator, "image_critic": image_critic}
        optimizers: dict[str, torch.optim.Optimizer] = {
            "generator": lazy_adam(
                generator.parameters(), learning_rate, path_length_every if path_length_weight else 0
            ),
            "image_critic": lazy_adam(image_critic.parameters(), learning_rate, critic_regularise_every),
        }
        if joint_critic is not None:
            networks["joint_critic"] = joint_critic
            optimizers["joint_critic"] = lazy_adam(joint_critic.parameters(), learning_rate, critic_regularise_every)
        if encoder is not None:
            networks["encoder"] = encoder
            optimizers["mapping"] = torch.optim.Adam(
                generator.mapping_layers.parameters(),
                lr=mapping_learning_rate or autoencoder_learning_rate,
                betas=(0.5, 0.99),
            )
            # an encoder of plain convolutions wants a smaller rate than the equalised layers do
            optimizers["autoencoder"] = torch.optim.Adam(
                [
                    {"params": list(generator.parameters()), "lr": autoencoder_learning_rate},
                    {"params": list(encoder.parameters()), "lr": encoder_learning_rate},
                ],
                betas=(0.5, 0.99),
            )
        elif warmup_iterations or reconstruct_weight:
            raise ValueError("warmup_iterations and reconstruct_weight need an encoder; give one or set both to 0")
        super().__init__(
            device=device,
            max_epochs=max_epochs,
            epoch_length=epoch_length,
            train_data_loader=train_data_loader,
            networks=networks,
            optimizers=optimizers,
            output_dir=output_dir,
            **options,
        )
        self.ema = ema or EmaByImages(generator)
        self.ema.average.to(device)
        self.network_settings = network_settings

    def phases(self) -> Sequence[Phase]:
        start = self.warmup_iterations
        lazy, gan = self.critic_every, "gan"
        plan = []
        if start:
            plan.append(Phase("warmup", ("generator", "encoder"), "autoencoder", self.autoencode, stop=start, clip=5.0))
            plan.append(
                Phase("warmup/mapping", ("generator",), "mapping", self.fit_prior, stop=start, full_precision=True)
            )
        if self.keep_fitting:
            plan.append(
                Phase(f"{gan}/mapping", ("generator",), "mapping", self.fit_prior, start=start, full_precision=True)
            )
        plan += [
            Phase(f"{gan}/image_critic", ("image_critic",), "image_critic", self.image_critic_step, start=start),
            Phase(f"{gan}/r1_image", ("image_critic",), "image_critic", self.r1_image, lazy, start,
                  full_precision=True),
            Phase(f"{gan}/generator", ("generator",), "generator", self.generator_step, start=start),
        ]  # fmt: skip
        if self.joint_critic is not None:
            joint = ("joint_critic",)
            plan[-2:-2] = [Phase(f"{gan}/joint_critic", joint, "joint_critic", self.joint_critic_step, start=start)]
            plan[-1:-1] = [
                Phase(f"{gan}/r1_joint", joint, "joint_critic", self.r1_joint, lazy, start, full_precision=True)
            ]
        if self.path_length_weight:
            plan.append(
                Phase(f"{gan}/path_length", ("generator",), "generator", self.path_length,
                      self.path_length_every, start, full_precision=True)
            )  # fmt: skip
        if self.reconstruct_weight:
            plan.append(
                Phase(f"{gan}/autoencode", ("generator", "encoder"), "autoencoder", self.reconstruct,
                      self.reconstruct_every, start, clip=5.0)
            )  # fmt: skip
        return plan

    # ---- phases, named as in the paper ---------------------------------------------------------
    def real(self, batch: Any) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Unlabelled images, labelled images and their index masks of this iteration, deformed once.

        The labelled ones are none without a joint critic.
        """
        if "real" not in self.shared and self.joint_critic is None:
            image = self.warp((batch.get("unlabelled") or batch["labelled"])["image"], None)[0]
            self.shared["real"] = (image, image[:0], image[:0])
        if "real" not in self.shared:
            labelled = batch["labelled"]
            unlabelled = batch.get("unlabelled", labelled)["image"]
            image, label = self.warp(labelled["image"], labelled["label"])
            self.shared["real"] = (self.warp(unlabelled, None)[0], image, label)
        return self.shared["real"]

    def fake(self, batch: Any) -> tuple[torch.Tensor, torch.Tensor]:
        """Generated pairs without a graph, shared by both critics."""
        if "fake" not in self.shared:
            with torch.no_grad():
                latents = self.generator.sample_latents(self.batch_size(batch), self.mixing_probability)
                made = self.passes(self.generator)(latents, self.generator.make_noise(len(latents)))
                self.shared["fake"] = self.passes.keep(made)
        return self.shared["fake"]

    def parts(self, count: int) -> list[slice]:
        """Rows of a batch of ``count`` that pass the networks at once.

        Every n-th row and not a run of neighbours, so that the groups of the minibatch standard deviation, which are
        sample i, i + B/4 and so on, stay whole.
        """
        number = 1 if self.slices_at_once is None else -(-count // self.slices_at_once)
        return [slice(k, None, number) for k in range(number)]

    def image_critic_step(self, batch: Any) -> Iterator[Terms]:
        # real and fake pass apart: the loss is a sum, and the graph of one is gone before the other is made
        yield from self.judge_images("real", self.real(batch)[0])
        yield from self.judge_images("fake", self.fake(batch)[0])

    def judge_images(self, sign: str, images: torch.Tensor) -> Iterator[Terms]:
        """The image critic's term of ``"real"`` or ``"fake"`` images."""
        for rows in self.parts(len(images)):
            scores = self.passes(self.image_critic)(self.augment(images[rows], None)[0])
            yield {"": logistic_critic_loss(**{sign: scores}) * (len(scores) / len(images))}

    def joint_critic_step(self, batch: Any) -> Iterator[Terms]:
        _, image, label = self.real(batch)
        yield {"": hinge_critic_loss(real=self.judge(image, encode_label(label, self.num_classes)))}
        fake_image, fake_label = self.fake(batch)
        yield {"": hinge_critic_loss(fake=self.judge(fake_image[: len(image)], fake_label[: len(image)]))}

    def judge(self, image: torch.Tensor, label: torch.Tensor) -> list[torch.Tensor]:
        """The joint critic's scores of augmented pairs; all at once, as its maps are small."""
        return self.joint_critic.logits(self.passes(self.joint_critic)(*self.augment(image, label)))

    def r1_image(self, batch: Any) -> Iterator[Terms]:
        images = self.real(batch)[0]
        for rows in self.parts(len(images)):
            part = self.augment(images[rows], None)[0].detach().requires_grad_()
            penalty = r1_penalty([self.image_critic(part)], [part]) * (len(part) / len(images))
            yield {"": penalty * (self.r1_gamma / 2 * self.critic_every)}

    def r1_joint(self, batch: Any) -> Terms:
        _, image, label = self.real(batch)
        pair = self.augment(image, encode_label(label, self.num_classes))
        inputs = [part.detach().requires_grad_() for part in pair]
        penalty = r1_penalty(self.joint_critic.logits(self.joint_critic(*inputs)), inputs)
        return {"": penalty * (self.r1_gamma_joint / 2 * self.critic_every)}

    def generator_step(self, batch: Any) -> Iterator[Terms]:
        _, image, label = self.real(batch)
        count = self.batch_size(batch)
        for rows in self.parts(count):
            yield self.against_critics(image[rows], label[rows], len(range(count)[rows]), count, len(image))

    def against_critics(self, image: torch.Tensor, label: torch.Tensor, made: int, count: int, pairs: int) -> Terms:
        """The generator's terms for ``made`` of ``count`` samples, beside these of ``pairs`` real slices with masks."""
        share = made / count
        latents = self.generator.sample_latents(made, self.mixing_probability)
        fake_image, fake_label = self.passes(self.generator)(latents, self.generator.make_noise(made))
        seen, _ = self.augment(fake_image, None)
        terms = {"image": share * logistic_generator_loss(self.passes(self.image_critic)(seen))}
        if self.joint_critic is None:
            return terms
        # the joint critic moves the mask only: the image is cut from the graph, so
        # the image branch cannot over-fit the few labelled images
        outputs = self.passes(self.joint_critic)(*self.augment(fake_image.detach(), fake_label))
        terms["joint"] = share * self.joint_weight * hinge_generator_loss(self.joint_critic.logits(outputs))
        if self.feature_matching_weight and len(image):
            with torch.no_grad():
                real = self.passes(self.joint_critic)(*self.augment(image, encode_label(label, self.num_classes)))
            fake = [[f[: len(image)] for f in scale] for scale in outputs]
            real = [[r[: f.shape[0]] for r, f in zip(a, b, strict=True)] for a, b in zip(real, fake, strict=True)]
            factor = self.feature_matching_weight * len(image) / pairs
            terms["feature_matching"] = factor * feature_matching_loss(real, fake)
        return terms

    def path_length(self, batch: Any) -> Iterator[Terms]:
        half = max(1, self.batch_size(batch) // 2)
        before = self.mean_path_length.to(self.generator.constant.device)
        found = []
        # as many parts as the whole batch has: half the samples, but a graph of its own gradient, keep as much
        for rows in self.parts(self.batch_size(batch)):
            made = len(range(half)[rows])
            if not made:
                continue
            latents = self.generator.sample_latents(made, self.mixing_probability)
            lengths = path_lengths(self.generator(latents)[0], latents)
            found.append(lengths.detach())
            penalty = path_length_penalty(lengths, before) * (made / half)
            yield {"": penalty * (self.path_length_weight * self.path_length_every)}
        mean = moved_path_length(gather_batch(torch.cat(found)), before)
        # a step that is skipped for its numbers must not leave them in the running mean
        self.mean_path_length = torch.where(torch.isfinite(mean), mean, before)

    # ---- bookkeeping ---------------------------------------------------------------------------
    def after_iteration(self, iteration: int, batch: Any) -> None:
        self.ema.update(self.images_in(batch), self.state.images_seen)

    def extra_state(self) -> dict[str, Any]:
        return {
            "ema": self.ema.state_dict(),
            "mean_path_length": self.mean_path_length.detach().clone(),
            "memory": self.memory.clone(),
        }

    def load_extra_state(self, state: dict[str, Any]) -> None:
        self.ema.load_state_dict(state["ema"])
        self.mean_path_length = state["mean_path_length"]
        self.memory = state["memory"]

    def on_finished(self) -> None:
        """Hand over to stage 2 by file: averaged generator, critic (perceptual space) and encoder."""
        if self.output_dir is None:
            return
        result = {"generator": self.ema.state_dict(), "image_critic": self.image_critic.state_dict()}
        if self.encoder is not None:
            result["encoder"] = self.encoder.state_dict()
        save_checkpoint(result, self.output_dir / "generator.pt")
        if self.network_settings is not None:
            write_model_settings(self.network_settings, self.output_dir / "generator.pt")
