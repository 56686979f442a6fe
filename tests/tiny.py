"""Networks, batches and trainers of a few thousand weights, for tests of the engines."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from monai_semgan.data import PairedSliceLoader, SliceBank
from monai_semgan.engines import SemanticGANTrainer, StyleEncoderTrainer
from monai_semgan.networks.nets import (
    JointPatchCritic,
    ResidualStyleCritic,
    SemanticGANSegmenter,
    SemanticStyleGenerator,
    StyleEncoder,
)

SIZE, LATENT = 16, 8


def make_generator(**options: Any) -> SemanticStyleGenerator:
    """16x16, 8 channels or fewer, latents of 8; noise and biases away from zero, so that they matter."""
    defaults: dict[str, Any] = {
        "image_size": SIZE,
        "latent_dim": LATENT,
        "num_mapping_layers": 2,
        "channel_base": 64,
        "channel_max": 8,
    }
    generator = SemanticStyleGenerator(**{**defaults, **options})
    with torch.no_grad():
        for name, parameter in generator.named_parameters():
            if name.endswith("noise_strength"):
                parameter.fill_(0.1)
    return generator


def make_encoder(generator: SemanticStyleGenerator, **options: Any) -> StyleEncoder:
    return StyleEncoder(
        image_size=generator.image_size,
        in_channels=generator.image_channels,
        latent_dim=generator.latent_dim,
        channels=(8, 8),
        spatial_channels=generator.spatial_channels,
        spatial_resolution=generator.spatial_resolution,
        **options,
    )


def make_segmenter(**options: Any) -> SemanticGANSegmenter:
    generator = make_generator(**options)
    encoder = make_encoder(generator)
    with torch.no_grad():  # latents that differ from image to image, and spatial features that are not zero
        encoder.to_latents.weight.mul_(30.0)
        if generator.spatial_resolution:
            encoder.to_spatial.weight.normal_(std=0.1)
    return SemanticGANSegmenter(encoder, generator)


def make_image_critic(**options: Any) -> ResidualStyleCritic:
    return ResidualStyleCritic(**{"image_size": SIZE, "channel_base": 64, "channel_max": 8, **options})


def make_joint_critic(**options: Any) -> JointPatchCritic:
    return JointPatchCritic(**{"channels": 4, "num_layers": 2, "num_scales": 2, **options})


def make_bank(count: int = 6, classes: int = 2, seed: int = 0, size: int = SIZE) -> SliceBank:
    """Bright discs on a dark ground and their masks; two cases."""
    draw = torch.Generator().manual_seed(seed)
    ticks = torch.linspace(-1, 1, size)
    centre = torch.rand(count, 2, 1, 1, generator=draw) - 0.5
    distance = (ticks[:, None] - centre[:, 0]) ** 2 + (ticks[None, :] - centre[:, 1]) ** 2
    disc = (distance < 0.2)[:, None]
    images = torch.where(disc, 0.6, -0.8) + 0.05 * torch.randn(count, 1, size, size, generator=draw)
    labels = (disc * torch.arange(1, count + 1)[:, None, None, None].clamp(max=classes - 1)).to(torch.uint8)
    cases = ["a" if i < count // 2 else "b" for i in range(count)]
    return SliceBank(images, labels, cases, torch.linspace(0, 1, count))


def make_loader(num_batches: int = 3, batch_size: int = 2, classes: int = 2) -> PairedSliceLoader:
    return PairedSliceLoader(make_bank(classes=classes), make_bank(seed=1), batch_size, num_batches)


def make_batch(batch_size: int = 2, classes: int = 2) -> dict[str, dict[str, torch.Tensor]]:
    return make_loader(1, batch_size, classes).batch(0)


def whole_terms(found: Any) -> dict[str, torch.Tensor]:
    """Terms of a phase that may give them in parts, one after the other."""
    sums: dict[str, torch.Tensor] = {}
    for part in [found] if isinstance(found, dict) else found:
        for name, term in part.items():
            sums[name] = sums[name] + term if name in sums else term
    return sums


def make_gan_trainer(output_dir: Path | None = None, seed: int = 0, **options: Any) -> SemanticGANTrainer:
    """Six iterations: two of warm start, then all phases, the lazy ones every second time."""
    torch.manual_seed(seed)
    generator_options = options.pop("generator_options", {})
    generator = options.pop("generator", None) or make_generator(**generator_options)
    label_channels = generator.label_channels
    defaults: dict[str, Any] = {
        "device": "cpu",
        "max_epochs": 2,
        "epoch_length": 3,
        "train_data_loader": make_loader(classes=max(2, label_channels)),
        "generator": generator,
        "image_critic": make_image_critic(),
        "joint_critic": make_joint_critic(label_channels=label_channels),
        "encoder": make_encoder(generator),
        "critic_regularise_every": 2,
        "path_length_every": 2,
        "warmup_iterations": 2,
        "reconstruct_weight": 0.5,
        "checkpoint_every": 1,
        "settings": {"batch_size": 2},
    }
    return SemanticGANTrainer(output_dir=output_dir, **{**defaults, **options})


def make_encoder_trainer(output_dir: Path | None = None, seed: int = 0, **options: Any) -> StyleEncoderTrainer:
    """Six iterations of stage 2."""
    torch.manual_seed(seed)
    segmenter = make_segmenter(**options.pop("generator_options", {}))
    defaults: dict[str, Any] = {
        "device": "cpu",
        "max_epochs": 2,
        "epoch_length": 3,
        "train_data_loader": make_loader(classes=max(2, segmenter.generator.label_channels)),
        "network": segmenter,
        "image_critic": make_image_critic(),
        "perceptual_weight": 0.5,
        "checkpoint_every": 1,
        "settings": {"batch_size": 2},
    }
    return StyleEncoderTrainer(output_dir=output_dir, **{**defaults, **options})
