"""Slices with a bright square (strong) and a bright disc (weak), and trainers of a few thousand weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from monai.networks.nets import UNet
from torch import nn

from monai_semgan.data import OrganRoles, SliceBank, TaggedSliceBank, TransferSliceLoader, tag_slices
from monai_semgan.engines import ClassAgnosticTrainer, PredictionTransferTrainer, TagTrainer
from monai_semgan.networks.nets import ConfidenceDiscriminator, TagClassifier

SIZE, BATCH = 32, 4
ROLES = OrganRoles({"disc": 1, "square": 2}, ["square"], ["disc"])
SETTINGS = {"image_size": SIZE, "unet_channels": [8, 16]}


def make_truth(count: int = 24, seed: int = 0, size: int = SIZE) -> SliceBank:
    """Discs in slices 0, 1, 4, 5 ..., squares in all but every third; two cases; classes as in ``ROLES``."""
    draw = torch.Generator().manual_seed(seed)
    ticks = torch.arange(size, dtype=torch.float32)
    centres = torch.rand(count, 2, generator=draw) * size * 0.3 + size * 0.15
    labels = torch.zeros(count, 1, size, size, dtype=torch.uint8)
    radius = size * 0.16
    for i in range(count):
        y, x = centres[i]
        if i % 4 < 2:
            labels[i, 0][(ticks[:, None] - y) ** 2 + (ticks[None, :] - x) ** 2 < radius**2] = 1
        if i % 3:
            far = (ticks[:, None] - (size - y)).abs().clamp(min=0) < radius
            labels[i, 0][far & ((ticks[None, :] - (size - x)).abs() < radius)] = 2
    noise = torch.randn(count, 1, size, size, generator=draw)
    images = (torch.tensor([-0.5, 0.5, 0.2])[labels.long()] + 0.05 * noise).clamp(-1, 1)
    cases = ["a" if i < count // 2 else "b" for i in range(count)]
    return SliceBank(images, labels, cases, torch.linspace(0, 1, count))


def make_tagged(
    truth: SliceBank | None = None, masks: bool = True, roles: OrganRoles = ROLES, **options: Any
) -> TaggedSliceBank:
    truth = truth or make_truth(**options)
    tags = torch.stack([(truth.labels == c).flatten(1).any(1) for c in (1, 2)], dim=1)
    kept = torch.zeros_like(truth.labels)
    for c in roles.strong_classes:
        kept[truth.labels == c] = c
    bare = SliceBank(truth.images, kept if masks else None, truth.cases, truth.positions)
    return tag_slices(bare, tags, roles)


def make_loader(iterations: int = 2, batch: int = BATCH, unlabelled: Any = "default", **options: Any) -> Any:
    weak = make_tagged(masks=False, seed=1) if unlabelled == "default" else unlabelled
    return TransferSliceLoader(
        options.pop("labelled", None) or make_tagged(), weak, ROLES, batch, iterations, **options
    )


def make_network(out_channels: int = 3, norm: str = "INSTANCE", seed: int = 1) -> UNet:
    torch.manual_seed(seed)
    return UNet(2, 1, out_channels, SETTINGS["unet_channels"], [2], num_res_units=1, norm=norm)


def make_classifier() -> TagClassifier:
    torch.manual_seed(3)
    return TagClassifier(num_tags=2, channels=(8, 16), strides=(2, 2))


def make_critic() -> ConfidenceDiscriminator:
    torch.manual_seed(2)
    return ConfidenceDiscriminator(2, 1, (8,), 1)


def make_object_trainer(iterations: int = 2, output_dir: Path | None = None, **options: Any) -> ClassAgnosticTrainer:
    options.setdefault("network", make_network(1, "BATCH"))
    loader = options.pop("loader", None) or make_loader(iterations, parts=("labelled",))
    return ClassAgnosticTrainer("cpu", 1, iterations, loader, output_dir=output_dir, checkpoint_every=2, **options)


def make_tag_trainer(iterations: int = 2, output_dir: Path | None = None, **options: Any) -> TagTrainer:
    loader = options.pop("loader", None) or make_loader(iterations, parts=("labelled", "unlabelled"))
    network = options.pop("network", None) or make_classifier()
    return TagTrainer(
        "cpu", 1, iterations, loader, network, ROLES, output_dir=output_dir, checkpoint_every=2, **options
    )


def make_trainer(iterations: int = 2, output_dir: Path | None = None, **options: Any) -> PredictionTransferTrainer:
    loader = options.pop("loader", None) or make_loader(iterations)
    network = options.pop("network", None) or make_network()
    return PredictionTransferTrainer(
        "cpu", 1, iterations, loader, network, ROLES, output_dir=output_dir,
        **{"network_settings": SETTINGS, "checkpoint_every": 2, **options},
    )  # fmt: skip


class Bright(nn.Module):
    """L-Net that is right: what is bright is an object."""

    def __init__(self, scale: float = 20.0) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(scale))

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.scale * image


class LowerRight(nn.Module):
    """Segmenter that is right: squares are bright and in the lower right half."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(20.0))

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        ticks = torch.linspace(-1, 1, image.shape[-1])
        there = self.scale * torch.where((image > 0) & (ticks[:, None] + ticks > 0), 1.0, -1.0)
        return torch.cat([-there, torch.full_like(there, -50.0), there], dim=1)


class UpperLeft(nn.Module):
    """Classifier that looks for discs in the upper left half, and for squares everywhere."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(4.0))

    def class_maps(self, image: torch.Tensor) -> torch.Tensor:
        small = nn.functional.avg_pool2d(image, 4)
        ticks = torch.linspace(-1, 1, small.shape[-1])
        disc = self.scale * torch.where(ticks[:, None] + ticks < 0, 1.0, -1.0).expand_as(small)
        return torch.cat([disc, torch.zeros_like(small)], dim=1)
