"""Random shallow convolution networks as an appearance change, one network per sample.

After the global intensity non-linear augmentation of Ouyang et al., "Causality-inspired single-source domain
generalization for medical image segmentation" (arXiv 2111.12525), section III-B, with one difference: the
output is brought to a random range of the body's quantiles instead of the input's Frobenius norm, because the
norm of a [-1, 1] image is mostly air and would leave the tissue where chance put it.
"""

from __future__ import annotations

from itertools import pairwise

import torch
import torch.nn.functional as F

from ._common import (
    air_weight,
    body_quantiles,
    check_image,
    check_strength,
    from_unit,
    normal,
    per_sample,
    to_unit,
    uniform,
)
from ._transform import AppearanceTransform, AppearanceTransformd

__all__ = [
    "RandConvAppearance",
    "RandConvAppearanceD",
    "RandConvAppearanceDict",
    "RandConvAppearanced",
    "random_convolution",
]

_HIDDEN = 2


def random_convolution(
    image: torch.Tensor,
    generator: torch.Generator | None = None,
    strength: float = 1.0,
    num_layers: tuple[int, int] = (2, 4),
    value_range: tuple[float, float] = (-1.0, 1.0),
) -> torch.Tensor:
    """Mix each sample with its own random convolution network's view of it; geometry and air stay.

    Layers have a random 1 or 3 wide kernel, two channels and a leaky ReLU between them; the mixing weight is
    uniform in 0..``strength``.

    Args:
        image: (B, 1, H, W) or (B, 1, H, W, D) in ``value_range``, air at its low end.
        generator: source of randomness; None takes torch's default one.
        strength: 0..1; 0 is the identity.
        num_layers: fewest and most convolutions; one number of layers is drawn per call.
        value_range: low and high end of the image.
    """
    check_image(image, value_range)
    check_strength(strength)
    if strength == 0.0 or not image.shape[0]:
        return image
    unit = to_unit(image, value_range)
    air = air_weight(unit)
    depth = int(uniform((1,), num_layers[0], num_layers[1] + 1, image.new_zeros(1, device="cpu"), generator))
    response = _run_networks(2.0 * unit - 1.0, depth, generator)
    response = _to_random_range(response, air, generator)
    alpha = per_sample(uniform((image.shape[0],), 0.0, strength, image, generator), image)
    mixed = (1.0 - alpha) * unit + alpha * response
    return from_unit(torch.lerp(mixed, unit, air), value_range)


def _run_networks(x: torch.Tensor, depth: int, generator: torch.Generator | None) -> torch.Tensor:
    """One random network per sample, all in one grouped convolution a layer: samples are groups."""
    batch, axes = x.shape[0], x.ndim - 2
    convolve = F.conv2d if axes == 2 else F.conv3d
    widths = [1, *[_HIDDEN] * (depth - 1), 1]
    x = x.transpose(0, 1)
    for layer, (in_width, out_width) in enumerate(pairwise(widths)):
        kernel = normal((batch, out_width, in_width, *[3] * axes), x, generator)
        # A sure sign at the centre: kernels that sum to nothing show edges only, and the tissues are lost.
        centre = kernel[(..., *[1] * axes)]
        kernel[(..., *[1] * axes)] = centre + 1.5 * centre.sign()
        point = torch.zeros_like(kernel)
        point[(..., *[1] * axes)] = kernel[(..., *[1] * axes)]
        is_point = uniform((batch,), 0.0, 1.0, x, generator) < 0.5
        kernel = torch.where(per_sample(is_point, kernel), point, kernel)
        # Unit energy per output channel keeps the leaky ReLU's bend inside the range at every depth.
        kernel = kernel / kernel.flatten(2).norm(dim=2).clamp(min=1e-6).reshape(batch, out_width, *[1] * (axes + 1))
        bias = 0.5 * normal((batch * out_width,), x, generator)
        padded = F.pad(x, [1] * (2 * axes), mode="replicate")
        x = convolve(padded, kernel.flatten(0, 1), bias, groups=batch)
        if layer < depth - 1:
            x = F.leaky_relu(x, 0.2)
    return x.transpose(0, 1)


def _to_random_range(response: torch.Tensor, air: torch.Tensor, generator: torch.Generator | None) -> torch.Tensor:
    """Put the body's 2 % and 98 % quantiles at random dark and bright grey values."""
    batch = response.shape[0]
    flat = response.flatten(1)
    low, high = flat.min(dim=1, keepdim=True).values, flat.max(dim=1, keepdim=True).values
    spread = (high - low).clamp(min=1e-6)
    scaled = ((flat - low) / spread).reshape(response.shape)
    levels = response.new_tensor([0.02, 0.98]).expand(batch, 2)
    edges = body_quantiles(scaled, air, levels)
    dark = per_sample(uniform((batch,), 0.0, 0.25, response, generator), response)
    bright = per_sample(uniform((batch,), 0.6, 1.0, response, generator), response)
    start, stop = per_sample(edges[:, 0], response), per_sample(edges[:, 1], response)
    share = (scaled - start) / (stop - start).clamp(min=1e-3)
    return (dark + (bright - dark) * share).clamp(0.0, 1.0)


class RandConvAppearance(AppearanceTransform):
    """Array transform of :func:`random_convolution` on a channel-first image (C, H, W[, D])."""

    function = staticmethod(random_convolution)


class RandConvAppearanced(AppearanceTransformd):
    """Dictionary transform of :func:`random_convolution`; all keys share the random numbers."""

    array_class = RandConvAppearance


RandConvAppearanceD = RandConvAppearanceDict = RandConvAppearanced
