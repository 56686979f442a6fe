"""Smooth multiplicative bias fields, as surface coils leave them in MRI."""

from __future__ import annotations

import torch

from ._common import check_image, check_strength, from_unit, per_sample, smooth_field, to_unit, uniform
from ._transform import AppearanceTransform, AppearanceTransformd

__all__ = [
    "RandBiasFieldAppearance",
    "RandBiasFieldAppearanceD",
    "RandBiasFieldAppearanceDict",
    "RandBiasFieldAppearanced",
    "random_bias_field",
]


def random_bias_field(
    image: torch.Tensor,
    generator: torch.Generator | None = None,
    strength: float = 1.0,
    log_amplitude: float = 0.45,
    num_nodes: int = 4,
    value_range: tuple[float, float] = (-1.0, 1.0),
) -> torch.Tensor:
    """Multiply each sample, measured from air, by ``exp`` of a smooth random field of its own.

    Args:
        image: (B, 1, H, W) or (B, 1, H, W, D) in ``value_range``, air at its low end.
        generator: source of randomness; None takes torch's default one.
        strength: 0..1; scales the field's logarithm; 0 is the identity.
        log_amplitude: largest standard deviation of the field's logarithm (a sample's own is uniform below).
        num_nodes: nodes of the random grid along each axis.
        value_range: low and high end of the image.
    """
    check_image(image, value_range)
    check_strength(strength)
    if strength == 0.0 or not image.shape[0]:
        return image
    unit = to_unit(image, value_range)
    amplitude = uniform((image.shape[0],), 0.0, strength * log_amplitude, image, generator)
    field = smooth_field(unit, num_nodes, generator) * per_sample(amplitude, image)
    return from_unit(unit * field.exp(), value_range)


class RandBiasFieldAppearance(AppearanceTransform):
    """Array transform of :func:`random_bias_field` on a channel-first image (C, H, W[, D])."""

    function = staticmethod(random_bias_field)


class RandBiasFieldAppearanced(AppearanceTransformd):
    """Dictionary transform of :func:`random_bias_field`; all keys share the random numbers."""

    array_class = RandBiasFieldAppearance


RandBiasFieldAppearanceD = RandBiasFieldAppearanceDict = RandBiasFieldAppearanced
