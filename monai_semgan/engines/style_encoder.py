"""Stage 2 of SemanticGAN: an encoder into the generator's latents (Li et al. 2021, 2104.05833)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ..losses import RawLabelLoss, feature_distance
from ..transforms import decode_label
from ..utils.checkpoint import load_checkpoint, load_weights, save_checkpoint
from ..utils.errors import InputError
from ..utils.model_settings import write_model_settings
from ..utils.processes import gather_batch
from .ema import EmaByImages
from .phase_trainer import Phase, PhaseTrainer, Terms
from .schedule import warmup_cosine
from .semantic_gan_autoencoder import image_distance


class StyleEncoderTrainer(PhaseTrainer):
    """Trains the encoder with the generator frozen (or only its mask heads trained along).

    Each batch has three parts, encoded in one pass: unlabelled slices (reconstruction), labelled slices
    (reconstruction, cross-entropy, Dice) and generated pairs whose latents are known (latent distance as
    well). What the encoder sees is randomised in appearance, what it must give back is the clean image:
    so it learns to read anatomy from any contrast, and the reference's failure on MRI is attacked where it
    arises. With a generator that has no mask heads, masks are neither needed nor looked at.

    Args:
        network: a ``SemanticGANSegmenter`` of the encoder to train and the generator of stage 1.
        image_critic: critic of stage 1, whose features are the perceptual distance.
        generator_checkpoint: ``generator.pt`` of stage 1, read when the training starts (None: take the
            networks as they are).
        randomise: appearance randomisation ``(image, label or None) -> image`` (None: none).
        warp: random deformation of real slices ``(image, label or None) -> same`` (None: none).
        train_generator: ``"none"`` (the paper), ``"label_heads"`` or ``"all"``.
        clean_fraction: part of each batch that is shown unrandomised.
        learning_rate: peak of a warm-up and cosine schedule of AdamW.
        image_weight, perceptual_weight, label_weight, latent_weight: of the terms.
        generated_fraction: generated pairs in a batch, relative to the labelled ones (without masks: to all).
        ema: moving average of the network (default: half-life 5000 images).
        network_settings: what the network was built with, written beside the weights.
        others: see :class:`PhaseTrainer`.
    """

    may_compile = True

    def __init__(
        self,
        device: torch.device | str,
        max_epochs: int,
        epoch_length: int,
        train_data_loader: Iterable,
        network: nn.Module,
        image_critic: nn.Module | None = None,
        generator_checkpoint: str | Path | None = None,
        randomise: Callable | None = None,
        warp: Callable | None = None,
        train_generator: str = "none",
        clean_fraction: float = 0.25,
        learning_rate: float = 1e-3,
        weight_decay: float = 1e-4,
        image_weight: float = 1.0,
        perceptual_weight: float = 0.0,
        label_weight: float = 1.0,
        latent_weight: float = 1.0,
        generated_fraction: float = 0.5,
        mixing_probability: float = 0.5,
        ema: EmaByImages | None = None,
        network_settings: dict[str, Any] | None = None,
        output_dir: str | Path | None = None,
        **options: Any,
    ) -> None:
        if train_generator not in ("none", "label_heads", "all"):
            raise InputError(f"train_generator: got {train_generator!r}; wanted 'none', 'label_heads' or 'all'")
        self.network = network
        self.image_critic = image_critic
        self.generator_checkpoint = Path(generator_checkpoint) if generator_checkpoint else None
        self.randomise = randomise or (lambda image, label=None: image)
        self.warp = warp or (lambda image, label=None: (image, label))
        self.clean_fraction = clean_fraction
        self.learning_rate = learning_rate
        self.image_weight = image_weight
        self.perceptual_weight = perceptual_weight
        self.label_weight = label_weight
        self.latent_weight = latent_weight
        self.generated_fraction = generated_fraction
        self.mixing_probability = mixing_probability
        self.label_loss = RawLabelLoss()
        self.trained = nn.ModuleList([network.encoder])
        heads = [network.generator.heads, *(b.heads for b in network.generator.blocks)]
        if train_generator == "all":
            self.trained.append(network.generator)
        else:
            if train_generator == "label_heads":
                self.trained.extend(h.to_label for h in heads if h.to_label is not None)
            for head in heads:  # the trunk is fixed: it needs no protection, and is the way to the encoder
                head.label_trunk_gradient = 1.0
        parameters = list(self.trained.parameters())
        networks = {"network": network, "trained": self.trained}
        super().__init__(
            device=device,
            max_epochs=max_epochs,
            epoch_length=epoch_length,
            train_data_loader=train_data_loader,
            networks=networks,
            optimizers={"encoder": torch.optim.AdamW(parameters, lr=learning_rate, weight_decay=weight_decay)},
            output_dir=output_dir,
            **options,
        )
        self.ema = ema or EmaByImages(network, half_life_images=5000)
        self.ema.average.to(device)
        self.network_settings = network_settings
        if image_critic is not None:
            image_critic.to(device).requires_grad_(False)

    def phases(self) -> Sequence[Phase]:
        return (Phase("encoder", ("trained",), "encoder", self.encode, clip=5.0),)

    def run(self) -> None:
        path = self.checkpoint_path
        if self.generator_checkpoint is not None and not (path is not None and path.is_file()):
            self.take_over(load_checkpoint(self.generator_checkpoint))
        super().run()

    def take_over(self, stage_one: dict[str, Any]) -> None:
        """Start from stage 1: generator, critic, and the encoder of its warm start if it had one."""
        source = f"Stage 1's result {self.generator_checkpoint or ''}".strip()
        load_weights(self.network.generator, stage_one.get("generator", {}), f"{source}, generator")
        if self.image_critic is not None and "image_critic" in stage_one:
            load_weights(self.image_critic, stage_one["image_critic"], f"{source}, image critic")
        if "encoder" in stage_one:
            # an encoder for w+ alone may be handed to one with spatial features: those start at zero
            own = self.network.encoder.state_dict()
            fitting = {k: v for k, v in stage_one["encoder"].items() if k in own and v.shape == own[k].shape}
            self.network.encoder.load_state_dict({**own, **fitting})
        else:
            self.network.encoder.mean_latent.copy_(self.network.generator.mean_latent())
        self.ema.load_state_dict(self.network.state_dict())

    # ---- the phase -----------------------------------------------------------------------------
    def encode(self, batch: Any) -> Terms:
        has_masks = self.network.generator.label_channels > 0
        if has_masks:
            labelled = batch["labelled"]
            image, label = self.warp(labelled["image"], labelled["label"])
            unlabelled = self.warp(batch["unlabelled"]["image"], None)[0] if "unlabelled" in batch else image[:0]
        else:
            unlabelled = self.warp((batch.get("unlabelled") or batch["labelled"])["image"], None)[0]
            image = label = unlabelled[:0]
        count = len(image) if has_masks else len(unlabelled)
        made_image, made_label, made_latents = self.generated(round(count * self.generated_fraction))
        clean = torch.cat([unlabelled, image, made_image])
        hint = torch.cat([torch.zeros_like(unlabelled, dtype=label.dtype), label, made_label.to(label.dtype)])
        latents, spatial = self.passes(self.network.encoder)(self.disguise(clean, hint))
        generator = self.network.generator
        made, raw = self.passes(generator)(latents, generator.make_noise(len(latents)), spatial)
        n = len(unlabelled)
        terms = {"image": self.image_weight * image_distance(made, clean)}
        if self.perceptual_weight and self.image_critic is not None:
            features = self.passes(self.image_critic.features)
            with torch.no_grad():
                target = features(clean)
            terms["perceptual"] = self.perceptual_weight * feature_distance(features(made), target)
        if has_masks:
            target = torch.cat([label, made_label.to(label.dtype)])
            terms["label"] = self.label_weight * self.label_loss(gather_batch(raw[n:]), gather_batch(target))
        if len(made_latents) and self.latent_weight:
            distance = (latents[-len(made_latents) :] - made_latents).square().mean()
            terms["latent"] = self.latent_weight * distance
        return terms

    def disguise(self, image: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
        """Randomise the appearance of all but a fraction of the batch."""
        disguised = self.randomise(image, label)
        keep = torch.rand(len(image), 1, 1, 1, device=image.device) < self.clean_fraction
        return torch.where(keep, image, disguised)

    def generated(self, count: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Pairs from the prior with their latents; without a graph."""
        with torch.no_grad():
            generator = self.network.generator
            latents = generator.sample_latents(count, self.mixing_probability)
            draw = self.passes(generator) if count else generator  # nothing is compiled for no pairs
            image, raw = draw(latents, generator.make_noise(count))
            label = decode_label(raw) if raw.shape[1] else torch.zeros_like(image[:, :1])
            return image.clamp(-1, 1), label, latents

    # ---- bookkeeping ---------------------------------------------------------------------------
    def before_iteration(self, iteration: int, batch: Any) -> None:
        for group in self.optimizers["encoder"].param_groups:
            group["lr"] = self.learning_rate * warmup_cosine(iteration, self.total_iterations)

    def after_iteration(self, iteration: int, batch: Any) -> None:
        self.ema.update(self.images_in(batch), self.state.images_seen)

    def extra_state(self) -> dict[str, Any]:
        critic = {} if self.image_critic is None else self.image_critic.state_dict()
        return {"ema": self.ema.state_dict(), "image_critic": critic}

    def load_extra_state(self, state: dict[str, Any]) -> None:
        self.ema.load_state_dict(state["ema"])
        if self.image_critic is not None:
            self.image_critic.load_state_dict(state["image_critic"])

    def on_finished(self) -> None:
        """Write the deployable network: averaged weights as a plain state dict."""
        if self.output_dir is not None:
            save_checkpoint(self.ema.state_dict(), self.output_dir / "model.pt")
            if self.network_settings is not None:
                write_model_settings(self.network_settings, self.output_dir / "model.pt")
