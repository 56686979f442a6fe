"""Equalised layers, the scaled gradient and the minibatch standard deviation."""

from __future__ import annotations

import math

import pytest
import torch

from monai_semgan.networks.layers import EqualizedConv2d, EqualizedLinear, MinibatchStd, scale_gradient


def test_equalised_linear_scales_at_run_time() -> None:
    torch.manual_seed(0)
    layer = EqualizedLinear(64, 512, bias_init=0.5, lr_multiplier=0.01)
    assert layer.weight.std().item() == pytest.approx(100.0, rel=0.05)
    x = torch.randn(16, 64)
    wanted = x @ (layer.weight * 0.01 / math.sqrt(64)).T + 0.5
    torch.testing.assert_close(layer(x), wanted, atol=1e-4, rtol=1e-4)


def test_equalised_convolution_keeps_variance() -> None:
    torch.manual_seed(0)
    made = EqualizedConv2d(16, 32, 3)(torch.randn(4, 16, 12, 12))
    assert made.std().item() == pytest.approx(1.0, abs=0.1)


@pytest.mark.parametrize("scale", [0.0, 0.25, 1.0])
def test_scaled_gradient_leaves_the_value(scale: float) -> None:
    x = torch.randn(3, requires_grad=True)
    y = scale_gradient(x, scale)
    torch.testing.assert_close(y, x)
    (y.sum() + 0 * x.sum()).backward()
    torch.testing.assert_close(x.grad, torch.full((3,), scale))


@pytest.mark.parametrize(("batch", "group"), [(1, 1), (2, 2), (4, 4), (6, 3), (7, 1), (8, 4)])
def test_minibatch_std_takes_any_batch(batch: int, group: int) -> None:
    """The largest divisor of the batch up to four is the group; samples i, i + B/g, ... form one."""
    torch.manual_seed(0)
    x = torch.randn(batch, 3, 4, 4)
    made = MinibatchStd(4)(x)
    assert made.shape == (batch, 4, 4, 4)
    torch.testing.assert_close(made[:, :3], x)
    members = x.view(group, batch // group, 3, 4, 4)
    wanted = (members.var(dim=0, unbiased=False) + 1e-8).sqrt().mean(dim=(1, 2, 3)).repeat(group)
    torch.testing.assert_close(made[:, 3, 0, 0], wanted)


def test_minibatch_std_has_finite_gradients_for_equal_images() -> None:
    x = torch.ones(4, 2, 4, 4, requires_grad=True)
    MinibatchStd()(x).sum().backward()
    assert torch.isfinite(x.grad).all()
