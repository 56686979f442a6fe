"""Critics that know their training slices, and generators that are better or worse."""

from __future__ import annotations

import pytest
import torch
from ignite.engine import Engine
from torch import nn

from monai_semgan.handlers import CriticMonitor, GeneratorMonitor
from tests.tiny import LATENT, SIZE, make_bank, make_generator, make_image_critic, make_joint_critic


class KnowsByHeart(nn.Module):
    """High for the slices of its bank, low for all others."""

    def __init__(self, bank) -> None:
        super().__init__()
        self.register_parameter("known", nn.Parameter(bank.images.clone()))

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        distance = (image[:, None] - self.known[None]).flatten(2).abs().sum(dim=2)
        return (distance.min(dim=1).values < 1e-3).float()[:, None] * 2 - 1


class Copies(nn.Module):
    """A generator that gives slices of a bank back, moved by its latents."""

    def __init__(self, bank, blur: float) -> None:
        super().__init__()
        self.register_parameter("images", nn.Parameter(bank.images.clone()))
        self.blur = blur

    def sample_latents(self, count: int) -> torch.Tensor:
        return torch.randn(count, 2, 4)

    def forward(self, latents, noise="random"):
        rows = (latents[:, 0, 0].abs() * 1000).long() % len(self.images)
        image = self.images[rows] + self.blur * latents[:, 0, 1, None, None, None]
        return image, torch.zeros_like(image)


def test_a_critic_that_has_learnt_by_heart_is_seen():
    known, other = make_bank(6), make_bank(6, seed=5)
    monitor = CriticMonitor({"image": KnowsByHeart(known)}, {"labelled": known, "held_out": other})
    assert monitor.scores() == {"image_labelled": 1.0, "image_held_out": -1.0}


def test_all_kinds_of_critics_and_no_trace_in_the_training():
    class Maps(nn.Module):
        image_channels = 0

        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Conv2d(2, 1, 1)

        def forward(self, maps: torch.Tensor) -> torch.Tensor:
            assert set(maps.unique().tolist()) <= {0.0, 1.0}
            return self.layer(maps)

    image, joint = make_image_critic(), make_joint_critic()
    bank = make_bank(6)
    bare = type(bank)(bank.images, None, bank.cases, bank.positions)
    monitor = CriticMonitor(
        {"image": image, "joint": joint, "maps": Maps(), "none": None},
        {"labelled": bank, "unlabelled": bare, "missing": None}, make_generator(), maps=["maps"], count=4,
    )  # fmt: skip
    engine = Engine(lambda engine, batch: None)
    monitor.every, monitor.start = 2, 3
    monitor.attach(engine)
    torch.manual_seed(3)
    before = torch.get_rng_state()
    engine.run([0, 0], max_epochs=1)
    assert engine.state.metrics == {}
    engine.run([0] * 4, max_epochs=1)
    assert torch.equal(before, torch.get_rng_state())
    assert set(engine.state.metrics) == {
        "critic_image_labelled", "critic_image_unlabelled", "critic_image_generated",
        "critic_joint_labelled", "critic_joint_generated", "critic_maps_labelled",
    }  # fmt: skip
    assert image.training
    assert joint.training
    assert all(parameter.grad is None for parameter in image.parameters())


def test_better_samples_are_nearer():
    bank, other = make_bank(24), make_bank(24, seed=9)
    near, far = (
        GeneratorMonitor(Copies(bank, blur), {"unlabelled": bank, "held_out": other, "none": None}, count=64, paths=0)
        for blur in (0.01, 0.6)
    )
    before = torch.get_rng_state()
    good, bad = near.measures(), far.measures()
    assert torch.equal(before, torch.get_rng_state())
    assert good["frechet_unlabelled"] < good["frechet_held_out"]
    assert good["frechet_unlabelled"] < 0.2 * bad["frechet_unlabelled"]
    assert good["frechet_unlabelled_to_held_out"] == bad["frechet_unlabelled_to_held_out"]
    assert near.measures() == good


def test_path_length_of_a_real_generator_once_an_iteration():
    generator = make_generator().requires_grad_(False)
    monitor = GeneratorMonitor(generator, {"unlabelled": make_bank(6)}, every=2, count=8, batch_size=4)
    engine = Engine(lambda engine, batch: None)
    calls = []
    measure = monitor.measures
    monitor.measures = lambda: calls.append(1) or measure()
    monitor.attach(engine)
    engine.run([0, 0], max_epochs=1)
    assert len(calls) == 1  # the second iteration is the last one, too
    assert engine.state.metrics["path_length"] > 0
    assert engine.state.metrics["frechet_unlabelled"] == pytest.approx(measure()["frechet_unlabelled"])
    assert (SIZE, LATENT) == (16, 8)
