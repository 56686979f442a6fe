"""Adversarial losses pixel by pixel: known values, masks, and far-off logits."""

from __future__ import annotations

import math

import pytest
import torch

from monai_semgan.losses import confidence_adversarial_loss, confidence_discriminator_loss, masked_bce_with_logits


def logits(value: float) -> torch.Tensor:
    return torch.full((2, 1, 4, 4), value)


def test_known_values() -> None:
    assert masked_bce_with_logits(logits(0.0), 1.0).item() == pytest.approx(math.log(2))
    assert confidence_adversarial_loss(logits(1.5)).item() == pytest.approx(math.log1p(math.exp(-1.5)))
    real, fake = confidence_discriminator_loss(logits(2.0), logits(-1.0))
    assert real.item() == pytest.approx(0.5 * math.log1p(math.exp(-2.0)))
    assert fake.item() == pytest.approx(0.5 * math.log1p(math.exp(-1.0)))


def test_a_fooled_discriminator_costs_more_and_a_convincing_prediction_less() -> None:
    costs = [float(sum(confidence_discriminator_loss(logits(-z), logits(z)))) for z in (-2.0, 0.0, 2.0)]
    assert costs == sorted(costs)
    costs = [float(confidence_adversarial_loss(logits(z))) for z in (-2.0, 0.0, 2.0)]
    assert costs == sorted(costs, reverse=True)


def test_a_target_for_each_pixel() -> None:
    z, target = torch.randn(2, 1, 3, 3), torch.rand(1, 1, 3, 3)
    p = torch.sigmoid(z)
    wanted = -(target * p.log() + (1 - target) * (1 - p).log()).mean()
    torch.testing.assert_close(masked_bce_with_logits(z, target), wanted)


def test_smoothing_is_one_sided() -> None:
    z = logits(0.7)
    real, fake = confidence_discriminator_loss(z, z, real_target=0.9)
    torch.testing.assert_close(real, 0.5 * masked_bce_with_logits(z, 0.9))
    torch.testing.assert_close(fake, 0.5 * masked_bce_with_logits(z, 0.0))
    high = logits(6.0).requires_grad_()  # surer than .9: pulled back
    confidence_discriminator_loss(high, z, real_target=0.9)[0].backward()
    assert (high.grad > 0).all()


@pytest.mark.parametrize("target", [0.0, 1.0])
def test_pixels_outside_of_the_mask_do_not_count(target: float) -> None:
    z = torch.randn(2, 1, 4, 4, requires_grad=True)
    mask = torch.rand(2, 1, 4, 4) < 0.5
    loss = masked_bce_with_logits(z, target, mask)
    torch.testing.assert_close(loss, masked_bce_with_logits(z[mask], target))
    other = torch.where(mask, z, torch.full_like(z, 50.0))
    assert torch.equal(masked_bce_with_logits(other, target, mask), loss)
    loss.backward()
    assert (z.grad[~mask] == 0).all()
    assert (z.grad[mask] != 0).all()


def test_no_pixel_left_gives_zero_and_no_gradient() -> None:
    z = torch.randn(2, 1, 4, 4, requires_grad=True)
    loss = confidence_adversarial_loss(z, torch.zeros(2, 1, 4, 4, dtype=torch.bool))
    loss.backward()
    assert loss.item() == 0.0
    assert (z.grad == 0).all()


def test_far_off_logits_stay_finite_and_keep_their_gradient() -> None:
    z = logits(-200.0).requires_grad_()
    loss = confidence_adversarial_loss(z)
    loss.backward()
    assert loss.item() == pytest.approx(200.0)
    torch.testing.assert_close(z.grad, torch.full_like(z, -1 / z.numel()))
