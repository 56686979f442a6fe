"""CT redrawn in the order of tissues that MRI has.

Random curves and regions give every order of grey values the same chance, and the few that scanners make are rare among
them. What MRI shows is known beforehand, without a single MRI: T2-weighted images have fluid brightest and muscle dark,
T1-weighted ones the reverse, fat is bright or suppressed, iron makes a liver dark. A windowed CT tells these tissues
apart by their grey value, so a curve with one knot a tissue can draw them so (as simulators draw from label maps,
e.g. SynthSeg, arXiv 2107.09559, here with plausible signals in place of uniform ones and without a label map).
"""

from __future__ import annotations

import torch

from ._common import (
    air_weight,
    apply_table,
    body_quantiles,
    box_mean,
    check_image,
    check_strength,
    from_unit,
    per_sample,
    piecewise_table,
    recolour,
    table_positions,
    to_unit,
    uniform,
)
from ._transform import AppearanceTransform, AppearanceTransformd

__all__ = ["RandMRContrast", "RandMRContrastD", "RandMRContrastDict", "RandMRContrastd", "random_mr_contrast"]

_WINDOW = (-125.0, 275.0)
"""HU at the ends of the image's range: the window that CT is scaled with before training."""

# lowest and highest signal of each tissue, as a share of the range; a second pair is used in the given share of samples
_T2 = {
    "fat": ((0.03, 0.25), (0.4, 0.9), 0.2),
    "muscle": ((0.12, 0.32), None, 0.0),
    "organ": ((0.25, 0.6), (0.05, 0.25), 0.25),
    "spleen": ((0.45, 0.95), None, 0.0),
    "vessel": ((0.4, 1.0), None, 0.0),
    "bone": ((0.05, 0.3), (0.4, 1.0), 0.4),
    "fluid": ((0.7, 1.0), None, 0.0),
}
_T1 = {
    "fat": ((0.7, 1.0), (0.05, 0.3), 0.5),
    "muscle": ((0.25, 0.45), None, 0.0),
    "organ": ((0.4, 0.7), None, 0.0),
    "spleen": ((0.25, 0.5), None, 0.0),
    "vessel": ((0.2, 0.5), (0.7, 1.0), 0.5),
    "bone": ((0.05, 0.3), (0.2, 1.0), 0.4),
    "fluid": ((0.05, 0.25), None, 0.0),
}


