"""What labels on the fly cost beside the synthesis of the image."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import torch

from ...networks.nets import HiddenFeatureProjector, OneShotHead, PixelMLPEnsemble, SemanticStyleGenerator
from ...utils import InputError

__all__ = ["time_labelling"]


@torch.no_grad()
def time_labelling(
    image_size: int = 128,
    latent_dim: int = 64,
    channel_base: int = 8192,
    channel_max: int = 256,
    feature_dim: int = 64,
    num_classes: int = 2,
    head_size: str = "XS",
    batch_size: int = 1,
    repeats: int = 30,
    warm_up: int = 3,
) -> dict[str, Any]:
    """Median processor time of each part, in milliseconds an image, of untrained networks of these sizes.

    The parts take turns, so that a busy machine slows all of them alike; processor time of this thread is counted, not
    time on the clock. Nothing is drawn or written. DatasetGAN's ensemble and the single network include the stacking
    of the features at full size, as does ``naive``.

    Returns:
        ``ms`` of ``synthesis``, ``one_shot``, ``naive``, ``mlp_1``, ``mlps_10``; ``parameters`` of the generator and
        of the head; ``overhead``: labelling / synthesis; ``ratio``: (synthesis + other) / (synthesis + one_shot).

    Raises:
        InputError: no repeats.
    """
    if repeats < 1 or batch_size < 1:
        raise InputError("timing", got=f"repeats {repeats}, batch_size {batch_size}", wanted="1 or more of both")
    torch.manual_seed(0)
    generator = SemanticStyleGenerator(
        image_size, 1, 0, latent_dim, num_mapping_layers=2, channel_base=channel_base, channel_max=channel_max
    ).eval()
    projector = HiddenFeatureProjector(generator.feature_channels, generator.feature_resolutions, feature_dim).eval()
    head = OneShotHead(feature_dim, num_classes, head_size).eval()
    total = sum(projector.channels)
    one, ten = (PixelMLPEnsemble(total, num_classes, members).eval() for members in (1, 10))
    latents = generator.sample_latents(batch_size)
    maps = generator.hidden_features(latents, "fixed")[1]
    parts: dict[str, Callable[[], Any]] = {
        "synthesis": lambda: generator.hidden_features(latents, "fixed"),
        "one_shot": lambda: head(projector(maps)).argmax(1),
        "naive": lambda: head(projector.naive(maps)).argmax(1),
        "mlp_1": lambda: one.vote(projector.stack(maps)).argmax(1),
        "mlps_10": lambda: ten.vote(projector.stack(maps)).argmax(1),
    }
    times: dict[str, list[float]] = {name: [] for name in parts}
    for turn in range(warm_up + repeats):
        for name, part in parts.items():
            start = time.process_time()
            part()
            if turn >= warm_up:
                times[name].append((time.process_time() - start) * 1000 / batch_size)
    ms = {name: float(torch.tensor(values).median()) for name, values in times.items()}
    ours = ms["synthesis"] + ms["one_shot"]
    return {
        "image_size": image_size,
        "features": total,
        "parameters": {"generator": _count(generator), "projector": _count(projector), "head": _count(head)},
        "ms": ms,
        "overhead": {name: ms[name] / ms["synthesis"] for name in ms if name != "synthesis"},
        "ratio": {name: (ms["synthesis"] + ms[name]) / ours for name in ("naive", "mlp_1", "mlps_10")},
    }


def _count(network: torch.nn.Module) -> int:
    return sum(p.numel() for p in network.parameters())
