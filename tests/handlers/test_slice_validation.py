"""Validation Dice while training: by patient, and without a trace in the network."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from ignite.engine import Engine
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


class Volumes:
    """An inferer that notes what it is called with."""

    def __init__(self) -> None:
        self.shapes: list[tuple[int, ...]] = []
        self.networks: list[nn.Module] = []

    def __call__(self, volume: torch.Tensor, network: nn.Module) -> torch.Tensor:
        self.shapes.append(tuple(volume.shape))
        self.networks.append(network)
        return network(volume)


def three_patients() -> SliceBank:
    bank = make_bank(7)
    return SliceBank(bank.images.half(), bank.labels, ["a"] * 4 + ["b"] * 2 + ["c"], bank.positions)


class TestVolumes:
    def test_a_patient_is_predicted_in_one_go(self) -> None:
        inferer, network = Volumes(), Threshold()
        assert SliceValidation(network, {}, inferer=inferer).dice(three_patients()) == 1.0
        assert inferer.shapes == [(1, 1, 16, 16, 4), (1, 1, 16, 16, 2), (1, 1, 16, 16, 1)]
        assert inferer.networks == [network] * 3

    @pytest.mark.parametrize("at", [-0.82, 0.5, 0.62])
    def test_a_network_that_looks_at_voxels_alone_gets_the_score_of_slices(self, at: float) -> None:
        by_slices = SliceValidation(Threshold(at), {}).dice(three_patients())
        assert 0.1 < by_slices < 1.0
        assert SliceValidation(Threshold(at), {}, inferer=Volumes()).dice(three_patients()) == by_slices

    def test_slices_are_in_order_and_come_back_to_their_places(self) -> None:
        """A network that says organ on the second slice of a patient alone."""

        def second(volume: torch.Tensor, network: nn.Module) -> torch.Tensor:
            organ = torch.zeros_like(volume)
            organ[..., 1] = 2 * (volume[..., 1] == 1) - 1.0
            return torch.cat([torch.zeros_like(organ), organ], dim=1)

        images = torch.arange(6.0).remainder(3).reshape(6, 1, 1, 1).expand(6, 1, 4, 5).clone()
        labels = (images == 1).to(torch.uint8)
        bank = SliceBank(images, labels, ["a"] * 3 + ["b"] * 3, torch.zeros(6))
        assert SliceValidation(Threshold(), {}, inferer=second).dice(bank) == 1.0

    @pytest.mark.parametrize("training", [True, False])
    def test_the_mode_is_given_back(self, training: bool) -> None:
        network = Threshold().train(training)
        SliceValidation(network, {}, inferer=Volumes()).dice(make_bank())
        assert network.training is training


def test_it_looks_once_more_at_the_end_and_keeps_pictures() -> None:
    class Run:
        def __init__(self) -> None:
            self.pictures: list[tuple[str, int, tuple[int, ...]]] = []

        def log_image(self, array: Any, key: str, step: int) -> None:
            self.pictures.append((key, step, array.shape))

    run, engine = Run(), Engine(lambda engine, batch: None)
    validation = SliceValidation(Threshold(), {"ct": make_bank()}, every=2, run=run, pictures=3)
    validation.attach(engine)
    engine.run([0] * 5, max_epochs=1)
    assert [(key, step) for key, step, _ in run.pictures] == [("contours_ct", step) for step in (2, 4, 5)]
    height, width, _ = run.pictures[0][2]
    assert width > 2.9 * 48
    assert height < 60
    assert engine.state.metrics["validation_dice_ct"] == 1.0
