"""A one-shot network of a few thousand weights, its trainers, and an annotated image, for tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from monai_semgan.data import ImageSliceLoader, ShotLoader, Shots
from monai_semgan.engines import FeatureProjectorTrainer, OneShotHeadTrainer, weights_fingerprint
from monai_semgan.losses import SwappedPredictionLoss
from monai_semgan.networks.nets import (
    HiddenFeatureProjector,
    OneShotGenerator,
    OneShotHead,
    OneShotSegmenter,
    PrototypeHead,
)
from monai_semgan.transforms import StylePerturbation
from tests.tiny import SIZE, make_bank, make_encoder, make_generator

DIM, SETTINGS = 6, {"image_size": SIZE, "fov_mm": 192.0}


def make_one_shot(num_classes: int = 2, seed: int = 0, **options: Any) -> OneShotSegmenter:
    torch.manual_seed(seed)
    generator = make_generator(**{"label_channels": 0, **options})
    encoder = make_encoder(generator)
    with torch.no_grad():  # latents that differ from image to image
        encoder.to_latents.weight.mul_(30.0)
    projector = HiddenFeatureProjector(generator.feature_channels, generator.feature_resolutions, DIM)
    labeller = OneShotGenerator(generator, projector, OneShotHead(DIM, num_classes, "XS"))
    return OneShotSegmenter(encoder, labeller).eval()


def make_images(iterations: int = 3, batch: int = 4) -> ImageSliceLoader:
    return ImageSliceLoader([make_bank(), None, make_bank(seed=1)], batch, iterations)


def make_projector_trainer(
    iterations: int = 3, output_dir: Path | None = None, network: OneShotSegmenter | None = None, **options: Any
) -> FeatureProjectorTrainer:
    network = network or make_one_shot()
    torch.manual_seed(5)
    defaults: dict[str, Any] = {
        "prototypes": PrototypeHead(DIM, 8),
        "perturbation": StylePerturbation(network.generator.num_latents),
        "loss": SwappedPredictionLoss(),
        "pixels": 64,
        "statistics_images": 8,
        "checkpoint_every": 1,
    }
    return FeatureProjectorTrainer(
        "cpu", 1, iterations, make_images(iterations), network, output_dir=output_dir, **{**defaults, **options}
    )


def make_shots(network: OneShotSegmenter, count: int = 1, label: torch.Tensor | None = None) -> Shots:
    """Images of the generator; without a mask given, what lies above its median brightness is the organ."""
    with torch.no_grad():
        latents = network.generator.sample_latents(count, generator=torch.Generator().manual_seed(3))
        image, _ = network.generator.project(latents, "fixed")
    if label is None:
        label = (image > image.median()).to(torch.uint8)
    names = [f"image {i}" for i in range(count)]
    return Shots(image, label, latents, None, names, weights_fingerprint(network.generator.generator))


def make_head_trainer(
    folder: Path, iterations: int = 3, network: OneShotSegmenter | None = None, **options: Any
) -> OneShotHeadTrainer:
    network = network or make_one_shot()
    path = folder / "shots.pt"
    if not path.exists():
        make_shots(network).save(path)
    options.setdefault("checkpoint_every", 1)
    return OneShotHeadTrainer("cpu", 1, iterations, ShotLoader(path, iterations), network, **options)
