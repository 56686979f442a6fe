"""Entropy and agreement of made-up views."""

from __future__ import annotations

import pytest
import torch

from monai_semgan.apps.factory.uncertainty import score_uncertainty


def view(share: float, columns: int = 8, classes: int = 2) -> torch.Tensor:
    """``(1, K, 16, 16)``: the first columns belong to class 1 with that probability."""
    probability = torch.zeros(1, classes, 16, 16)
    probability[:, 0] = 1
    probability[:, 0, :, :columns] = 1 - share
    probability[:, 1, :, :columns] = share
    return probability


def test_sure_and_the_same():
    scores = score_uncertainty(torch.stack([view(1.0)] * 3))
    assert scores["entropy"] == pytest.approx(0, abs=1e-5)
    assert scores["agreement"] == 1


def test_entropy_is_that_of_the_mean_over_the_organ():
    assert score_uncertainty(view(0.5001)[None])["entropy"] == pytest.approx(1, abs=1e-3)
    twice = score_uncertainty(torch.stack([view(1.0), view(0.0)]))  # views that contradict each other
    assert twice["entropy"] == pytest.approx(1, abs=1e-3)
    assert twice["agreement"] == 0


def test_agreement_is_dice_with_the_first():
    scores = score_uncertainty(torch.stack([view(1.0, 8), view(1.0, 4), view(1.0, 8)]))
    assert scores["agreement"] == pytest.approx((2 * 4 / 12 + 1) / 2)


def test_more_classes_are_scaled_to_one():
    probability = torch.full((1, 1, 4, 8, 8), 0.25)
    assert score_uncertainty(probability)["entropy"] == pytest.approx(1, abs=1e-5)


def test_empty_samples_agree():
    assert score_uncertainty(torch.stack([view(0.0)] * 2))["agreement"] == 1
