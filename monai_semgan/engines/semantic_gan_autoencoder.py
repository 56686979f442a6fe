"""Stage 1 of SemanticGAN where generator and encoder are an autoencoder: warm start, and beside the critics."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F

from ..losses import energy_distance, feature_distance
from ..utils.processes import gather_batch
from .phase_trainer import Terms

__all__ = ["PRIOR_SAMPLES", "AutoencoderPhases", "image_distance"]

PRIOR_SAMPLES = 512
"""Latents on each side when the prior is fitted; remembered from the newest batches."""


class AutoencoderPhases:
    """Part of :class:`SemanticGANTrainer`, which has the networks, the weights of the terms and ``memory``."""

    def autoencode(self, batch: Any, perceptual_weight: float = 0.0) -> Terms:
        """Encoder and generator as an autoencoder: image, mask, and latents that follow the prior."""
        unlabelled, labelled, label = self.real(batch)
        images = torch.cat([unlabelled, labelled])
        latents, _ = self.passes(self.encoder)(images)
        mean = latents.mean(dim=1)
        # decoded from W, one latent for all layers, as the prior's samples are; W+ is for stage 2
        blurred = mean + self.latent_noise * torch.randn_like(mean)
        made, raw = self.passes(self.generator)(blurred, self.generator.make_noise(len(blurred)))
        terms = {"image": image_distance(made, images)}
        if perceptual_weight:
            features = self.passes(self.image_critic.features)
            with torch.no_grad():
                target = features(images)
            distance = feature_distance(features(made), target)
            terms["perceptual"] = perceptual_weight * distance
        if self.joint_critic is not None:
            terms["label"] = self.label_loss(gather_batch(raw[len(unlabelled) :]), gather_batch(label))
        encoded = gather_batch(mean)
        self.remember(encoded)
        with torch.no_grad():
            drawn = self.generator.sample_latents(PRIOR_SAMPLES)[:, 0]
        terms["prior"] = self.prior_weight * scaled_energy_distance(encoded.float(), drawn)
        terms["wplus"] = self.wplus_weight * (latents - mean[:, None]).square().mean()
        return terms

    def remember(self, latents: torch.Tensor) -> None:
        """Keep the newest encoded latents, a ring of ``PRIOR_SAMPLES`` rows."""
        if bool(torch.isfinite(latents).all()):  # a skipped step must not spoil the next hundred
            self.memory = torch.cat([latents.detach().float(), self.memory.to(latents.device)])[:PRIOR_SAMPLES]

    def fit_prior(self, batch: Any) -> Terms:
        """Mapping network alone: its samples should be spread as the remembered latents are."""
        drawn = self.generator.sample_latents(PRIOR_SAMPLES)[:, 0]
        return {"": self.prior_weight * scaled_energy_distance(drawn, self.memory.to(drawn.device))}

    def reconstruct(self, batch: Any) -> Terms:
        """The autoencoder phase beside the adversarial ones (a VAE-GAN kind of hybrid)."""
        factor = self.reconstruct_weight * self.reconstruct_every
        return {k: v * factor for k, v in self.autoencode(batch, self.perceptual_weight).items()}


def scaled_energy_distance(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Energy distance per square root of the dimension, so that its weight does not depend on it."""
    return energy_distance(a, b) / a.shape[-1] ** 0.5


def image_distance(made: torch.Tensor, image: torch.Tensor) -> torch.Tensor:
    """L1 at three scales and L1 of finite differences, which keeps edges that plain L1 blurs."""
    total = F.l1_loss(made, image)
    a, b = made, image
    for _ in range(2):
        a, b = F.avg_pool2d(a, 2), F.avg_pool2d(b, 2)
        total = total + F.l1_loss(a, b)
    for dim in (-1, -2):
        total = total + F.l1_loss(made.diff(dim=dim), image.diff(dim=dim))
    return total
