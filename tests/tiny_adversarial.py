"""The trainer of AdvSemiSeg with networks of a few thousand weights, and ways to look into it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from ignite.engine import Events
from monai.networks.nets import UNet
from torch import nn

from monai_semgan.data import RealMaskSliceLoader
from monai_semgan.engines import AdversarialSemiTrainer
from monai_semgan.networks.nets import ConfidenceDiscriminator
from tests.tiny import make_bank

SIZE, BATCH = 16, 4
SETTINGS = {"image_size": SIZE, "unet_channels": [8, 16]}
NO_ADVERSARY = {"adversarial_weight": 0.0, "unlabelled_adversarial_weight": 0.0, "self_training_weight": 0.0}
AT_ONCE = {"self_training_start": 0.0}


def make_network() -> UNet:
    torch.manual_seed(1)
    return UNet(2, 1, 2, SETTINGS["unet_channels"], [2], num_res_units=1, norm="INSTANCE")


def make_trainer(iterations: int = 1, output_dir: Path | None = None, **options: Any) -> AdversarialSemiTrainer:
    network = options.pop("network", None) or make_network()
    if "discriminator" not in options:
        torch.manual_seed(2)
        options["discriminator"] = ConfidenceDiscriminator(2, 2, (8, 8), options.pop("image_channels", 0))
    labelled = make_bank(8, size=SIZE)
    unlabelled = options.pop("unlabelled", make_bank(12, seed=5, size=SIZE))
    loader = options.pop("loader", None) or RealMaskSliceLoader(labelled, unlabelled, BATCH, iterations)
    return AdversarialSemiTrainer(
        "cpu", max_epochs=1, epoch_length=iterations, train_data_loader=loader, network=network,
        output_dir=output_dir, **{"network_settings": SETTINGS, "checkpoint_every": 2, **options},
    )  # fmt: skip


def outputs(trainer: AdversarialSemiTrainer) -> list[dict[str, float]]:
    rows: list[dict[str, float]] = []
    trainer.add_event_handler(Events.ITERATION_COMPLETED, lambda e: rows.append(e.state.output))
    trainer.run()
    return rows


def weights(module: nn.Module) -> dict[str, torch.Tensor]:
    return {k: v.clone() for k, v in module.state_dict().items()}


def equal(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[k], second[k]) for k in first)


def gradients(module: nn.Module) -> list[torch.Tensor]:
    return [p.grad.clone() for p in module.parameters() if p.grad is not None]
