"""Gated pooling: a soft maximum over what the gate leaves open."""

from __future__ import annotations

import math

import pytest
import torch

from monai_semgan.networks.layers import GatedLSEPool


@pytest.fixture
def maps() -> torch.Tensor:
    return torch.randn(2, 3, 5, 4, generator=torch.Generator().manual_seed(0))


def test_an_open_gate_is_plain_log_sum_exp(maps: torch.Tensor) -> None:
    wanted = (4 * maps).flatten(2).logsumexp(2) / 4 - math.log(20) / 4
    for gate in (None, torch.ones(2, 1, 5, 4), torch.ones(2, 3, 5, 4)):
        torch.testing.assert_close(GatedLSEPool(4.0)(maps, gate), wanted)


def test_what_is_behind_the_gate_does_not_count(maps: torch.Tensor) -> None:
    gate = torch.zeros(2, 1, 5, 4)
    gate[..., :2] = 1
    changed = maps.clone()
    changed[..., 2:] += 0.5
    pool = GatedLSEPool(4.0, floor=1e-8)
    torch.testing.assert_close(pool(maps, gate), pool(changed, gate), rtol=1e-4, atol=1e-4)


def test_no_score_is_large_enough_to_open_the_gate(maps: torch.Tensor) -> None:
    gate = torch.full((2, 1, 5, 4), 0.2)
    gate[..., :2] = 0.5
    changed = maps.clone()
    changed[..., 2:] += 100.0
    assert torch.equal(GatedLSEPool()(maps, gate), GatedLSEPool()(changed, gate))


def test_each_class_may_have_a_gate_of_its_own(maps: torch.Tensor) -> None:
    gate = torch.full((2, 3, 5, 4), 1e-6)
    for c in range(3):
        gate[:, c, c, 0] = 1
    pooled = GatedLSEPool(1.0, floor=1e-9)(maps, gate)
    for c in range(3):
        torch.testing.assert_close(pooled[:, c], maps[:, c, c, 0], rtol=1e-2, atol=1e-3)


def test_between_mean_and_maximum(maps: torch.Tensor) -> None:
    flat = maps.flatten(2)
    torch.testing.assert_close(GatedLSEPool(1e-3)(maps), flat.mean(2), rtol=1e-2, atol=1e-2)
    torch.testing.assert_close(GatedLSEPool(300.0)(maps), flat.amax(2), rtol=1e-2, atol=2e-2)


def test_without_any_object_there_is_a_score(maps: torch.Tensor) -> None:
    pooled = GatedLSEPool(4.0)(maps, torch.zeros(2, 1, 5, 4))
    torch.testing.assert_close(pooled, GatedLSEPool(4.0)(maps))
