"""Random grey-value curves, one per sample: monotone, inverted or freely up and down.

A new modality gives every tissue a new grey value; a curve does so without moving anything. Knots sit at the
quantiles of the sample's own body, so that tissues close together in the source (organs in a CT window) get
knots of their own. After the Bezier curves of Zhou et al., "Models Genesis" (arXiv 2004.07882), widened to
curves that are not monotone.
"""

from __future__ import annotations

import torch

from ._common import (
    AIR_LEVEL,
    air_weight,
    body_quantiles,
    check_image,
    check_strength,
    from_unit,
    piecewise_table,
    recolour,
    to_unit,
    uniform,
    vary_darkest_tissue,
)
from ._transform import AppearanceTransform, AppearanceTransformd

__all__ = ["RandGrayCurve", "RandGrayCurveD", "RandGrayCurveDict", "RandGrayCurved", "random_gray_curve"]


def random_gray_curve(
    image: torch.Tensor,
    generator: torch.Generator | None = None,
    strength: float = 1.0,
    num_knots: tuple[int, int] = (4, 10),
    monotone_probability: float = 0.4,
    value_range: tuple[float, float] = (-1.0, 1.0),
) -> torch.Tensor:
    """Send the grey values of each sample through a random curve of its own; air stays air.

    Args:
        image: (B, 1, H, W) or (B, 1, H, W, D) in ``value_range``, air at its low end.
        generator: source of randomness; None takes torch's default one.
        strength: 0..1, weight of the changed image; 0 is the identity.
        num_knots: fewest and most knots of a curve.
        monotone_probability: share of rising curves; a quarter as many are falling (inversion), the rest
            free.
        value_range: low and high end of the image.
    """
    check_image(image, value_range)
    check_strength(strength)
    if strength == 0.0 or not image.shape[0]:
        return image
    unit = to_unit(image, value_range)
    air = air_weight(unit)
    table = piecewise_table(*_random_curves(unit, air, num_knots, monotone_probability, generator))
    changed = torch.lerp(recolour(unit, table), unit, air)
    return from_unit(torch.lerp(unit, changed, strength), value_range)


def _random_curves(
    unit: torch.Tensor,
    air: torch.Tensor,
    num_knots: tuple[int, int],
    monotone_probability: float,
    generator: torch.Generator | None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Knots and values (B, most): fewer knots are had by merging neighbours."""
    batch, most = unit.shape[0], num_knots[1]
    count = uniform((batch, 1), num_knots[0], num_knots[1] + 1, unit, generator).floor().clamp(max=most)
    slots = torch.arange(most, device=unit.device, dtype=unit.dtype).expand(batch, -1)
    # Equal shares of the body plus jitter; slots beyond the count all fall on the last quantile.
    jitter = uniform((batch, most), -0.4, 0.4, unit, generator)
    levels = ((slots + jitter) / (count - 1).clamp(min=1)).clamp(0.0, 1.0)
    knots = body_quantiles(unit, air, levels.sort(dim=1).values)
    knots = _spread(torch.lerp(knots, levels.sort(dim=1).values, 0.2))
    free = uniform((batch, most), 0.0, 1.0, unit, generator)
    rising = free.cumsum(dim=1)
    rising = (rising - rising[:, :1]) / (rising[:, -1:] - rising[:, :1]).clamp(min=1e-6)
    span = uniform((batch, 1), 0.5, 1.0, unit, generator)
    base = uniform((batch, 1), 0.0, 1.0, unit, generator) * (1.0 - span)
    kind = uniform((batch, 1), 0.0, 1.0, unit, generator)
    free = vary_darkest_tissue(free, knots, generator)
    values = torch.where(kind < monotone_probability, base + span * rising, free)
    values = torch.where(
        (kind >= monotone_probability) & (kind < 1.25 * monotone_probability),
        base + span * (1.0 - rising),
        values,
    )
    return knots, values


def _spread(knots: torch.Tensor) -> torch.Tensor:
    """Move knots at least two air levels apart: a steeper curve would turn scanner noise into texture."""
    gap = 2.0 * AIR_LEVEL
    steps = torch.arange(knots.shape[1], device=knots.device, dtype=knots.dtype) * gap
    return (knots - steps).cummax(dim=1).values + steps


class RandGrayCurve(AppearanceTransform):
    """Array transform of :func:`random_gray_curve` on a channel-first image (C, H, W[, D])."""

    function = staticmethod(random_gray_curve)


class RandGrayCurved(AppearanceTransformd):
    """Dictionary transform of :func:`random_gray_curve`; all keys share the random numbers."""

    array_class = RandGrayCurve


RandGrayCurveD = RandGrayCurveDict = RandGrayCurved
