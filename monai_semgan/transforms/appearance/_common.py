"""Shared pieces of the appearance randomisers: random draws, ranges, air, quantiles, look-up tables.

Inside this package an image is in the unit range: 0 is air (the low end of the caller's range), 1 the high
end. Shapes are ``(B, 1, H, W)`` or ``(B, 1, H, W, D)`` throughout; a per-sample number has shape ``(B,)``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F

__all__: list[str] = []

# Grey values below this share of the range count as air. In the CT window (-125, 275) HU it is -113 HU: below
# nearly all fat (-110..-80 HU), so that fat can be given any new grey value while air stays where it is.
AIR_LEVEL = 0.03
_QUANTILE_PIXELS = 2048
_TABLE_BINS = 256


def check_image(image: torch.Tensor, value_range: tuple[float, float]) -> None:
    """Refuse anything that is not a floating ``(B, 1, H, W[, D])`` batch with an increasing range."""
    if image.ndim not in (4, 5) or image.shape[1] != 1:
        raise ValueError(f"image: got shape {tuple(image.shape)}; wanted (B, 1, H, W) or (B, 1, H, W, D)")
    if not image.is_floating_point():
        raise ValueError(f"image: got dtype {image.dtype}; wanted a floating type (scale the image first)")
    if not value_range[0] < value_range[1]:
        raise ValueError(f"value_range: got {value_range}; wanted (low, high) with low < high")


def check_strength(strength: float) -> None:
    """Refuse a strength outside 0 (identity) .. 1 (full)."""
    if not 0.0 <= strength <= 1.0:
        raise ValueError(f"strength: got {strength}; wanted a number in 0..1 (0 leaves the image as it is)")


def to_unit(image: torch.Tensor, value_range: tuple[float, float]) -> torch.Tensor:
    """Map ``[low, high]`` to ``[0, 1]``; values outside are clipped."""
    low, high = value_range
    return ((image - low) / (high - low)).clamp(0.0, 1.0)


def from_unit(unit: torch.Tensor, value_range: tuple[float, float]) -> torch.Tensor:
    """Map ``[0, 1]`` back to ``[low, high]``; values outside are clipped."""
    low, high = value_range
    return unit.clamp(0.0, 1.0) * (high - low) + low


def uniform(
    shape: Sequence[int], low: float, high: float, like: torch.Tensor, generator: torch.Generator | None
) -> torch.Tensor:
    """Uniform draws in ``[low, high)``, made on the generator's device and moved to that of ``like``."""
    device = generator.device if generator is not None else like.device
    draws = torch.rand(tuple(shape), generator=generator, device=device)
    return (draws * (high - low) + low).to(device=like.device, dtype=like.dtype)


def normal(shape: Sequence[int], like: torch.Tensor, generator: torch.Generator | None) -> torch.Tensor:
    """Standard normal draws, made where the generator lives and moved to the device of ``like``."""
    device = generator.device if generator is not None else like.device
    return torch.randn(tuple(shape), generator=generator, device=device).to(device=like.device, dtype=like.dtype)


def per_sample(values: torch.Tensor, image: torch.Tensor) -> torch.Tensor:
    """Reshape ``(B,)`` so that it broadcasts over a ``(B, 1, ...)`` image."""
    return values.reshape(-1, *([1] * (image.ndim - 1)))


def box_mean(image: torch.Tensor) -> torch.Tensor:
    """Mean over the 3 x 3 (x 3) neighbourhood; at the edge over the neighbours that exist."""
    if image.ndim == 4:
        return F.avg_pool2d(image, 3, stride=1, padding=1, count_include_pad=False)
    return F.avg_pool3d(image, 3, stride=1, padding=1, count_include_pad=False)


def air_weight(unit: torch.Tensor) -> torch.Tensor:
    """1 in air, 0 in tissue, in between at partial volume; lone dark pixels inside fat are not air."""
    dark = (1.0 - unit / AIR_LEVEL).clamp(0.0, 1.0)
    return dark * (2.5 * box_mean(dark) - 0.5).clamp(0.0, 1.0)


def smooth_field(image: torch.Tensor, nodes: int, generator: torch.Generator | None) -> torch.Tensor:
    """Smooth random field per sample, about unit height: normal draws on ``nodes`` per axis, interpolated."""
    batch, axes = image.shape[0], image.ndim - 2
    grid = normal((batch, 1, *([nodes] * axes)), image, generator)
    if axes == 2:
        return F.interpolate(grid, size=image.shape[2:], mode="bicubic", align_corners=True)
    return F.interpolate(grid, size=image.shape[2:], mode="trilinear", align_corners=True)


