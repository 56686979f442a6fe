"""Similarity losses: zero for equal images, blind to what a modality changes, one value per sample."""

from __future__ import annotations

import pytest
import torch

from monai_semgan.losses.similarity import (
    GradientOrientationLoss,
    LocalNCCLoss,
    MINDLoss,
    MultiScaleDistanceLoss,
)

ALL = [LocalNCCLoss, MINDLoss, GradientOrientationLoss, MultiScaleDistanceLoss]
STRUCTURAL = [LocalNCCLoss, MINDLoss, GradientOrientationLoss]


def pictures(batch: int = 4, seed: int = 0) -> torch.Tensor:
    """Blobs with soft edges, half of the picture flat at -1: (B, 1, 32, 32) in [-1, 1]."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.randn(batch, 1, 8, 8, generator=generator)
    image = torch.nn.functional.interpolate(coarse, size=(32, 32), mode="bicubic").clamp(-1, 1)
    image[:, :, :, 24:] = -1.0
    return image


@pytest.mark.parametrize("loss_class", ALL)
def test_zero_for_equal_images_and_more_for_others(loss_class):
    loss = loss_class(reduction="none")
    image = pictures()
    same, other = loss(image, image), loss(pictures(seed=1), image)
    assert same.shape == (4,)
    torch.testing.assert_close(same, torch.zeros(4), atol=1e-5, rtol=0)
    assert (other > 0.03).all()


@pytest.mark.parametrize("loss_class", ALL)
def test_mean_is_the_mean_of_the_samples(loss_class):
    a, b = pictures(), pictures(seed=1)
    torch.testing.assert_close(loss_class()(a, b), loss_class(reduction="none")(a, b).mean())


@pytest.mark.parametrize("loss_class", STRUCTURAL)
@pytest.mark.parametrize(("gain", "offset"), [(0.5, 0.2), (-0.7, 0.1), (-1.0, 0.0)])
def test_blind_to_affine_contrast_and_its_sign(loss_class, gain, offset):
    loss = loss_class(reduction="none")
    image = pictures()
    assert (loss(gain * image + offset, image) < 0.1 * loss(pictures(seed=1), image)).all()


@pytest.mark.parametrize("loss_class", STRUCTURAL)
def test_nearly_blind_to_a_monotone_curve(loss_class):
    loss = loss_class(reduction="none")
    image = pictures()
    curved = 2 * ((image + 1) / 2).pow(0.7) - 1
    assert (loss(curved, image) < 0.4 * loss(pictures(seed=1), image)).all()


@pytest.mark.parametrize("loss_class", ALL)
def test_a_shift_costs_and_a_larger_shift_costs_more(loss_class):
    loss = loss_class(reduction="none")
    image = pictures()
    one, three = (loss(image.roll(pixels, dims=2), image) for pixels in (1, 3))
    assert (one > 0).all()
    assert (three > one).all()


@pytest.mark.parametrize("loss_class", ALL)
def test_gradient_flows_to_the_prediction_only_and_helps(loss_class):
    loss = loss_class()
    target = pictures().requires_grad_()
    prediction = pictures(seed=1).requires_grad_()
    before = loss(prediction, target)
    before.backward()
    assert target.grad is None
    assert prediction.grad.isfinite().all()
    assert prediction.grad.abs().sum() > 0
    step = prediction.detach() - 0.02 * prediction.grad / prediction.grad.abs().max()
    assert loss(step, target) < before


@pytest.mark.parametrize("loss_class", ALL)
def test_gradient_is_finite_on_flat_images(loss_class):
    flat = torch.full((2, 1, 16, 16), -1.0, requires_grad=True)
    loss_class()(flat, pictures(2)[:, :, :16, :16]).backward()
    assert flat.grad.isfinite().all()
    assert loss_class(reduction="none")(flat, flat.detach()).abs().max() < 1e-5


@pytest.mark.parametrize("loss_class", ALL)
def test_a_sample_does_not_depend_on_its_neighbours(loss_class):
    loss = loss_class(reduction="none")
    a, b = pictures(), pictures(seed=1)
    torch.testing.assert_close(loss(a, b)[2:3], loss(a[2:3], b[2:3]))


@pytest.mark.parametrize("loss_class", ALL)
def test_weight_leaves_pixels_out(loss_class):
    loss = loss_class(reduction="none")
    image = pictures()
    spoiled = image.clone()
    spoiled[:, :, :, 26:] = torch.rand(4, 1, 32, 6, generator=torch.Generator().manual_seed(3))
    weight = torch.zeros(4, 1, 32, 32)
    weight[..., :16] = 1.0
    torch.testing.assert_close(
        loss(spoiled, image, weight),
        torch.zeros(4),
        atol=0.05 if loss_class is GradientOrientationLoss else 1e-5,
        rtol=0,
    )
    assert (loss(spoiled, image) > 0.01).all()
    assert loss(image, image, torch.zeros_like(weight)).isfinite().all()


@pytest.mark.parametrize("loss_class", ALL)
def test_wrong_input_is_refused(loss_class):
    with pytest.raises(ValueError, match="wanted the same"):
        loss_class()(torch.zeros(2, 1, 8, 8), torch.zeros(2, 1, 8, 9))
    with pytest.raises(ValueError, match="reduction"):
        loss_class(reduction="sum")
