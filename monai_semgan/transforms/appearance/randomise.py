"""Appearance randomisation: every kind of grey-value change at random, geometry untouched.

A network trained on one modality under this sees every tissue at every grey value, and must go by shape and
place: the single-source route to MRI from CT labels (GIN of Ouyang et al., arXiv 2111.12525, is one part of
it).
"""

from __future__ import annotations

from collections.abc import Mapping

import torch

from ._common import (
    air_weight,
    body_quantiles,
    body_spread,
    check_image,
    check_strength,
    from_unit,
    per_sample,
    to_unit,
    uniform,
)
from ._transform import AppearanceTransform, AppearanceTransformd
from .bias_field import random_bias_field
from .blur_noise import random_blur_noise
from .gray_curve import random_gray_curve
from .random_convolution import random_convolution
from .region_contrast import random_region_contrast
from .texture import random_texture
from .tissue_shift import random_tissue_shift

__all__ = [
    "APPEARANCE_PROBABILITIES",
    "RandAppearance",
    "RandAppearanceD",
    "RandAppearanceDict",
    "RandAppearanced",
    "randomise_appearance",
]

APPEARANCE_PROBABILITIES: Mapping[str, float] = {
    "region": 0.5,
    "curve": 0.4,
    "convolution": 0.35,
    "bias": 0.5,
    "range": 0.8,
    "shift": 0.9,
    "texture": 0.9,
    "blur_noise": 0.3,
}
"""Default probability per sample of each change, in the order in which they are applied."""


def randomise_appearance(
    image: torch.Tensor,
    label: torch.Tensor | None = None,
    generator: torch.Generator | None = None,
    strength: float = 1.0,
    probabilities: Mapping[str, float] | None = None,
    value_range: tuple[float, float] = (-1.0, 1.0),
    contrast_strength: float | None = None,
) -> torch.Tensor:
    """Change the grey values of each sample at random, leaving its anatomy where it is.

    Args:
        image: (B, 1, H, W) or (B, 1, H, W, D) in ``value_range``, air at its low end.
        label: index map of the image's shape, 0 is unlabelled; guides the regions, never changed. May be
            None.
        generator: source of randomness, on any device; None takes torch's default one.
        strength: 0..1; scales every change; 0 is the identity.
        probabilities: per-sample probability by name; names left out keep :data:`APPEARANCE_PROBABILITIES`:
            "region" contrast, grey "curve", random "convolution", "bias" field, percentile "range" as MRI is
            scaled, tissue "shift", "texture", "blur_noise".
        value_range: low and high end of the image.
        contrast_strength: strength of all changes but "shift" and "texture"; None: ``strength``.

    Raises:
        ValueError: a name in ``probabilities`` is unknown, or an image or a label has a wrong shape.

    Example:
        >>> image = torch.rand(2, 1, 16, 16) * 2 - 1
        >>> randomise_appearance(image, generator=torch.Generator().manual_seed(0)).shape
        torch.Size([2, 1, 16, 16])
    """
    check_image(image, value_range)
    check_strength(strength)
    contrast_strength = strength if contrast_strength is None else contrast_strength
    check_strength(contrast_strength)
    if label is not None and label.shape != image.shape:
        raise ValueError(f"label: got shape {tuple(label.shape)}; wanted the image's, {tuple(image.shape)}")
    chances = _merge_probabilities(probabilities)
    if strength == 0.0 or not image.shape[0]:
        return image
    source = unit = to_unit(image.detach(), value_range)
    for name, chance in chances.items():
        if name == "bias":  # the contrasts are drawn; what follows only degrades them
            unit = _keep_contrast(unit, source)
        chosen = (uniform((unit.shape[0],), 0.0, 1.0, unit, generator) < chance).nonzero()[:, 0]
        if not len(chosen):
            continue
        part = unit[chosen]
        own = strength if name in ("shift", "texture") else contrast_strength
        if name in _WITH_LABEL:
            regions = None if label is None else label[chosen]
            part = _WITH_LABEL[name](part, regions, generator, own, value_range=(0.0, 1.0))
        else:
            part = _CHANGES[name](part, generator, own, value_range=(0.0, 1.0))
        unit = unit.index_copy(0, chosen, part)
    return from_unit(unit, value_range)


def _merge_probabilities(probabilities: Mapping[str, float] | None) -> dict[str, float]:
    chances = dict(APPEARANCE_PROBABILITIES)
    for name, chance in (probabilities or {}).items():
        if name not in chances:
            raise ValueError(f"probabilities: got {name!r}; wanted one of {', '.join(chances)}")
        if not 0.0 <= chance <= 1.0:
            raise ValueError(f"probabilities[{name!r}]: got {chance}; wanted a number in 0..1")
        chances[name] = float(chance)
    return chances


def _keep_contrast(unit: torch.Tensor, source: torch.Tensor) -> torch.Tensor:
    """Mix the source back into samples whose tissues have all but fallen together."""
    spread = body_spread(unit, air_weight(source))
    return torch.lerp(unit, source, per_sample(0.6 * (1.0 - spread / 0.2).clamp(0.0, 1.0), unit))


def _stretch_range(
    unit: torch.Tensor, generator: torch.Generator | None, strength: float, value_range: tuple[float, float]
) -> torch.Tensor:
    """Scale as MRI is scaled before a network sees it: a high percentile of the body goes to the top."""
    del value_range
    batch = unit.shape[0]
    low, high = (
        uniform((batch, 1), 0.0, 0.02, unit, generator),
        uniform((batch, 1), 0.97, 1.0, unit, generator),
    )
    edges = body_quantiles(unit, air_weight(unit), torch.cat([low, high], dim=1))
    # The dark end moves to air only part of the way: MRI's low percentile is air or nearly so.
    start = edges[:, :1] * uniform((batch, 1), 0.0, 1.0, unit, generator)
    top = uniform((batch, 1), 0.85, 1.0, unit, generator)
    gain = top / (edges[:, 1:] - start).clamp(min=0.15)
    scaled = (unit - per_sample(start[:, 0], unit)) * per_sample(gain[:, 0], unit)
    return torch.lerp(unit, scaled.clamp(0.0, 1.0), strength)


_WITH_LABEL = {"region": random_region_contrast, "shift": random_tissue_shift, "texture": random_texture}

_CHANGES = {
    "curve": random_gray_curve,
    "convolution": random_convolution,
    "range": _stretch_range,
    "bias": random_bias_field,
    "blur_noise": random_blur_noise,
}


class RandAppearance(AppearanceTransform):
    """Array transform of :func:`randomise_appearance` on a channel-first image (C, H, W[, D])."""

    function = staticmethod(randomise_appearance)
    takes_label = True


class RandAppearanced(AppearanceTransformd):
    """Dictionary transform of :func:`randomise_appearance`; ``label_key`` names the index map, if any."""

    array_class = RandAppearance


RandAppearanceD = RandAppearanceDict = RandAppearanced
