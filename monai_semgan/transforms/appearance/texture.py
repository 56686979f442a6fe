"""Random texture inside tissues: vessels as bright or dark dots and lines, amplified detail, mottle.

In a portal-venous CT slice at a few millimetres a pixel the liver is the flat region, and a network learns "flat is
liver". In MRI the same liver is full of bright vessels. Grey-value curves and region contrasts move whole tissues and
leave them flat; this gives them structure, the labelled organs more often than the rest.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F

from ._common import air_weight, check_image, check_strength, from_unit, per_sample, smooth_field, to_unit, uniform
from ._transform import AppearanceTransform, AppearanceTransformd

__all__ = ["RandTexture", "RandTextureD", "RandTextureDict", "RandTextured", "random_texture"]

_LINEAR = {4: "bilinear", 5: "trilinear"}

_DETAIL = 0.06
"""Detail beyond this share of the range is an edge between tissues, not texture."""


def random_texture(
    image: torch.Tensor,
    label: torch.Tensor | None = None,
    generator: torch.Generator | None = None,
    strength: float = 1.0,
    organ_probability: float = 0.5,
    height: float = 0.25,
    value_range: tuple[float, float] = (-1.0, 1.0),
) -> torch.Tensor:
    """Draw structure into each sample's tissues; air stays, and a tissue's mean moves by little (a tenth of the range).

    Four changes, each in a share of the samples: the image's own fine detail times -2..5; vessels in random parts of
    the body; vessels in the labelled organs; weak mottle. Sizes are shares of the slice's width (a vessel is 1 to 4 %
    of it), so that they do not depend on the resolution.

    Args:
        image: (B, 1, H, W) or (B, 1, H, W, D) in ``value_range``, air at its low end.
        label: index map of the image's shape, 0 is unlabelled. None: no organ is preferred.
        generator: source of randomness; None takes torch's default one.
        strength: 0..1, scales every change; 0 is the identity.
        organ_probability: share of samples whose labelled organs get vessels of their own.
        height: largest contrast of a vessel, as a share of the range.
        value_range: low and high end of the image.

    Raises:
        ValueError: the label's shape differs from the image's.
    """
    check_image(image, value_range)
    check_strength(strength)
    if label is not None and label.shape != image.shape:
        raise ValueError(f"label: got shape {tuple(label.shape)}; wanted the image's, {tuple(image.shape)}")
    if strength == 0.0 or not image.shape[0]:
        return image
    unit = to_unit(image, value_range)

    def number(low: float, high: float) -> torch.Tensor:
        return per_sample(uniform((len(unit),), low, high, unit, generator), unit)

    def some(share: float) -> torch.Tensor:
        return (number(0.0, 1.0) < share).to(unit.dtype)

    fine = unit - _coarse(unit, generator)
    gain = torch.where(number(0.0, 1.0) < 0.3, number(-3.0, 0.0), number(0.0, 4.0))
    change = some(0.4) * gain * fine.clamp(-_DETAIL, _DETAIL)
    place = (1.5 * smooth_field(unit, 5, generator) + number(-0.5, 1.0)).clamp(0.0, 1.0)
    change = change + some(0.45) * place * _vessels(unit, number, generator) * number(0.03, height)
    if label is not None:
        inside = (label > 0).to(unit.dtype)
        vessels = _vessels(unit, number, generator) * number(0.05, height)
        change = change + some(organ_probability) * inside * vessels
    nodes = int(uniform((1,), 20.0, 64.0, unit.new_zeros(1, device="cpu"), generator))
    change = change + some(0.25) * smooth_field(unit, nodes, generator) * number(0.0, 0.05)
    return from_unit(unit + strength * (1.0 - air_weight(unit)) * change, value_range)


def _coarse(unit: torch.Tensor, generator: torch.Generator | None) -> torch.Tensor:
    """The image without what is finer than a random 1.5 to 5 % of the width."""
    blocks = int(uniform((1,), 20.0, 64.0, unit.new_zeros(1, device="cpu"), generator))
    small = F.interpolate(unit, size=[min(blocks, n) for n in unit.shape[2:]], mode="area")
    return F.interpolate(small, size=unit.shape[2:], mode=_LINEAR[unit.ndim], align_corners=False)


def _vessels(unit: torch.Tensor, number, generator: torch.Generator | None) -> torch.Tensor:
    """Lines (where a smooth field crosses zero) and dots (its peaks) of about unit height, three in four bright."""
    coarse = unit.new_zeros(1, device="cpu")
    lines = int(uniform((1,), 12.0, 31.0, coarse, generator))
    dots = int(uniform((1,), 21.0, 40.0, coarse, generator))
    ridge = torch.exp(-(smooth_field(unit, lines, generator) / number(0.07, 0.25)).square())
    ridge = ridge * (smooth_field(unit, max(4, lines * 2 // 3), generator) + 0.4).clamp(0.0, 1.0)
    spot = (1.4 * smooth_field(unit, dots, generator) - number(0.3, 1.2)).clamp(0.0, 1.2)
    sign = torch.where(number(0.0, 1.0) < 0.75, 1.0, -1.0).to(unit.dtype)
    return sign * torch.lerp(spot, ridge, number(0.0, 1.0))


class RandTexture(AppearanceTransform):
    """Array transform of :func:`random_texture` on a channel-first image (C, H, W[, D])."""

    function = staticmethod(random_texture)
    takes_label = True


class RandTextured(AppearanceTransformd):
    """Dictionary transform of :func:`random_texture`; ``label_key`` names the index map, if any."""

    array_class = RandTexture


RandTextureD = RandTextureDict = RandTextured