def body_quantiles(unit: torch.Tensor, air: torch.Tensor, levels: torch.Tensor) -> torch.Tensor:
    """Grey values at the given quantiles ``levels`` (B, Q) of the pixels that are not air -> (B, Q).

    A sample with no body gets the levels themselves. A regular subset of the pixels is enough.
    """
    values, mask = unit.flatten(1), air.flatten(1)
    # An odd stride does not fall on the same columns of every row, as a divisor of the width would.
    step = max(1, values.shape[1] // _QUANTILE_PIXELS) | 1
    values, mask = values[:, ::step], mask[:, ::step]
    ordered = torch.where(mask > 0.5, torch.full_like(values, 2.0), values).sort(dim=1).values
    count = (mask <= 0.5).sum(dim=1, keepdim=True)
    index = (levels * (count - 1).clamp(min=0)).round().long()
    return torch.where(count > 0, ordered.gather(1, index), levels)


def body_spread(unit: torch.Tensor, air: torch.Tensor) -> torch.Tensor:
    """Distance (B,) between the body's 10 % and 90 % quantiles: about 0.5 in a CT slice of the abdomen."""
    edges = body_quantiles(unit, air, unit.new_tensor([0.1, 0.9]).expand(unit.shape[0], 2))
    return edges[:, 1] - edges[:, 0]


def table_positions(like: torch.Tensor) -> torch.Tensor:
    """Grey values (bins,) at which a look-up table for :func:`apply_table` is sampled."""
    return torch.linspace(0.0, 1.0, _TABLE_BINS, device=like.device, dtype=like.dtype)


def apply_table(unit: torch.Tensor, table: torch.Tensor) -> torch.Tensor:
    """Linear interpolation of one table (B, bins) per sample at every grey value of the sample."""
    position = unit.flatten(1).clamp(0.0, 1.0) * (table.shape[1] - 1)
    lower = position.long().clamp(max=table.shape[1] - 2)
    start = table.gather(1, lower)
    slope = (table[:, 1:] - table[:, :-1]).gather(1, lower)
    return (start + slope * (position - lower)).reshape(unit.shape)


def _neighbourhood(image: torch.Tensor, extreme: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]) -> torch.Tensor:
    """Largest or smallest value of the 3 x 3 (x 3) neighbourhood, by axis: faster than pooling on a CPU."""
    for axis in range(2, image.ndim):
        length = image.shape[axis]
        if length < 2:
            continue
        pairs = extreme(image.narrow(axis, 0, length - 1), image.narrow(axis, 1, length - 1))
        inner = extreme(pairs.narrow(axis, 0, length - 2), pairs.narrow(axis, 1, length - 2))
        image = torch.cat([pairs.narrow(axis, 0, 1), inner, pairs.narrow(axis, length - 2, 1)], dim=axis)
    return image


def recolour(unit: torch.Tensor, table: torch.Tensor, inside: torch.Tensor | None = None) -> torch.Tensor:
    """Apply a table (B, bins), but carry edges over as edges.

    A pixel half fat, half liver has a grey value that belongs to a third tissue; its new value must lie
    between the new values of fat and liver, or every border is drawn as a line. So where the 3 x 3 (x 3)
    neighbourhood spans two tissues the pixel keeps its place between the neighbourhood's ends, and the ends
    are recoloured. ``inside`` is used where the neighbourhood is flat; the table's own values by default.
    """
    high, low = _neighbourhood(unit, torch.maximum), _neighbourhood(unit, torch.minimum)
    span = high - low
    ends = table * (table_positions(unit) / AIR_LEVEL).clamp(max=1.0)
    edge = torch.lerp(apply_table(low, ends), apply_table(high, ends), (unit - low) / span.clamp(min=1e-3))
    inside = apply_table(unit, table) if inside is None else inside
    return torch.lerp(inside, edge, ((span - 0.12) / 0.12).clamp(0.0, 1.0))


def vary_darkest_tissue(
    values: torch.Tensor, positions: torch.Tensor, generator: torch.Generator | None
) -> torch.Tensor:
    """Make the tissue next to air black or bright more often than chance would; (B, K) both.

    In the CT window that tissue is fat, which T1-weighted MRI shows bright and fat-suppressed MRI (SPIR)
    black.
    """
    batch = values.shape[0]
    kind = uniform((batch, 1), 0.0, 1.0, values, generator)
    black = uniform(values.shape, 0.0, 0.1, values, generator)
    bright = uniform((batch, 1), 0.6, 1.0, values, generator)
    drawn = torch.where(kind < 0.3, black, torch.where(kind < 0.6, bright, values))
    return torch.where(positions < 0.18, drawn, values)


def piecewise_table(knots: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
    """Table of the piecewise-linear curves through ``(knots, values)``, (B, K) each, knots rising."""
    positions = table_positions(knots).expand(knots.shape[0], -1).contiguous()
    right = torch.searchsorted(knots.contiguous(), positions).clamp(1, knots.shape[1] - 1)
    x0, x1 = knots.gather(1, right - 1), knots.gather(1, right)
    y0, y1 = values.gather(1, right - 1), values.gather(1, right)
    share = ((positions - x0) / (x1 - x0).clamp(min=1e-6)).clamp(0.0, 1.0)
    return y0 + (y1 - y0) * share
