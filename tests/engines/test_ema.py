"""The moving average: its half-life is in images."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from monai_semgan.engines import EmaByImages


class One(nn.Module):
    def __init__(self, value: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([value]))
        self.register_buffer("count", torch.zeros(1))


def after(images: int, batch: int, half_life: float, seen: int = 10**9) -> float:
    """Average of a weight that jumped from 0 to 1, after so many images."""
    network = One(0.0)
    ema = EmaByImages(network, half_life_images=half_life)
    network.weight.data.fill_(1.0)
    for _ in range(images // batch):
        seen += batch
        ema.update(batch, seen)
    return ema.average.weight.item()


@pytest.mark.parametrize("batch", [1, 4, 16, 64])
def test_half_life_in_images_does_not_depend_on_the_batch(batch: int) -> None:
    assert after(128, batch, half_life=128) == pytest.approx(0.5, abs=1e-4)
    assert after(256, batch, half_life=128) == pytest.approx(0.75, abs=1e-4)


def test_early_averages_are_short() -> None:
    """At the start the half-life is a twentieth of the images seen: a short run is no average with noise."""
    assert after(160, 16, half_life=10000, seen=0) > 0.99
    assert after(160, 16, half_life=10000, seen=10**9) < 0.02


@pytest.mark.parametrize("batch", [2, 8])
def test_ramp_up_hardly_depends_on_the_batch(batch: int) -> None:
    assert after(64, batch, 10000, seen=1600) == pytest.approx(after(64, 1, 10000, seen=1600), abs=0.02)


def test_it_is_a_frozen_copy_and_buffers_follow() -> None:
    network = One(2.0).train()
    ema = EmaByImages(network)
    assert not ema.average.training
    assert not ema.average.weight.requires_grad
    network.count.fill_(7.0)
    ema.update(1, 1)
    assert ema.average.count.item() == 7.0
    assert ema.average.weight is not network.weight
    assert network.training
    assert network.weight.requires_grad


def test_state_round_trip() -> None:
    ema, other = EmaByImages(One(3.0)), EmaByImages(One(1.0))
    other.load_state_dict(ema.state_dict())
    assert other.average.weight.item() == 3.0
