"""Watching what a discriminator trusts: right shares, and without a trace in the training."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn

from monai_semgan.data import SliceBank
from monai_semgan.handlers import SelectionMonitor
from monai_semgan.transforms import RandBatchAppearance, RandSliceAffine
from tests.tiny import make_bank
from tests.tiny_adversarial import SIZE, equal, make_trainer


class Threshold(nn.Module):
    """Everything brighter than its parameter is organ."""

    def __init__(self, at: float = 0.5) -> None:
        super().__init__()
        self.at = nn.Parameter(torch.tensor(at))
        self.sizes: list[int] = []

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        assert not self.training
        assert not torch.is_grad_enabled()
        self.sizes.append(len(image))
        return torch.cat([torch.zeros_like(image), (image - self.at) * 50], dim=1)


class OrganOnly(nn.Module):
    """Trusts what is called organ."""

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        assert not self.training
        return (maps[:, 1:] - 0.5) * 20


class Sees(OrganOnly):
    """Trusts bright pixels."""

    image_channels = 1

    def forward(self, maps: torch.Tensor, image: torch.Tensor) -> torch.Tensor:
        return image * 20


@pytest.fixture
def bank() -> SliceBank:
    """Three quarters organ, of which a half is dark and will be missed, in five slices."""
    labels = torch.zeros(5, 1, 4, 4, dtype=torch.uint8)
    labels[:, :, :3] = 1
    images = labels.float()
    images[..., :2] = 0.2
    return SliceBank(images, labels, ["a"] * 5, torch.zeros(5))


def test_shares_over_all_slices(bank: SliceBank) -> None:
    network = Threshold()
    scores = SelectionMonitor(network, OrganOnly(), {}, batch_size=2).scores(bank)
    assert network.sizes == [2, 2, 1]
    assert scores == {
        "ratio": 6 / 16, "ratio_background": 0.0, "ratio_organ": 1.0, "accuracy_all": 10 / 16, "accuracy": 1.0,
        "accuracy_organ": 1.0,
    }  # fmt: skip


def test_the_threshold_is_used(bank: SliceBank) -> None:
    for threshold, ratio in ((0.0, 1.0), (1.1, 0.0), ([0.0, 1.1], 10 / 16)):
        assert SelectionMonitor(Threshold(), OrganOnly(), {}, threshold).scores(bank)["ratio"] == ratio


def test_a_discriminator_that_sees_the_image(bank: SliceBank) -> None:
    assert SelectionMonitor(Threshold(), Sees(), {}, 0.9).scores(bank)["ratio"] == 14 / 16


def test_slices_are_seen_as_the_training_shows_them(bank: SliceBank) -> None:
    warp, hints = RandSliceAffine(), []

    def darken(image: torch.Tensor, label: torch.Tensor | None) -> torch.Tensor:
        hints.append(label)
        return image - 1.0

    plain = SelectionMonitor(Threshold(), Sees(), {}, 0.9, batch_size=2)
    moved = SelectionMonitor(Threshold(), Sees(), {}, 0.9, warp=warp, batch_size=2)
    dark = SelectionMonitor(Threshold(), Sees(), {}, 0.9, randomise=darken)
    assert moved.scores(bank) == moved.scores(bank) != plain.scores(bank)
    scores = dark.scores(bank)
    assert "ratio_organ" not in scores  # too dark to be called organ
    assert scores["ratio"] == plain.scores(bank)["ratio"]  # and the discriminator sees the clean image
    assert hints == [None]


def test_attached_to_a_training_it_changes_nothing_but_the_metrics() -> None:
    def run(bank: SliceBank | None) -> tuple[dict[str, torch.Tensor], dict[str, float]]:
        trainer = make_trainer(4, warp=RandSliceAffine())
        monitor = SelectionMonitor(
            trainer.network,
            trainer.discriminator,
            {"unlabelled": bank, "nothing": None},
            warp=RandSliceAffine(),
            randomise=RandBatchAppearance(1.0),
            every=2,
        )
        monitor.attach(trainer)
        trainer.run()
        return {**trainer.network.state_dict(), **trainer.discriminator.state_dict()}, trainer.state.metrics

    hidden = make_bank(12, seed=5, size=SIZE)
    garbled = replace(hidden, labels=torch.randint_like(hidden.labels, 0, 2))
    plain, nothing = run(None)
    watched, metrics = run(hidden)
    other, garbage = run(garbled)
    assert nothing == {}
    assert equal(plain, watched)
    assert equal(plain, other)
    assert 0 <= metrics["selection_unlabelled_accuracy_all"] <= 1
    assert metrics["selection_unlabelled_ratio"] == garbage["selection_unlabelled_ratio"]
    assert metrics["selection_unlabelled_accuracy_all"] != garbage["selection_unlabelled_accuracy_all"]
