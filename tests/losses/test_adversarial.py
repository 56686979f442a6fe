"""Adversarial losses: orderings, scales, and what is constant."""

from __future__ import annotations

import math

import pytest
import torch

from monai_semgan.losses import (
    feature_matching_loss,
    hinge_critic_loss,
    hinge_generator_loss,
    logistic_critic_loss,
    logistic_generator_loss,
)


def scores(value: float) -> torch.Tensor:
    return torch.full((4, 1), float(value))


def maps(value: float) -> list[torch.Tensor]:
    return [torch.full((4, 1, s, s), float(value)) for s in (5, 3)]


@pytest.mark.parametrize(("loss", "make"), [(logistic_critic_loss, scores), (hinge_critic_loss, maps)])
def test_a_fooled_critic_costs_more(loss, make) -> None:
    right = loss(make(2.0), make(-2.0))
    unsure = loss(make(0.0), make(0.0))
    fooled = loss(make(-2.0), make(2.0))
    assert right < unsure < fooled


@pytest.mark.parametrize(("loss", "make"), [(logistic_generator_loss, scores), (hinge_generator_loss, maps)])
def test_a_convincing_generator_costs_less(loss, make) -> None:
    assert loss(make(2.0)) < loss(make(0.0)) < loss(make(-2.0))


def test_known_values() -> None:
    assert logistic_critic_loss(scores(0), scores(0)).item() == pytest.approx(2 * math.log(2))
    assert logistic_generator_loss(scores(0)).item() == pytest.approx(math.log(2))
    assert hinge_critic_loss(maps(0), maps(0)).item() == pytest.approx(1.0)
    assert hinge_critic_loss(maps(1), maps(-1)).item() == 0.0
    assert hinge_generator_loss(maps(0.7)).item() == pytest.approx(-0.7)


@pytest.mark.parametrize(("loss", "make"), [(logistic_critic_loss, scores), (hinge_critic_loss, maps)])
def test_the_two_halves_of_a_critics_loss(loss, make) -> None:
    real, fake = make(0.3), make(-0.2)
    torch.testing.assert_close(loss(real=real) + loss(fake=fake), loss(real, fake))


def test_the_logistic_generator_loss_does_not_saturate_when_it_loses() -> None:
    fake = scores(-20.0).requires_grad_()
    logistic_generator_loss(fake).backward()
    torch.testing.assert_close(fake.grad, scores(-1 / 4))


def test_scales_count_alike_whatever_their_size() -> None:
    """A mean over all patches would let the finest scale decide alone."""
    fake = [torch.full((1, 1, 9, 9), 1.0), torch.full((1, 1, 2, 2), -1.0)]
    assert hinge_generator_loss(fake).item() == pytest.approx(0.0)


def test_scales_must_agree() -> None:
    with pytest.raises(ValueError, match="argument 2"):
        hinge_critic_loss(maps(0), maps(0)[:1])


class TestFeatureMatching:
    def features(self, value: float, grad: bool = False) -> list[list[torch.Tensor]]:
        return [[torch.full((2, 3, 4, 4), value, requires_grad=grad) for _ in range(3)] for _ in range(2)]

    def test_sum_over_layers_mean_over_scales_without_logits(self) -> None:
        assert feature_matching_loss(self.features(1.0), self.features(0.5)).item() == pytest.approx(2 * 0.5)
        fake = self.features(1.0)
        for scale in fake:
            scale[-1] += 100.0
        assert feature_matching_loss(self.features(1.0), fake).item() == 0.0

    def test_real_features_are_constants(self) -> None:
        real, fake = self.features(1.0, grad=True), self.features(0.0, grad=True)
        feature_matching_loss(real, fake).backward()
        assert all(f.grad is None for scale in real for f in scale)
        assert all(f.grad is not None for scale in fake for f in scale[:-1])
        assert all(scale[-1].grad is None for scale in fake)
