"""Validation Dice while training: by patient, and without a trace in the network."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import nn

from monai_semgan.data import SliceBank
from monai_semgan.handlers.slice_validation import SliceValidation
from tests.tiny import make_bank, make_encoder_trainer, make_segmenter


class Threshold(nn.Module):
    """Everything brighter than its parameter is organ."""

    def __init__(self, at: float = 0.0) -> None:
        super().__init__()
        self.at = nn.Parameter(torch.tensor(at))
        self.sizes: list[int] = []

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        assert not self.training
        assert not torch.is_grad_enabled()
        self.sizes.append(len(image))
        return torch.cat([torch.zeros_like(image), image - self.at], dim=1)


def test_perfect_and_empty_answers() -> None:
    bank = make_bank()
    assert SliceValidation(Threshold(0.0), {}).dice(bank) == 1.0
    assert SliceValidation(Threshold(5.0), {}).dice(bank) == 0.0


def test_mean_over_patients_not_over_slices() -> None:
    labels = torch.zeros(4, 1, 4, 4, dtype=torch.uint8)
    labels[:, :, :2] = 1
    images = labels.float()
    images[3] = 0.0  # patient b is one slice, missed
    bank = SliceBank(images, labels, ["a", "a", "a", "b"], torch.zeros(4))
    assert SliceValidation(Threshold(0.5), {}).dice(bank) == pytest.approx(0.5)


def test_a_patient_is_scored_as_a_volume() -> None:
    labels = torch.zeros(2, 1, 4, 4, dtype=torch.uint8)
    labels[0] = 1  # 16 pixels found, 1 missed
    labels[1, 0, 0, 0] = 1
    images = labels.float()
    images[1] = 0.0
    bank = SliceBank(images, labels, ["a", "a"], torch.zeros(2))
    assert SliceValidation(Threshold(0.5), {}).dice(bank) == pytest.approx(2 * 16 / 33)


def test_a_patient_without_the_organ_counts_as_right_if_none_is_found() -> None:
    empty = torch.zeros(1, 1, 4, 4)
    bank = SliceBank(empty, empty.to(torch.uint8), ["a"], torch.zeros(1))
    assert SliceValidation(Threshold(0.5), {}).dice(bank) == 1.0
    assert SliceValidation(Threshold(-0.5), {}).dice(bank) == 0.0


def test_slices_are_taken_in_batches() -> None:
    network = Threshold()
    SliceValidation(network, {}, batch_size=4).dice(make_bank(6))
    assert network.sizes == [4, 2]


@pytest.mark.parametrize("training", [True, False])
def test_the_mode_is_given_back(training: bool) -> None:
    network = make_segmenter().train(training)
    SliceValidation(network, {}).dice(make_bank())
    assert all(m.training is training for m in network.modules())


def test_attached_to_a_training_it_changes_nothing_but_the_metrics() -> None:
    def run(every: int | None) -> tuple[dict[str, torch.Tensor], dict[str, float], list[bool]]:
        trainer, modes = make_encoder_trainer(), []
        encode = trainer.encode

        def watched(batch: Any) -> Any:
            modes.append(trainer.network.training)
            return encode(batch)

        trainer.schedule = (replace(trainer.schedule[0], loss=watched),)
        if every:
            SliceValidation(trainer.network, {"ct": make_bank()}, every=every).attach(trainer)
        trainer.run()
        return trainer.network.state_dict(), trainer.state.metrics, modes

    plain, _, before = run(None)
    watched, metrics, after = run(2)
    assert 0 <= metrics["validation_dice_ct"] <= 1
    assert after == before == [True] * 6  # in training mode after a validation, too
    assert all(torch.equal(plain[k], watched[k]) for k in plain)
