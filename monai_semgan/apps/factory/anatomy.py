"""Rules of anatomy for generated masks: sizes, pieces, borders, body; fixed ones, or learned from real masks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import torch
from scipy import ndimage

from ...transforms.body import body_mask

__all__ = ["AnatomyRules", "learn_rules", "measure_mask"]

BODY_ABOVE = -0.93
"""What is brighter counts as body; generated air is not as black as real air, fat is at -0.87."""
RANGES = ("area_share", "height_mm", "width_mm", "row", "column")
_QUANTILES = (0.01, 0.99)


@dataclass(frozen=True)
class AnatomyRules:
    """What a pair has to keep to.

    Args:
        organs: class -> name of a measure (see :func:`measure_mask`) -> least and greatest value.
        max_pieces: class -> connected pieces at most.
        border: classes that may touch the frame.
        inside_body: least share of an organ's pixels that lie in the body.
        body_share: least and greatest share of the slice that is body.
        learned_from: number of real slices behind the ranges, 0 for the fixed ones.
    """

    organs: dict[int, dict[str, tuple[float, float]]]
    max_pieces: dict[int, int]
    border: tuple[int, ...] = ()
    inside_body: float = 0.95
    body_share: tuple[float, float] = (0.02, 0.95)
    learned_from: int = field(default=0)

    @staticmethod
    def fixed(num_classes: int) -> AnatomyRules:
        """Without real masks: an organ of .1 to 40 % of the slice, in one or two pieces, off the frame."""
        organs = {index: {"area_share": (0.001, 0.4)} for index in range(1, num_classes)}
        return AnatomyRules(organs, dict.fromkeys(organs, 2))

    def broken(self, measures: Mapping[str, Any]) -> list[str]:
        """The rules that a pair breaks, in words; empty when it keeps to all."""
        low, high = self.body_share
        body = measures["body_share"]
        reasons = [] if low <= body <= high else [f"body fills {body:.2f} of the slice, not {low:.2f} to {high:.2f}"]
        for index, organ in measures["organs"].items():
            ranges = self.organs.get(index, {})
            for name, (low, high) in ranges.items():
                if not low <= organ[name] <= high:
                    reasons.append(f"class {index}: {name} {organ[name]:.3g}, not {low:.3g} to {high:.3g}")
            if organ["pieces"] > self.max_pieces.get(index, 2):
                reasons.append(f"class {index}: {organ['pieces']} pieces")
            if organ["touches_border"] and index not in self.border:
                reasons.append(f"class {index}: touches the border")
            if organ["inside_body"] < self.inside_body:
                reasons.append(f"class {index}: {organ['inside_body']:.2f} of it in the body")
        return reasons

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)


def measure_mask(image: torch.Tensor, label: torch.Tensor, fov_mm: float) -> dict[str, Any]:
    """Measure the organs of a slice, or of a stack of neighbouring slices.

    A stack is measured in the slice where the organ is largest; its pieces are counted in three dimensions.

    Args:
        image: ``(D, 1, S, S)`` in [-1, 1].
        label: ``(D, 1, S, S)`` class indices.
        fov_mm: width of a slice.

    Returns:
        ``body_share`` (of the middle slice) and ``organs``: class -> ``area_share`` (of the slice), ``height_mm``,
        ``width_mm``, ``row``, ``column`` (its centre, 0..1 from front and patient's right), ``pieces``,
        ``touches_border`` and ``inside_body`` (share). Classes without a pixel are not in it.
    """
    size = image.shape[-1]
    pixel = fov_mm / size
    labels = label[:, 0].cpu().numpy()
    body = _body(image, pixel)
    organs: dict[int, dict[str, Any]] = {}
    for index in sorted(int(value) for value in np.unique(labels) if value):
        mask = labels == index
        largest = int(mask.sum(axis=(1, 2)).argmax())
        plane = mask[largest]
        rows, columns = np.flatnonzero(plane.any(axis=1)), np.flatnonzero(plane.any(axis=0))
        centre = ndimage.center_of_mass(plane)
        organs[index] = {
            "area_share": float(plane.mean()),
            "height_mm": float(rows[-1] - rows[0] + 1) * pixel,
            "width_mm": float(columns[-1] - columns[0] + 1) * pixel,
            "row": float(centre[0] + 0.5) / size,
            "column": float(centre[1] + 0.5) / size,
            "pieces": int(ndimage.label(mask)[1]),
            "touches_border": bool(mask[:, [0, -1]].any() or mask[:, :, [0, -1]].any()),
            "inside_body": float((plane & body[largest]).sum() / plane.sum()),
        }
    return {"body_share": float(body[len(body) // 2].mean()), "organs": organs}


def learn_rules(
    images: torch.Tensor, labels: torch.Tensor, num_classes: int, fov_mm: float, slack: float = 0.25
) -> AnatomyRules:
    """Ranges from real slices with masks: 1st to 99th percentile, wider by ``slack`` of their middle on both sides.

    Args:
        images: ``(N, 1, S, S)`` in [-1, 1].
        labels: ``(N, 1, S, S)`` class indices.
        num_classes: background included.
        fov_mm: width of a slice.
        slack: for what few patients do not show. Sizes keep a least value of a third of the smallest percentile,
            since the ends of an organ are small; places move by a fifth of it at most.

    A class that the masks do not show keeps the fixed rules.
    """
    found = [measure_mask(image[None], label[None], fov_mm) for image, label in zip(images, labels, strict=True)]
    fixed = AnatomyRules.fixed(num_classes)
    organs, pieces, border, inside = dict(fixed.organs), dict(fixed.max_pieces), [], []
    for index in range(1, num_classes):
        seen = [measures["organs"][index] for measures in found if index in measures["organs"]]
        if not seen:
            continue
        organs[index] = {name: _widened(name, [organ[name] for organ in seen], slack) for name in RANGES}
        pieces[index] = max(1, int(np.quantile([organ["pieces"] for organ in seen], _QUANTILES[1])))
        if np.mean([organ["touches_border"] for organ in seen]) > 0.01:
            border.append(index)
        inside.append(float(np.quantile([organ["inside_body"] for organ in seen], _QUANTILES[0])))
    body = np.quantile([measures["body_share"] for measures in found], _QUANTILES)
    return AnatomyRules(
        organs,
        pieces,
        tuple(border),
        # generated edges of the body are soft: a little less than in real slices will do
        round(max(0.0, min(inside, default=1.0) - 0.05), 4),
        (round(float(body[0]) * (1 - slack), 4), round(min(1.0, float(body[1]) * (1 + slack)), 4)),
        learned_from=len(found),
    )


def _widened(name: str, values: Sequence[float], slack: float) -> tuple[float, float]:
    low, high = (float(value) for value in np.quantile(values, _QUANTILES))
    if name in ("row", "column"):
        return round(max(0.0, low - slack / 5), 4), round(min(1.0, high + slack / 5), 4)
    return round(low / 3, 5), round(high * (1 + slack), 5)


def _body(image: torch.Tensor, pixel: float) -> np.ndarray:
    """Body of each slice ``(D, S, S)``, holes filled; ``body_mask`` works on cells of about 5 mm."""
    size = image.shape[-1]
    mask, cell = body_mask(image[:, 0].permute(1, 2, 0).cpu(), (pixel, pixel), BODY_ABOVE)
    whole = mask.repeat(int(cell[0]), axis=0).repeat(int(cell[1]), axis=1)[:size, :size]
    return np.stack([ndimage.binary_fill_holes(whole[..., k]) for k in range(whole.shape[-1])])