def random_mr_contrast(
    image: torch.Tensor,
    label: torch.Tensor | None = None,
    generator: torch.Generator | None = None,
    strength: float = 1.0,
    t2_probability: float = 0.6,
    value_range: tuple[float, float] = (-1.0, 1.0),
) -> torch.Tensor:
    """Give fat, fluid, muscle, organ, spleen, vessels and bone of a CT the signals of a random MRI sequence.

    Tissues are told apart by grey value in the CT window of -125 to 275 HU, in a slightly smoothed image (liver and
    spleen lie 20 HU apart, noise is no less); edges stay edges, and some of the texture stays. The result is scaled so
    that the body's median is where MRI's is put.

    Args:
        image: (B, 1, H, W) or (B, 1, H, W, D) windowed CT in ``value_range``, air at its low end.
        label: index map of the image's shape, 0 is unlabelled: the labelled organs' mean is where the organ's knot is
            put. None: at 105 HU, a liver in the portal-venous phase.
        generator: source of randomness; None takes torch's default one.
        strength: 0..1, weight of the changed image; 0 is the identity.
        t2_probability: share of samples drawn as T2-weighted; the rest is T1-weighted.
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
    air = air_weight(unit)
    guide = box_mean(unit)
    table = _tissue_table(unit, _organ_level(guide, label), t2_probability, generator)
    texture = per_sample(uniform((len(unit),), 0.3, 1.0, unit, generator), unit)
    changed = recolour(unit, table, apply_table(guide, table) + texture * (unit - guide)).clamp(0.0, 1.0)
    changed = _scale_median(changed, air, uniform((len(unit),), 0.33, 0.55, unit, generator))
    return from_unit(torch.lerp(torch.lerp(unit, changed, strength), unit, air), value_range)


def _level(hounsfield: float) -> float:
    return (hounsfield - _WINDOW[0]) / (_WINDOW[1] - _WINDOW[0])


def _organ_level(guide: torch.Tensor, label: torch.Tensor | None) -> torch.Tensor:
    """Grey value (B,) of the labelled organs, kept within what livers have: 75 to 150 HU."""
    usual = guide.new_full((len(guide),), _level(105.0))
    if label is None:
        return usual
    inside = (label > 0).to(guide.dtype).flatten(1)
    count = inside.sum(dim=1)
    mean = (inside * guide.flatten(1)).sum(dim=1) / count.clamp(min=1.0)
    return torch.where(count >= 100, mean.clamp(_level(75.0), _level(150.0)), usual)


def _tissue_table(
    unit: torch.Tensor, organ: torch.Tensor, t2_probability: float, generator: torch.Generator | None
) -> torch.Tensor:
    """Curve (B, bins) with a plateau for each tissue."""
    batch = len(unit)
    is_t2 = uniform((batch,), 0.0, 1.0, unit, generator) < t2_probability
    signal = {name: _draw(name, is_t2, unit, generator) for name in _T2}

    def jitter(low: float, high: float) -> torch.Tensor:
        return uniform((batch,), low, high, unit, generator) / (_WINDOW[1] - _WINDOW[0])

    muscle = torch.minimum(_level(52.0) + jitter(-8, 8), organ - 28 / 400)
    zero = torch.zeros_like(organ)
    knots = [
        (zero, zero),
        (zero + _level(-112.0), signal["fat"]),
        (_level(-60.0) + jitter(-15, 15), signal["fat"]),
        (muscle - 12 / 400, signal["muscle"]),
        (muscle + 5 / 400, signal["muscle"]),
        (organ - 12 / 400, signal["organ"]),
        (organ + 10 / 400, signal["organ"]),
        (organ + jitter(34, 44), signal["spleen"]),
        (organ + jitter(65, 95), signal["vessel"]),
        (zero + 1.0, signal["bone"]),
    ]
    table = piecewise_table(*(torch.stack(part, dim=1) for part in zip(*knots, strict=True)))
    # fluid lies between fat and muscle; what only passes through that value on an edge is handled by recolour
    bump = torch.exp(-(((table_positions(unit) - _level(12.0)) / (16 / 400)) ** 2))
    return torch.lerp(table, signal["fluid"][:, None].expand_as(table), bump.expand_as(table))


def _draw(name: str, is_t2: torch.Tensor, unit: torch.Tensor, generator: torch.Generator | None) -> torch.Tensor:
    """Signal (B,) of one tissue."""
    where, other = (uniform(is_t2.shape, 0.0, 1.0, unit, generator) for _ in range(2))
    drawn = []
    for usual, rare, share in (_T2[name], _T1[name]):
        low, high = (torch.full_like(where, end) for end in usual)
        if rare is not None:
            low, high = (torch.where(other < share, end, kept) for end, kept in zip(rare, (low, high), strict=True))
        drawn.append(low + (high - low) * where)
    return torch.where(is_t2, *drawn)


def _scale_median(unit: torch.Tensor, air: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
    """Raise to the power that puts the body's median at ``wanted`` (B,), within .5 to 1.8."""
    middle = body_quantiles(unit, air, unit.new_full((len(unit), 1), 0.5))[:, 0].clamp(0.02, 0.98)
    power = (wanted.log() / middle.log()).clamp(0.5, 1.8)
    return unit.clamp(min=1e-4) ** per_sample(power, unit)


class RandMRContrast(AppearanceTransform):
    """Array transform of :func:`random_mr_contrast` on a channel-first image (C, H, W[, D])."""

    function = staticmethod(random_mr_contrast)
    takes_label = True


class RandMRContrastd(AppearanceTransformd):
    """Dictionary transform of :func:`random_mr_contrast`; ``label_key`` names the index map, if any."""

    array_class = RandMRContrast


RandMRContrastD = RandMRContrastDict = RandMRContrastd
