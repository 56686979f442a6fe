"""Noise maps that are optimised must stay noise."""

from __future__ import annotations

import pytest
import torch

from monai_semgan.inferers.noise_maps import noise_regularisation, standardise_noise


def test_white_noise_costs_little_and_pictures_much() -> None:
    torch.manual_seed(0)
    white = torch.randn(4, 1, 32, 32)
    smooth = torch.nn.functional.avg_pool2d(white, 3, 1, 1)
    standardise_noise(smooth)
    constant = torch.ones(4, 1, 32, 32)
    costs = [noise_regularisation([n]).mean().item() for n in (white, smooth, constant)]
    assert costs[0] < 0.1 < 0.3 < costs[1] < costs[2]
    assert costs[2] == pytest.approx(2 * 3)  # two directions at 32, 16 and 8


def test_one_value_a_sample() -> None:
    torch.manual_seed(0)
    maps = [torch.randn(3, 1, s, s) for s in (4, 8, 16)]
    together = noise_regularisation(maps)
    assert together.shape == (3,)
    torch.testing.assert_close(together[1:2], noise_regularisation([m[1:2] for m in maps]))


def test_descent_whitens() -> None:
    torch.manual_seed(0)
    noise = torch.nn.functional.avg_pool2d(torch.randn(1, 1, 16, 16), 3, 1, 1)
    standardise_noise(noise)
    start = noise_regularisation([noise]).item()
    for _ in range(20):
        noise.requires_grad_()
        (gradient,) = torch.autograd.grad(noise_regularisation([noise]).sum(), noise)
        noise = (noise - 5.0 * gradient).detach()
        standardise_noise(noise)
    assert noise_regularisation([noise]).item() < 0.5 * start


def test_standardised_in_place_sample_by_sample() -> None:
    noise = 3 + 5 * torch.randn(2, 1, 8, 8)
    noise[1] = 7.0  # constant: no division by zero
    standardise_noise(noise)
    assert noise[0].mean().item() == pytest.approx(0, abs=1e-5)
    assert noise[0].std(unbiased=False).item() == pytest.approx(1, abs=1e-5)
    assert torch.isfinite(noise).all()
