"""The networks of a one-shot training, built from the settings beside its files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from ...engines import load_projector, load_reader
from ...networks.nets import (
    HiddenFeatureProjector,
    OneShotGenerator,
    OneShotHead,
    OneShotSegmenter,
    SemanticStyleGenerator,
    StyleEncoder,
)
from ...utils import load_checkpoint, load_network, read_model_settings

__all__ = ["build_one_shot", "load_one_shot", "load_untaught"]

_GENERATOR = ("image_size", "latent_dim", "num_mapping_layers", "mapping_lr_multiplier", "latent_input", "channel_base",
              "channel_max", "spatial_resolution")  # fmt: skip


def build_one_shot(
    settings: Mapping[str, Any], feature_dim: int, num_classes: int = 2, head_size: str = "XS"
) -> OneShotSegmenter:
    """The untrained network of the settings of a bundle."""
    generator = SemanticStyleGenerator(label_channels=0, **{name: settings[name] for name in _GENERATOR})
    encoder = StyleEncoder(
        image_size=settings["image_size"],
        latent_dim=settings["latent_dim"],
        channels=settings["encoder_channels"],
        spatial_channels=generator.spatial_channels,
        spatial_resolution=settings["spatial_resolution"],
    )
    projector = HiddenFeatureProjector(generator.feature_channels, generator.feature_resolutions, feature_dim)
    head = OneShotHead(feature_dim, num_classes, head_size)
    return OneShotSegmenter(encoder, OneShotGenerator(generator, projector, head))


def load_one_shot(checkpoint: str | Path, device: torch.device | str = "cpu") -> OneShotSegmenter:
    """The trained network of ``model.pt``, ready to read scans, and by ``.generator.sample(...)`` to make pairs.

    Raises:
        InputError: the file or ``model.json`` beside it is missing, or of something else.
    """
    settings = read_model_settings(checkpoint)
    network = build_one_shot(settings, settings["feature_dim"], settings["num_classes"], settings["head_size"])
    return load_network(network.to(device), checkpoint)


def load_untaught(run_dir: str | Path, projector: str | Path | None = None) -> tuple[OneShotSegmenter, dict[str, Any]]:
    """The network of a training's folder as it is before anything has been annotated, and its settings.

    Args:
        run_dir: ``output_dir`` of the bundle's training, with ``encoder/`` and ``projector/``.
        projector: another ``projector.pt``.

    Raises:
        InputError: a file is missing, or they do not fit each other.
    """
    run_dir = Path(run_dir)
    reader = run_dir / "encoder" / "model.pt"
    settings = dict(read_model_settings(reader))
    path = Path(projector) if projector is not None else run_dir / "projector" / "projector.pt"
    weights = load_checkpoint(path).get("projector", {})
    dim = int(weights["weight"].shape[0]) if "weight" in weights else 1
    network = build_one_shot(settings, dim)
    load_reader(network, reader)
    load_projector(network, path)
    return network.eval().requires_grad_(False), settings
