"""Modulated convolution against the paper's form: explicit weights for every sample."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from monai_semgan.networks.layers import ModulatedConv2d


def dense_blur(x: torch.Tensor, gain: float) -> torch.Tensor:
    taps = torch.tensor([1.0, 3.0, 3.0, 1.0])
    kernel = torch.outer(taps, taps) / 64 * gain
    return torch.stack([F.conv2d(c[None, None], kernel[None, None], padding=1)[0, 0] for c in x])


def explicit(layer: ModulatedConv2d, x: torch.Tensor, latent: torch.Tensor) -> torch.Tensor:
    """Equations 1 and 3 of 1912.04958, one sample at a time."""
    results = []
    for sample, w in zip(x, latent, strict=True):
        style = layer.affine(w)
        weight = layer.weight.transpose(0, 1) if layer.upsample else layer.weight
        weight = weight * layer.scale * style[None, :, None, None]
        if layer.demodulate:
            weight = weight / (weight.square().sum(dim=(1, 2, 3), keepdim=True) + 1e-8).sqrt()
        if layer.upsample:
            made = F.conv_transpose2d(sample[None], weight.transpose(0, 1), stride=2)[0]
            results.append(dense_blur(made, 4.0))
        else:
            results.append(F.conv2d(sample[None], weight, padding=layer.padding)[0])
    return torch.stack(results)


@pytest.mark.parametrize("demodulate", [True, False])
@pytest.mark.parametrize(("kernel_size", "upsample"), [(1, False), (3, False), (3, True)])
def test_equals_per_sample_weights(kernel_size: int, upsample: bool, demodulate: bool) -> None:
    torch.manual_seed(0)
    layer = ModulatedConv2d(5, 4, kernel_size, 6, demodulate=demodulate, upsample=upsample)
    x, latent = torch.randn(3, 5, 8, 8, requires_grad=True), torch.randn(3, 6, requires_grad=True)
    made, wanted = layer(x, latent), explicit(layer, x, latent)
    assert made.shape == (3, 4, 16 if upsample else 8, 16 if upsample else 8)
    torch.testing.assert_close(made, wanted, atol=1e-5, rtol=1e-5)
    probe = torch.randn_like(made)
    inputs = [x, latent, layer.weight, layer.affine.weight]
    for a, b in zip(
        torch.autograd.grad((made * probe).sum(), inputs),
        torch.autograd.grad((wanted * probe).sum(), inputs),
        strict=True,
    ):
        torch.testing.assert_close(a, b, atol=1e-4, rtol=1e-4)


def test_demodulation_gives_unit_variance() -> None:
    torch.manual_seed(0)
    layer = ModulatedConv2d(32, 16, 3, 8)
    made = layer(torch.randn(4, 32, 16, 16), 5 * torch.randn(4, 8))
    assert made[..., 2:-2, 2:-2].std().item() == pytest.approx(1.0, abs=0.1)


def test_starts_with_styles_around_one() -> None:
    layer = ModulatedConv2d(3, 4, 3, 8)
    torch.testing.assert_close(layer.affine(torch.zeros(1, 8)), torch.ones(1, 3))


@pytest.mark.parametrize("upsample", [True, False])
def test_demodulation_stays_in_float32_under_autocast(upsample: bool) -> None:
    """Sums of squares in bfloat16 would lose the layer's unit variance."""
    torch.manual_seed(0)
    layer = ModulatedConv2d(5, 4, 3, 6, upsample=upsample)
    style, weight = torch.rand(2, 5), layer.weight * layer.scale
    with torch.autocast("cpu", dtype=torch.bfloat16):
        factor = layer.demodulation(style, weight)
    assert factor.dtype == torch.float32
    torch.testing.assert_close(factor, layer.demodulation(style, weight))


@pytest.mark.parametrize(("kernel_size", "demodulate"), [(3, True), (1, False)])
def test_gain_and_shift(kernel_size: int, demodulate: bool) -> None:
    torch.manual_seed(0)
    layer = ModulatedConv2d(5, 4, kernel_size, 6, demodulate=demodulate)
    x, latent, shift = torch.randn(2, 5, 8, 8), torch.randn(2, 6), torch.randn(4)
    wanted = 1.5 * layer(x, latent) + shift[:, None, None]
    torch.testing.assert_close(layer(x, latent, gain=1.5, shift=shift), wanted)


def test_one_pixel_kernels_keep_no_scaled_copy_of_the_input() -> None:
    layer, kept = ModulatedConv2d(5, 1, 1, 6, demodulate=False), []
    x = torch.randn(2, 5, 8, 8).contiguous(memory_format=torch.channels_last).requires_grad_()
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t) or t, lambda t: t):
        layer(x, torch.randn(2, 6))
    large = [t for t in kept if t.numel() >= x.numel()]
    assert {t.data_ptr() for t in large} == {x.data_ptr()}
