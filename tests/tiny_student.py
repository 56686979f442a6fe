"""The student's trainer with networks of a few hundred weights, on slices or volumes, and ways to look into it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from ignite.engine import Events
from monai.networks.nets import UNet
from torch import nn

from monai_semgan.data import PairedPatchLoader, PairedSliceLoader
from monai_semgan.engines import StudentTrainer
from tests.tiny import make_bank, make_segmenter

AT_ONCE = {"start": 0.0, "ramp": 0.0}
ALONE = {"segmenter": None, "generated_weight": 0.0}
SETTINGS = {"unet_channels": [4, 8]}


def make_network(dims: int = 2, classes: int = 2, seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return UNet(dims, 1, classes, SETTINGS["unet_channels"], [2], num_res_units=1, norm="INSTANCE")


def make_loader(dims: int = 2, iterations: int = 4, size: int = 16, classes: int = 2) -> Any:
    banks = make_bank(8, classes, size=size), make_bank(8, classes, seed=1, size=size)
    if dims == 3:
        return PairedPatchLoader(*banks, 2, iterations, depth=4)
    return PairedSliceLoader(*banks, 2, iterations)


def make_trainer(
    iterations: int = 4, output_dir: Path | None = None, dims: int = 2, size: int = 16, classes: int = 2, **options: Any
) -> StudentTrainer:
    network = options.pop("network", None) or make_network(dims, classes)
    defaults: dict[str, Any] = {"segmenter": make_segmenter(label_channels=1 if classes == 2 else classes)}
    defaults |= {"train_data_loader": make_loader(dims, iterations, size, classes), "checkpoint_every": 2}
    trainer = StudentTrainer(
        "cpu",
        1,
        iterations,
        network=network,
        output_dir=output_dir,
        network_settings=SETTINGS,
        **{**defaults, **options},
    )
    trainer.state.epoch_length, trainer.state.max_epochs = iterations, 1  # for calls outside of a run
    trainer.state.iteration = 1
    return trainer


def outputs(trainer: StudentTrainer) -> list[dict[str, float]]:
    rows: list[dict[str, float]] = []
    trainer.state.iteration = 0
    trainer.add_event_handler(Events.ITERATION_COMPLETED, lambda e: rows.append(dict(e.state.output)))
    trainer.run()
    return rows


def terms(trainer: StudentTrainer, batch: Any = None, seed: int = 0) -> dict[str, torch.Tensor]:
    torch.manual_seed(seed)
    return trainer.segment(trainer.data_loader.batch(0) if batch is None else batch)


def other_teacher(trainer: StudentTrainer) -> None:
    """At the start the average is the student; afterwards it is not."""
    with torch.no_grad():
        for weight in trainer.ema.average.parameters():
            weight.mul_(1.5)


def weights(network: nn.Module) -> dict[str, torch.Tensor]:
    return {k: v.detach().clone() for k, v in network.state_dict().items()}


def equal(first: Any, second: Any) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[k], second[k]) for k in first)


both_dims = pytest.mark.parametrize("dims", [2, 3], ids=["slices", "volumes"])
