"""The filtering layers against a dense reference: zero insertion, filter, selection."""

from __future__ import annotations

import pytest
import torch

from monai_semgan.networks.layers import FirBlur2d, FirDownsample2d, FirUpsample2d


def dense(x: torch.Tensor, padding: int, gain: float) -> torch.Tensor:
    """The filter written as a sum over its taps."""
    taps = (1 / 8, 3 / 8, 3 / 8, 1 / 8)
    wide = torch.nn.functional.pad(x, [padding] * 4)
    height, width = wide.shape[-2] - 3, wide.shape[-1] - 3
    total = torch.zeros(*x.shape[:2], height, width)
    for i, a in enumerate(taps):
        for j, b in enumerate(taps):
            total = total + a * b * gain * wide[..., i : i + height, j : j + width]
    return total


def zero_insert(x: torch.Tensor) -> torch.Tensor:
    wide = torch.zeros(*x.shape[:2], x.shape[2] * 2, x.shape[3] * 2)
    wide[..., ::2, ::2] = x
    return wide


def test_blur_equals_the_dense_filter() -> None:
    x = torch.randn(2, 3, 7, 9)
    for padding in (1, 2):
        made = FirBlur2d(padding=padding, gain=2.0)(x)
        torch.testing.assert_close(made, dense(x, padding, 2.0))
        assert made.shape[-2:] == (7 + 2 * padding - 3, 9 + 2 * padding - 3)


def test_upsampling_is_zero_insertion_and_filter() -> None:
    x = torch.randn(2, 3, 5, 6)
    padded = torch.nn.functional.pad(zero_insert(x), (1, 0, 1, 0))  # padding (2, 1) in all
    torch.testing.assert_close(FirUpsample2d()(x), dense(padded, 1, 4.0))


def test_downsampling_is_filter_and_every_second_pixel() -> None:
    x = torch.randn(2, 3, 8, 10)
    torch.testing.assert_close(FirDownsample2d()(x), dense(x, 1, 1.0)[..., ::2, ::2])


def test_constants_are_kept_inside() -> None:
    x = torch.full((1, 1, 8, 8), 0.7)
    for layer in (FirUpsample2d(), FirDownsample2d()):
        made = layer(x)[..., 1:-1, 1:-1]
        torch.testing.assert_close(made, torch.full_like(made, 0.7))


def test_kernels_are_no_part_of_checkpoints() -> None:
    assert not FirUpsample2d().state_dict()


LAYERS = [FirBlur2d(padding=1, gain=4.0), FirBlur2d(padding=2), FirUpsample2d(), FirDownsample2d()]


@pytest.mark.parametrize("layer", LAYERS, ids=lambda layer: type(layer).__name__)
@pytest.mark.parametrize("size", [(6, 8), (5, 7)])
def test_gradients_of_any_order(layer: torch.nn.Module, size: tuple[int, int]) -> None:
    x = torch.randn(2, 3, *size, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(layer, x)
    assert torch.autograd.gradgradcheck(layer, x)


@pytest.mark.parametrize("layer", LAYERS, ids=lambda layer: type(layer).__name__)
def test_the_input_is_not_kept_for_the_backward_pass(layer: torch.nn.Module) -> None:
    kept: list[int] = []
    x = torch.randn(1, 3, 8, 8, requires_grad=True)
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t.numel()) or t, lambda t: t):
        layer(x * 1.0)
    assert max(kept, default=0) < x.numel()


def test_under_autocast_gradients_come_back_in_the_type_of_the_input() -> None:
    x = torch.randn(1, 3, 8, 8, requires_grad=True)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        made = FirBlur2d()(x)
    made.float().sum().backward()
    torch.testing.assert_close(x.grad, torch.autograd.grad(FirBlur2d()(x).sum(), x)[0], atol=0.02, rtol=0.02)
