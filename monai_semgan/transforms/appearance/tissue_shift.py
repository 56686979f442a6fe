"""Two grey-value shifts that MRI has and no curve of CT values makes: lifted dark tissue, and single dark organs."""

from __future__ import annotations

import torch

from ._common import air_weight, box_mean, check_image, check_strength, from_unit, per_sample, to_unit, uniform
from ._transform import AppearanceTransform, AppearanceTransformd

__all__ = ["RandTissueShift", "RandTissueShiftD", "RandTissueShiftDict", "RandTissueShiftd", "random_tissue_shift"]


def random_tissue_shift(
    image: torch.Tensor,
    label: torch.Tensor | None = None,
    generator: torch.Generator | None = None,
    strength: float = 1.0,
    lift_probability: float = 0.4,
    organ_probability: float = 0.12,
    value_range: tuple[float, float] = (-1.0, 1.0),
) -> torch.Tensor:
    """Bring dark tissue nearer to the organs in some samples, and move the labelled organs alone in others.

    The lift (up to 0.45 of the way to the top of the range) stands for fat-suppressed MRI, where organs lie in grey
    surroundings and not in black fat; the organs' move (to 0.2..1.1 of their grey value) for organs with a signal of
    their own, such as a liver with iron that is nearly as dark as air.

    Args:
        image: (B, 1, H, W) or (B, 1, H, W, D) in ``value_range``, air at its low end.
        label: index map of the image's shape, 0 is unlabelled. None: the lift alone.
        generator: source of randomness; None takes torch's default one.
        strength: 0..1, scales both; 0 is the identity.
        lift_probability: share of samples whose dark tissue is lifted.
        organ_probability: share of samples whose labelled organs are moved.
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

    def chosen(share: float, low: float, high: float) -> torch.Tensor:
        draws = uniform((len(unit), 2), 0.0, 1.0, unit, generator)
        return per_sample((draws[:, 0] < share) * (low + (high - low) * draws[:, 1]), unit)

    body = 1.0 - air_weight(unit)
    unit = unit + strength * chosen(lift_probability, 0.0, 0.45) * body * (1.0 - unit)
    if label is not None:
        inside = (label > 0).to(unit.dtype)
        loss = chosen(organ_probability, -0.1, 0.8)
        # softened inwards over a pixel, as a border between two tissues is
        unit = unit * (1.0 - strength * loss * inside * box_mean(inside))
    return from_unit(unit, value_range)


class RandTissueShift(AppearanceTransform):
    """Array transform of :func:`random_tissue_shift` on a channel-first image (C, H, W[, D])."""

    function = staticmethod(random_tissue_shift)
    takes_label = True


class RandTissueShiftd(AppearanceTransformd):
    """Dictionary transform of :func:`random_tissue_shift`; ``label_key`` names the index map, if any."""

    array_class = RandTissueShift


RandTissueShiftD = RandTissueShiftDict = RandTissueShiftd
