"""The distance after the best grey-value curve: blind to contrast, not to shape."""

from __future__ import annotations

import math

import pytest
import torch

from monai_semgan.losses import GreyCurveLoss


def picture(shift: float = 0.0, seed: int = 0, size: int = 24) -> torch.Tensor:
    """A disc of graded brightness, a blob and a little texture, (1, 1, 24, 24) in (-1, 1)."""
    ticks = torch.linspace(-1, 1, size)
    y, x = torch.meshgrid(ticks, ticks - shift, indexing="ij")
    disc = torch.sigmoid(12 * (0.6 - (x**2 + y**2).sqrt()))
    blob = torch.exp(-((x - 0.2) ** 2 + (y + 0.2) ** 2) / 0.05)
    texture = 0.05 * torch.randn(size, size, generator=torch.Generator().manual_seed(seed))
    return (-0.8 + 0.8 * disc + 0.5 * blob + texture).clamp(-1, 1)[None, None]


CURVES = {
    "identity": lambda v: v,
    "inverted": lambda v: -v,
    "gamma": lambda v: 2 * ((v + 1) / 2).pow(0.5) - 1,
    "arch": lambda v: 1 - 2 * v.square(),
    "wave": lambda v: torch.sin(math.pi * v),
}


@pytest.mark.parametrize("name", CURVES)
def test_any_curve_of_the_grey_values_costs_nothing(name: str) -> None:
    image = picture()
    assert GreyCurveLoss()(image, CURVES[name](image)).item() < 0.01


def test_a_piecewise_linear_curve_is_fitted_exactly() -> None:
    loss = GreyCurveLoss(num_knots=5, ridge=0.0)
    image = picture()
    values = torch.tensor([[0.3, -0.8, 0.9, 0.1, -0.2]])
    target = (values[:, None] @ loss.basis(image)).view_as(image)
    loss = GreyCurveLoss(num_knots=5, ridge=1e-9)
    assert loss(image, target).item() < 1e-4


@pytest.mark.parametrize("name", CURVES)
def test_another_geometry_costs(name: str) -> None:
    target = CURVES[name](picture())
    loss = GreyCurveLoss()
    right, near, far = (loss(picture(s), target).item() for s in (0.0, 0.15, 0.5))
    assert near > 0.05
    assert right < near < far


def test_scale_of_the_target_does_not_matter() -> None:
    a, b = GreyCurveLoss()(picture(0.2), picture()), GreyCurveLoss()(picture(0.2), 0.3 * picture() + 0.4)
    torch.testing.assert_close(a, b)


def test_a_constant_prediction_explains_nothing() -> None:
    assert GreyCurveLoss()(torch.full((1, 1, 24, 24), -0.3), picture()).item() == pytest.approx(1.0, abs=0.01)


def test_a_constant_target_costs_nothing() -> None:
    prediction = picture().requires_grad_()
    loss = GreyCurveLoss()(prediction, torch.full((1, 1, 24, 24), -1.0))
    loss.backward()
    assert loss.item() == pytest.approx(0.0, abs=1e-6)
    assert torch.isfinite(prediction.grad).all()


def test_samples_are_independent() -> None:
    loss = GreyCurveLoss(reduction="none")
    made, target = torch.cat([picture(0.2), picture(0.4)]), torch.cat([-picture(), picture(seed=1)])
    together = loss(made, target)
    assert together.shape == (2,)
    for i in range(2):
        torch.testing.assert_close(loss(made[i : i + 1], target[i : i + 1])[0], together[i])
    torch.testing.assert_close(GreyCurveLoss()(made, target), together.mean())


def test_gradient_agrees_with_finite_differences() -> None:
    """The curve is held in the backward pass: at its optimum that is the whole gradient (up to the ridge)."""
    torch.manual_seed(0)
    loss = GreyCurveLoss(num_knots=6, ridge=1e-5)
    prediction, target = picture(0.25).clamp(-0.95, 0.95).requires_grad_(), -picture()
    (gradient,) = torch.autograd.grad(loss(prediction, target), prediction)
    for seed in range(3):
        direction = torch.randn(prediction.shape, generator=torch.Generator().manual_seed(seed)) + gradient.sign()
        h = 1e-3
        with torch.no_grad():
            change = loss(prediction + h * direction, target) - loss(prediction - h * direction, target)
        assert (change / (2 * h)).item() == pytest.approx((gradient * direction).sum().item(), rel=0.1)


def test_descent_lowers_it() -> None:
    loss, target = GreyCurveLoss(), -picture()
    prediction = picture(0.3).requires_grad_()
    start = loss(prediction, target)
    (gradient,) = torch.autograd.grad(start, prediction)
    with torch.no_grad():
        assert loss(prediction - 5.0 * gradient, target) < start


def test_no_gradient_reaches_the_target() -> None:
    target = picture().requires_grad_()
    GreyCurveLoss()(picture(0.1).requires_grad_(), target).backward()
    assert target.grad is None
