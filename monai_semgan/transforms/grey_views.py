"""Other looks of the same scan: small, deterministic changes of grey values that leave the anatomy in place.

A network that answers alike for all of them is surer of its answer than one that does not. Every view takes
a float image ``(B, C, H, W)`` or ``(B, C, H, W, D)`` in [-1, 1] with air at -1, and gives a new one of the
same shape and range; all slices of a volume go through the same grey-value curve.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

__all__ = ["GREY_VIEWS"]

_AIR = 0.03
"""Grey values up to this, in [0, 1], are air: -113 HU in the CT window, below nearly all fat."""
_MAX_VOXELS = 200_000
_RADIUS = 1
"""In pixels, of the square of ``smooth``: spots narrower than three pixels go."""
_GREY_STEPS = 2**15

_LEVELS = (0.005, *(k / 20 for k in range(1, 20)), 0.995)
_CT_QUANTILES = (
    0.033, 0.054, 0.069, 0.084, 0.101, 0.123, 0.151, 0.185, 0.224, 0.266, 0.307,
    0.348, 0.386, 0.428, 0.474, 0.518, 0.550, 0.577, 0.633, 0.776, 0.998,
)  # fmt: skip
"""Quantiles at ``_LEVELS`` of the body's grey values in [0, 1]: mean of 16 portal-venous abdominal CT, -125..275 HU."""


def _same(image: torch.Tensor) -> torch.Tensor:
    return image


def _median(image: torch.Tensor) -> torch.Tensor:
    """Median of the 3 x 3 pixels in the plane; the edge is repeated outwards."""
    low, middle, high = _sort3(*_shifts(image, 2))
    # The median of nine is the median of three: of the columns' smallest the largest, of their middle ones the
    # middle one, of their largest the smallest. So three copies of the volume are enough, not nine.
    largest_low = torch.stack(_shifts(low, 3)).amax(dim=0)
    smallest_high = torch.stack(_shifts(high, 3)).amin(dim=0)
    return _sort3(largest_low, _sort3(*_shifts(middle, 3))[1], smallest_high)[1]


def _smooth(image: torch.Tensor) -> torch.Tensor:
    """Opening, then closing by reconstruction, slice by slice: small bright, then small dark spots go, edges stay."""
    import SimpleITK

    slices = image.detach().cpu().movedim((2, 3), (-2, -1))
    # Whole numbers: ITK's erosion takes floats that differ in the last bit for equal, and then the
    # reconstruction refuses its marker.
    flat = (slices * _GREY_STEPS).round().to(torch.int32).reshape(-1, *slices.shape[-2:]).numpy()
    out = np.empty_like(flat)
    for number, plane in enumerate(flat):
        picture = SimpleITK.GetImageFromArray(plane)
        picture = SimpleITK.OpeningByReconstruction(picture, [_RADIUS] * 2, SimpleITK.sitkBox)
        picture = SimpleITK.ClosingByReconstruction(picture, [_RADIUS] * 2, SimpleITK.sitkBox)
        out[number] = SimpleITK.GetArrayViewFromImage(picture)
    smooth = torch.from_numpy(out).reshape(slices.shape).movedim((-2, -1), (2, 3))
    return (smooth.to(image.device, image.dtype) / _GREY_STEPS).contiguous()


def _gamma_down(image: torch.Tensor) -> torch.Tensor:
    """Brighter middle: power 0.7 of the grey value in [0, 1]."""
    return _power(image, 0.7)


def _gamma_up(image: torch.Tensor) -> torch.Tensor:
    """Darker middle: power 1.4."""
    return _power(image, 1.4)


def _stretch(image: torch.Tensor) -> torch.Tensor:
    """The body's grey values, from its 2 % to its 98 % quantile, over the whole range."""
    unit = _unit(image)
    low, high = _body_quantiles(unit, (0.02, 0.98)).reshape(2, -1, *([1] * (image.ndim - 1)))
    return ((unit - low) / (high - low).clamp(min=_AIR)).clamp(0.0, 1.0) * 2.0 - 1.0


def _histogram(image: torch.Tensor) -> torch.Tensor:
    """A rising curve that gives the body the grey-value histogram of abdominal CT; air stays air."""
    unit = _unit(image)
    knots = _body_quantiles(unit, _LEVELS).T
    ends = knots.new_tensor([0.0, 1.0]).expand(len(knots), 2)
    knots = torch.cat([ends[:, :1], knots, ends[:, 1:]], dim=1).cummax(dim=1).values
    values = knots.new_tensor([0.0, *_CT_QUANTILES, 1.0])
    changed = torch.empty_like(unit)
    for item, own, out in zip(unit, knots, changed, strict=True):
        right = torch.searchsorted(own, item.contiguous(), out_int32=True).clamp(1, len(own) - 1)
        start, width = own[right - 1], own[right] - own[right - 1]
        share = ((item - start) / width.clamp(min=1e-6)).clamp(0.0, 1.0)
        out.copy_(torch.lerp(values[right - 1], values[right], share))
    return changed * 2.0 - 1.0


GREY_VIEWS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "identity": _same,
    "median": _median,
    "smooth": _smooth,
    "gamma_down": _gamma_down,
    "gamma_up": _gamma_up,
    "stretch": _stretch,
    "histogram": _histogram,
}
"""Name to function of every view."""


def _unit(image: torch.Tensor) -> torch.Tensor:
    return ((image + 1.0) / 2.0).clamp(0.0, 1.0)


def _power(image: torch.Tensor, power: float) -> torch.Tensor:
    return _unit(image) ** power * 2.0 - 1.0


def _shifts(image: torch.Tensor, axis: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The image moved by -1, 0 and 1 pixels along an axis; the edge is repeated outwards."""
    length = image.shape[axis]
    before = torch.cat([image.narrow(axis, 0, 1), image.narrow(axis, 0, length - 1)], dim=axis)
    after = torch.cat([image.narrow(axis, 1, length - 1), image.narrow(axis, length - 1, 1)], dim=axis)
    return before, image, after


def _sort3(a: torch.Tensor, b: torch.Tensor, c: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Smallest, middle and largest of three, pixel by pixel."""
    low, high = torch.minimum(a, b), torch.maximum(a, b)
    return torch.minimum(low, c), torch.maximum(low, torch.minimum(high, c)), torch.maximum(high, c)


def _body_quantiles(unit: torch.Tensor, levels: tuple[float, ...]) -> torch.Tensor:
    """Quantiles (levels, B) of what is not air in each item; of an item with nothing else, the levels."""
    found = []
    for item in unit:
        flat = item.reshape(-1)
        # an odd stride does not fall into the rhythm of rows of even length
        values = flat[:: max(1, flat.numel() // _MAX_VOXELS) | 1]
        body = values[values > _AIR].float()
        wanted = body.new_tensor(levels)
        found.append(torch.quantile(body, wanted) if body.numel() else wanted)
    return torch.stack(found, dim=1).to(unit.dtype)
