"""Which pixels are trusted: monotone in the threshold, constant for the gradient, and not background alone."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch

from monai_semgan.losses import cap_background, trusted_pixels


@pytest.fixture
def confidence() -> torch.Tensor:
    return 2 * torch.randn(2, 1, 8, 8, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def predicted() -> torch.Tensor:
    return torch.randint(0, 3, (2, 1, 8, 8), generator=torch.Generator().manual_seed(1))


def test_fewer_are_trusted_at_a_higher_threshold(confidence: torch.Tensor, predicted: torch.Tensor) -> None:
    levels = (0.0, 0.1, 0.2, 0.5, 0.9, 1.1)
    sets = [trusted_pixels(confidence, predicted, level) for level in levels]
    assert sets[0].all()
    assert not sets[-1].any()
    assert all((~low <= ~high).all() for low, high in pairwise(sets))
    assert torch.equal(sets[2], torch.sigmoid(confidence) >= 0.2)


def test_it_is_a_constant(confidence: torch.Tensor, predicted: torch.Tensor) -> None:
    assert not trusted_pixels(confidence.requires_grad_(), predicted).requires_grad


def test_a_threshold_for_each_class(confidence: torch.Tensor, predicted: torch.Tensor) -> None:
    trusted = trusted_pixels(confidence, predicted, [0.0, 2.0, 0.5])
    assert trusted[predicted == 0].all()
    assert not trusted[predicted == 1].any()
    assert torch.equal(trusted[predicted == 2], confidence[predicted == 2] >= 0)
    with pytest.raises(ValueError, match="got 2 values, and class 2 was predicted"):
        trusted_pixels(confidence, predicted, [0.2, 0.2])


def test_what_is_not_a_number_is_not_trusted(predicted: torch.Tensor) -> None:
    assert not trusted_pixels(torch.full(predicted.shape, torch.nan), predicted, 0.0).any()


@pytest.mark.parametrize("share", [0.25, 0.5])
def test_background_gets_its_share_and_no_more(share: float, predicted: torch.Tensor) -> None:
    trusted = torch.ones_like(predicted, dtype=torch.bool)
    predicted[0] = 0
    weight = cap_background(trusted, predicted, share)
    assert (weight[predicted > 0] == 1).all()
    assert (weight[predicted == 0].sum() / weight.sum()).item() == pytest.approx(share, rel=1e-5)


def test_background_below_its_share_is_left_alone(predicted: torch.Tensor) -> None:
    trusted = (predicted > 0) | (torch.rand(predicted.shape) < 0.1)
    assert torch.equal(cap_background(trusted, predicted, 0.9), trusted.float())


def test_a_share_of_one_changes_nothing(predicted: torch.Tensor) -> None:
    trusted = torch.rand(predicted.shape) < 0.5
    assert torch.equal(cap_background(trusted, predicted), trusted.float())


def test_without_organs_nothing_is_left(predicted: torch.Tensor) -> None:
    nothing = cap_background(torch.ones_like(predicted, dtype=torch.bool), torch.zeros_like(predicted), 0.5)
    assert nothing.sum() == 0
