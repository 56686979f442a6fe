"""Blur, noise and gamma: what another scanner does to the sharpness and grain of an image."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from ._common import (
    air_weight,
    body_spread,
    check_image,
    check_strength,
    from_unit,
    normal,
    per_sample,
    to_unit,
    uniform,
)
from ._transform import AppearanceTransform, AppearanceTransformd

__all__ = ["RandBlurNoise", "RandBlurNoiseD", "RandBlurNoiseDict", "RandBlurNoised", "random_blur_noise"]


def random_blur_noise(
    image: torch.Tensor,
    generator: torch.Generator | None = None,
    strength: float = 1.0,
    blur_sigma: float = 0.008,
    noise_sigma: float = 0.04,
    log_gamma: float = 0.5,
    value_range: tuple[float, float] = (-1.0, 1.0),
) -> torch.Tensor:
    """Gamma, then blur, then Gaussian or Rician noise, each of a random size per sample.

    Args:
        image: (B, 1, H, W) or (B, 1, H, W, D) in ``value_range``, air at its low end.
        generator: source of randomness; None takes torch's default one.
        strength: 0..1; scales all three; 0 is the identity.
        blur_sigma: largest standard deviation of the blur, as a share of the image's width; each axis its
            own.
        noise_sigma: largest standard deviation of the noise, as a share of the range; less where the body has
            little contrast.
        log_gamma: the exponent is ``exp`` of a number uniform in -``log_gamma``..``log_gamma``.
        value_range: low and high end of the image.
    """
    check_image(image, value_range)
    check_strength(strength)
    if strength == 0.0 or not image.shape[0]:
        return image
    batch = image.shape[0]
    unit = to_unit(image, value_range)
    if log_gamma > 0:
        exponent = (strength * log_gamma * uniform((batch,), -1.0, 1.0, image, generator)).exp()
        unit = unit.clamp(min=1e-6).pow(per_sample(exponent, image))
    if blur_sigma > 0:
        limit = strength * blur_sigma * image.shape[-1 if image.ndim == 4 else 3]
        unit = _blur(unit, uniform((batch, image.ndim - 2), 0.0, limit, image, generator), limit)
    if noise_sigma > 0:
        sigma = uniform((batch,), 0.0, strength * noise_sigma, image, generator)
        # An image of little contrast gets little noise, or its anatomy drowns.
        sigma = sigma * (body_spread(unit, air_weight(unit)) / 0.4).clamp(0.1, 1.0)
        unit = _add_noise(unit, per_sample(sigma, image), generator)
    return from_unit(unit, value_range)


def _blur(unit: torch.Tensor, sigma: torch.Tensor, limit: float) -> torch.Tensor:
    """Separable Gaussian blur with ``sigma`` (B, axes) in pixels; samples are the convolution's groups."""
    batch, axes = sigma.shape
    convolve = F.conv2d if axes == 2 else F.conv3d
    radius = max(1, int(2.5 * limit + 0.5))
    offsets = torch.arange(-radius, radius + 1, device=unit.device, dtype=unit.dtype)
    x = unit.transpose(0, 1)
    for axis in range(axes):
        kernel = torch.exp(-0.5 * (offsets[None] / sigma[:, axis, None].clamp(min=0.05)) ** 2)
        kernel = kernel / kernel.sum(dim=1, keepdim=True)
        shape, padding = [1] * axes, [0] * (2 * axes)
        shape[axis] = -1
        padding[2 * (axes - 1 - axis)] = padding[2 * (axes - 1 - axis) + 1] = radius
        x = convolve(F.pad(x, padding, mode="replicate"), kernel.reshape(batch, 1, *shape), groups=batch)
    return x.transpose(0, 1)


def _add_noise(unit: torch.Tensor, sigma: torch.Tensor, generator: torch.Generator | None) -> torch.Tensor:
    """Half the samples Gaussian noise, half a complex signal's magnitude (Rician: air becomes grainy)."""
    real = unit + sigma * normal(unit.shape, unit, generator)
    imaginary = sigma * normal(unit.shape, unit, generator)
    rician = per_sample(uniform((unit.shape[0],), 0.0, 1.0, unit, generator) < 0.5, unit)
    return torch.where(rician, torch.sqrt(real**2 + imaginary**2 + 1e-12), real)


class RandBlurNoise(AppearanceTransform):
    """Array transform of :func:`random_blur_noise` on a channel-first image (C, H, W[, D])."""

    function = staticmethod(random_blur_noise)


class RandBlurNoised(AppearanceTransformd):
    """Dictionary transform of :func:`random_blur_noise`; all keys share the random numbers."""

    array_class = RandBlurNoise


RandBlurNoiseD = RandBlurNoiseDict = RandBlurNoised
