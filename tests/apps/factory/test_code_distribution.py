"""Samples have the mean, the spread and the neighbourhood of the codes they were learned from."""

from __future__ import annotations

import pytest
import torch

from monai_semgan.apps.factory import CodeDistribution
from monai_semgan.apps.factory.code_distribution import principal_components
from monai_semgan.utils import InputError


def scans_of(codes: torch.Tensor, lengths: list[int]) -> list[torch.Tensor]:
    return [part[:, None, None] for part in codes.split(lengths)]


def encode(slices: torch.Tensor) -> torch.Tensor:
    return slices.flatten(1)


@pytest.fixture
def codes() -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    directions = torch.randn(3, 20, generator=generator)
    return torch.randn(400, 3, generator=generator) @ directions + torch.linspace(-2, 5, 20)


def draw(distribution: CodeDistribution, number: int, truncation: float = 1.0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.stack([distribution.sample(generator, truncation)[0] for _ in range(number)])


def test_samples_have_the_moments_of_the_codes(codes):
    distribution = CodeDistribution(3).fit(scans_of(codes, [100] * 4), encode)
    samples = draw(distribution, 3000)[:, 0]
    assert torch.allclose(samples.mean(dim=0), codes.mean(dim=0), atol=0.15)
    assert torch.allclose(samples.T.cov(), codes.T.cov(), atol=0.4)


def test_truncation_pulls_to_the_mean(codes):
    distribution = CodeDistribution(3).fit(scans_of(codes, [400]), encode)
    whole, half = (draw(distribution, 50, truncation) for truncation in (1.0, 0.5))
    assert torch.allclose(half - distribution.mean, (whole - distribution.mean) / 2, atol=1e-4)
    norms = [distribution.sample(torch.Generator().manual_seed(5), t)[1] for t in (1.0, 0.5)]
    assert norms[1] == pytest.approx(norms[0] / 2)


def test_neighbours_stay_neighbours():
    generator = torch.Generator().manual_seed(0)
    # along a scan a code turns slowly; where it starts is the scan's own
    angle = torch.linspace(0, 3, 30)
    curves = torch.stack([angle.cos(), angle.sin()], dim=1) @ torch.randn(2, 12, generator=generator)
    scans = [curves + 2 * torch.randn(12, generator=generator) for _ in range(6)]
    distribution = CodeDistribution(10).fit([scan[:, None, None] for scan in scans], encode, depth=4)
    stacks = draw(distribution, 200)
    step = (stacks[:, 1:] - stacks[:, :-1]).norm(dim=2).mean()
    apart = (stacks[1:, 0] - stacks[:-1, 0]).norm(dim=1).mean()
    real = torch.stack([(scan[1:] - scan[:-1]).norm(dim=1).mean() for scan in scans]).mean()
    assert stacks.shape == (200, 4, 12)
    assert step < apart / 5
    assert 0.5 < step / real < 2


def test_components_are_orthonormal_and_sorted():
    rows = torch.randn(30, 50, generator=torch.Generator().manual_seed(0))
    rows = rows - rows.mean(dim=0)
    directions, deviation = principal_components(rows, 8)
    assert torch.allclose(directions.T @ directions, torch.eye(8), atol=1e-4)
    assert deviation.diff().max() <= 0
    assert torch.allclose((rows @ directions).std(dim=0), deviation, rtol=1e-3)


def test_no_direction_without_variance():
    rows = torch.randn(10, 2).repeat(1, 3)
    assert principal_components(rows - rows.mean(dim=0), 8)[0].shape == (6, 2)


def test_thinned_slices_give_nearly_the_same(codes):
    few = CodeDistribution(3, max_slices=150).fit(scans_of(codes, [400]), encode)
    all_ = CodeDistribution(3).fit(scans_of(codes, [400]), encode)
    assert torch.allclose(few.mean, all_.mean, atol=0.5)


def test_errors():
    with pytest.raises(InputError, match="components"):
        CodeDistribution(0)
    with pytest.raises(InputError, match="stacks of 9 slices: got scans of at most 5 slices"):
        CodeDistribution(2).fit([torch.zeros(5, 1, 2, 2)] * 2, encode, depth=9)
    with pytest.raises(InputError, match="at least 2"):
        CodeDistribution(2).fit([torch.zeros(1, 1, 2, 2)], encode)
