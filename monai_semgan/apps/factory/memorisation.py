"""Is a sample a copy? Distance to the nearest training slice, beside distances among slices of different patients."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F

from ...utils.errors import InputError

__all__ = ["Nearest", "NearestSlices"]

PIXELS = 16
_CHUNK = 512


@dataclass(frozen=True)
class Nearest:
    """The training slice nearest to a sample.

    Args:
        scan, slice: whose it is, and its number from the feet.
        ratios: space -> distance as a share of the distance below which samples are suspicious.
        row: number of the training slice among all.
        sample_slice: slice of the sample that is so near.
    """

    scan: str
    slice: int
    ratios: dict[str, float]
    row: int
    sample_slice: int

    @property
    def ratio(self) -> float:
        """The smallest of the ratios; below 1 the sample is suspicious."""
        return min(self.ratios.values())

    def as_dict(self) -> dict[str, Any]:
        """Plain values for the lists."""
        return {"scan": self.scan, "slice": self.slice, "ratios": {k: round(v, 4) for k, v in self.ratios.items()}}


class NearestSlices:
    """Finds the training slice nearest to a sample, in two spaces.

    - ``pixels``: the slice pooled to 16 x 16. A generator blurs, and at full size a blurred slice lies nearer to
      every real one than any two real ones do; pooled, that is gone.
    - ``features``: whatever ``features`` gives, for instance an encoder's codes.

    In each space the threshold is a low quantile of the distances from a real slice to the nearest slice of another
    patient. A sample that is nearer to a training slice than nearly any two patients are to each other is suspicious;
    in one of the spaces is enough.

    Args:
        images: training slices ``(N, 1, S, S)``.
        cases: name of the scan of each; slices of a scan stand in their order.
        features: slices to features ``(N, F)``, or None.
        quantile: see above.

    Raises:
        InputError: slices of fewer than two scans, or a quantile out of 0..1.
    """

    def __init__(
        self,
        images: torch.Tensor,
        cases: Sequence[str],
        features: Callable[[torch.Tensor], torch.Tensor | None] | None = None,
        quantile: float = 0.01,
    ) -> None:
        if not 0 <= quantile <= 1:
            raise InputError("option memorised_quantile", got=quantile, wanted="0..1")
        names = list(dict.fromkeys(cases))
        if len(names) < 2:
            raise InputError(
                "memorisation check: training scans", got=len(names),
                wanted="at least two, to know how far patients lie apart",
                fix="name all scans that the model was trained on, also those without masks",
            )  # fmt: skip
        self.images, self.cases = images, list(cases)
        places: dict[str, int] = {}
        self.slices = []
        for case in self.cases:
            self.slices.append(places.get(case, 0))
            places[case] = self.slices[-1] + 1
        self._spaces: dict[str, Callable[[torch.Tensor], torch.Tensor | None]] = {"pixels": pooled_pixels}
        if features is not None and features(images[:1]) is not None:
            self._spaces["features"] = features
        number = torch.tensor([names.index(case) for case in self.cases])
        self._points, self.thresholds, self.typical = {}, {}, {}
        for space, function in self._spaces.items():
            points = function(images)
            between = _nearest_of_another(points, number.to(points.device))
            self._points[space] = points
            self.thresholds[space] = float(torch.quantile(between, quantile))
            self.typical[space] = float(between.median())

    def nearest(self, images: torch.Tensor) -> Nearest:
        """Look at a sample's slices ``(D, 1, S, S)``; a stack counts as its nearest slice."""
        ratios: dict[str, float] = {}
        found = {}
        for space, function in self._spaces.items():
            distance = torch.cdist(function(images), self._points[space], compute_mode="donot_use_mm_for_euclid_dist")
            flat = int(distance.argmin())
            found[space] = (flat % distance.shape[1], flat // distance.shape[1])
            # two equal real slices would make a threshold of zero
            ratios[space] = float(distance.min()) / max(self.thresholds[space], 1e-12)
        row, own = found[min(ratios, key=lambda space: ratios[space])]
        return Nearest(self.cases[row], self.slices[row], ratios, row, own)

    def suspicious_share(self, images: torch.Tensor) -> float:
        """Share of slices ``(N, 1, S, S)`` that would be called suspicious, each taken alone."""
        low = torch.full((len(images),), float("inf"))
        for space, function in self._spaces.items():
            distance = torch.cdist(function(images), self._points[space]).min(dim=1).values.cpu()
            low = torch.minimum(low, distance / max(self.thresholds[space], 1e-12))
        return float((low < 1).float().mean())


def pooled_pixels(images: torch.Tensor) -> torch.Tensor:
    """Slices ``(N, 1, S, S)`` to root-mean-square distances: 16 x 16 means, divided by 16."""
    return F.adaptive_avg_pool2d(images.float(), PIXELS).flatten(1) / PIXELS


def _nearest_of_another(points: torch.Tensor, patient: torch.Tensor) -> torch.Tensor:
    """Distance from each point to the nearest one of another patient."""
    result = []
    for start in range(0, len(points), _CHUNK):
        part = torch.cdist(points[start : start + _CHUNK], points)
        same = patient[start : start + _CHUNK, None] == patient[None]
        result.append(part.masked_fill(same, float("inf")).min(dim=1).values)
    return torch.cat(result)
