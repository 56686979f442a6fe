"""Random grey values for regions: clusters of the grey values, and labelled organs where there is a label.

SynthSeg (Billot et al., arXiv 2107.09559) draws every region's grey values anew from a label map. Here the
regions' means and spreads are drawn anew but the texture inside them stays, and the result is mixed with the
image, so that unlabelled anatomy (vessels, bowel, muscle) is not lost.
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
    recolour,
    smooth_field,
    table_positions,
    to_unit,
    uniform,
    vary_darkest_tissue,
)
from ._transform import AppearanceTransform, AppearanceTransformd

__all__ = [
    "RandRegionContrast",
    "RandRegionContrastD",
    "RandRegionContrastDict",
    "RandRegionContrastd",
    "random_region_contrast",
]

_MAX_LABELS = 256


def random_region_contrast(
    image: torch.Tensor,
    label: torch.Tensor | None = None,
    generator: torch.Generator | None = None,
    strength: float = 1.0,
    num_clusters: int = 6,
    label_probability: float = 0.5,
    value_range: tuple[float, float] = (-1.0, 1.0),
) -> torch.Tensor:
    """Give every region of each sample a random mean and contrast; air stays air.

    Regions are ``num_clusters`` soft clusters of the slightly smoothed grey values. In half the samples two
    random looks are blended by a smooth field, so that one grey value may look different in two places, as
    liver and spleen do in MRI. A labelled region gets a mean of its own with ``label_probability``.

    Args:
        image: (B, 1, H, W) or (B, 1, H, W, D) in ``value_range``, air at its low end.
        label: index map of the image's shape, 0 is unlabelled; never changed. None: clusters only.
        generator: source of randomness; None takes torch's default one.
        strength: 0..1, largest weight of the changed image (a sample's own is 0.5..1 of it); 0 is the
            identity.
        num_clusters: number of grey-value clusters.
        label_probability: share of (sample, labelled region) pairs that get a mean of their own.
        value_range: low and high end of the image.

    Raises:
        ValueError: the label's shape differs from the image's, or it has values outside 0..255.
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
    centres = _cluster_centres(unit, air, num_clusters)
    changed = _cluster_contrast(unit, guide, centres, generator)
    # Half the samples get a second look, blended in by place.
    twice = (uniform((image.shape[0],), 0.0, 1.0, image, generator) < 0.5).nonzero()[:, 0]
    if len(twice):
        second = _cluster_contrast(unit[twice], guide[twice], centres[twice], generator)
        place = torch.sigmoid(4.0 * smooth_field(second, 3, generator))
        changed = changed.index_copy(0, twice, torch.lerp(changed[twice], second, place))
    if label is not None:
        changed = _recolour_labels(changed, unit, label.long(), label_probability, generator)
    weight = per_sample(uniform((image.shape[0],), 0.5 * strength, strength, image, generator), image)
    mixed = torch.lerp(unit, changed.clamp(0.0, 1.0), weight)
    return from_unit(torch.lerp(mixed, unit, air), value_range)


def _cluster_centres(unit: torch.Tensor, air: torch.Tensor, num_clusters: int) -> torch.Tensor:
    """Centres (B, K), rising: a few rounds of one-dimensional k-means on quantiles of the body."""
    batch = unit.shape[0]
    levels = torch.linspace(0.005, 0.995, 128, device=unit.device, dtype=unit.dtype).expand(batch, -1)
    values = body_quantiles(unit, air, levels)
    low, high = values[:, :1], values[:, -1:]
    steps = torch.linspace(0.0, 1.0, num_clusters, device=unit.device, dtype=unit.dtype)
    # Between even steps of grey and of quantile: even greys alone leave empty clusters.
    picks = (steps * (values.shape[1] - 1)).round().long()
    centres = 0.5 * (low + (high - low) * steps) + 0.5 * values[:, picks]
    for _ in range(4):
        nearest = (values[:, :, None] - centres[:, None, :]).abs().argmin(dim=2)
        member = torch.nn.functional.one_hot(nearest, num_clusters).to(values.dtype)
        count = member.sum(dim=1)
        means = (member * values[:, :, None]).sum(dim=1) / count.clamp(min=1.0)
        centres = torch.where(count > 0, means, centres)
    return centres


def _cluster_contrast(
    unit: torch.Tensor, guide: torch.Tensor, centres: torch.Tensor, generator: torch.Generator | None
) -> torch.Tensor:
    """New mean and contrast per cluster; which cluster a pixel is in is read off the smoothed ``guide``."""
    batch, clusters = centres.shape
    # MRI has much dark and little bright tissue as often as the reverse: the exponent skews a whole sample.
    skew = uniform((batch, 1), -0.5, 1.0, unit, generator).exp()
    means = uniform((batch, clusters), 0.0, 1.0, unit, generator).pow(skew)
    means = vary_darkest_tissue(means, centres, generator)
    scales = uniform((batch, clusters), -0.5, 1.5, unit, generator)
    offsets = means - scales * centres
    # Softness of about a third of the usual distance between clusters.
    distance = (table_positions(unit)[None, :, None] - centres[:, None, :]).abs()
    member = torch.softmax(-distance * (6.0 * clusters), dim=2)
    offset_table = (member * offsets[:, None, :]).sum(dim=2)
    scale_table = (member * scales[:, None, :]).sum(dim=2)
    inside = apply_table(guide, offset_table) + apply_table(guide, scale_table) * unit
    return recolour(unit, offset_table + scale_table * table_positions(unit), inside)


def _recolour_labels(
    changed: torch.Tensor,
    unit: torch.Tensor,
    label: torch.Tensor,
    probability: float,
    generator: torch.Generator | None,
) -> torch.Tensor:
    """Move chosen labelled regions to a mean of their own, with an edge softened over one pixel."""
    if int(label.min()) < 0 or int(label.max()) >= _MAX_LABELS:
        raise ValueError(f"label: got values {int(label.min())}..{int(label.max())}; wanted 0..{_MAX_LABELS - 1}")
    batch, flat = unit.shape[0], label.flatten(1)
    sums = unit.new_zeros(batch, _MAX_LABELS).scatter_add_(1, flat, unit.flatten(1))
    counts = torch.zeros_like(sums).scatter_add_(1, flat, torch.ones_like(unit.flatten(1)))
    region_means = sums / counts.clamp(min=1.0)
    means = uniform((batch, _MAX_LABELS), 0.05, 0.95, unit, generator)
    scales = uniform((batch, _MAX_LABELS), -0.5, 1.5, unit, generator)
    chosen = (uniform((batch, _MAX_LABELS), 0.0, 1.0, unit, generator) < probability).to(unit.dtype)
    chosen[:, 0] = 0.0

    def at_pixels(table: torch.Tensor) -> torch.Tensor:
        return table.gather(1, flat).reshape(unit.shape)

    own = at_pixels(means - scales * region_means) + at_pixels(scales) * unit
    weight = at_pixels(chosen)
    # Only inwards, so that a neighbour never takes on the region's own offset.
    return torch.lerp(changed, own, weight * box_mean(weight))


class RandRegionContrast(AppearanceTransform):
    """Array transform of :func:`random_region_contrast` on a channel-first image (C, H, W[, D])."""

    function = staticmethod(random_region_contrast)
    takes_label = True


class RandRegionContrastd(AppearanceTransformd):
    """Dictionary transform of :func:`random_region_contrast`; ``label_key`` names the index map, if any."""

    array_class = RandRegionContrast


RandRegionContrastD = RandRegionContrastDict = RandRegionContrastd
