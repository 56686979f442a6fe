"""Bring CT (HU window) and MRI (percentiles of the body) to the network's range [-1, 1]."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import MapTransform, Transform

from ..utils import InputError
from .modality import ct_offset, detect_modality, foreground_threshold

__all__ = ["ScaleScanIntensity", "ScaleScanIntensityD", "ScaleScanIntensityDict", "ScaleScanIntensityd"]

_AIR = 0.05
"""Scaled values up to this are taken for air when the body's median is looked for."""
_POWERS = (0.4, 1.5)
"""Least and greatest power: beyond, noise in the dark would be drawn out."""


class ScaleScanIntensity(Transform):
    """Map a volume ``(1, H, W, D)`` in scanner units linearly to [-1, 1], clipped; air becomes -1.

    CT: the window ``ct_window`` in HU. MRI: the given percentiles over the whole volume's foreground, which
    is what lies above a threshold between noise and tissue; then, with ``mr_median``, a power of the grey value
    that brings the body's median there. In MRI fluid is so bright that organs share the dark end of the range,
    and a liver with iron lies beside air; the power puts soft tissue where CT has it. ``meta["modality"]`` is
    set to what was used.

    Args:
        modality: ``"ct"``, ``"mr"``, or ``"auto"`` to tell by header and values.
        ct_window: lower and upper HU.
        mr_percentiles: lower and upper percentile, 0..100.
        mr_median: place of the body's median between the lower (0) and the upper end (1); None leaves MRI linear.

    Raises:
        InputError: an argument is out of range, or an MRI volume has one single value.
    """

    def __init__(
        self,
        modality: str = "auto",
        ct_window: Sequence[float] = (-125.0, 275.0),
        mr_percentiles: Sequence[float] = (0.5, 99.5),
        mr_median: float | None = None,
    ) -> None:
        if mr_median is not None and not 0 < mr_median < 1:
            raise InputError("option mr_median", got=mr_median, wanted="a number between 0 and 1, or null")
        self.mr_median = mr_median
        if modality not in ("auto", "ct", "mr"):
            raise InputError("option modality", got=repr(modality), wanted='"auto", "ct" or "mr"')
        if len(ct_window) != 2 or not ct_window[0] < ct_window[1]:
            raise InputError("option ct_window", got=ct_window, wanted="lower and upper HU, e.g. (-125, 275)")
        if len(mr_percentiles) != 2 or not 0 <= mr_percentiles[0] < mr_percentiles[1] <= 100:
            raise InputError(
                "option mr_percentiles", got=mr_percentiles, wanted="two values in 0..100, e.g. (0.5, 99.5)"
            )
        self.modality, self.ct_window, self.mr_percentiles = modality, tuple(ct_window), tuple(mr_percentiles)

    def __call__(self, img: torch.Tensor) -> torch.Tensor:
        meta = img.meta if isinstance(img, MetaTensor) else {}
        modality = detect_modality(img, meta) if self.modality == "auto" else self.modality
        values = torch.as_tensor(img).to(torch.float32)
        low, high = self.ct_limits(values) if modality == "ct" else self.mr_limits(values)
        if not high > low:
            raise InputError(
                f"scan {meta.get('filename_or_obj', '')}: no contrast to scale",
                got=f"{low:g} for both percentiles {self.mr_percentiles}",
                wanted="a scan of a body",
                fix="look at the scan; leave it out when it is empty",
            )
        scaled = ((values - low) * (2.0 / (high - low)) - 1.0).clamp_(-1.0, 1.0)
        if modality == "mr" and self.mr_median is not None:
            scaled = self.shift_median(scaled)
        if isinstance(img, MetaTensor) and isinstance(scaled, MetaTensor):
            scaled.meta["modality"] = modality
        return scaled

    def ct_limits(self, values: torch.Tensor) -> tuple[float, float]:
        """Stored values that stand for the two ends of the HU window."""
        offset = ct_offset(values)
        return self.ct_window[0] + offset, self.ct_window[1] + offset

    def mr_limits(self, values: torch.Tensor) -> tuple[float, float]:
        """Percentiles of the foreground, in scanner units."""
        flat = np.asarray(values.detach().reshape(-1).cpu().numpy())
        foreground = flat[flat > foreground_threshold(values)]
        if foreground.size == 0:
            return float(flat.min()), float(flat.min())
        low, high = np.percentile(foreground, self.mr_percentiles)
        return float(low), float(high)

    def shift_median(self, scaled: torch.Tensor) -> torch.Tensor:
        """Raise [0, 1] grey values to the power that brings the body's median to ``mr_median``."""
        unit = (scaled + 1.0) / 2.0
        body = unit[unit > _AIR]
        if body.numel() == 0:
            return scaled
        median = float(body.median().clamp(_AIR, 1 - _AIR))
        power = float(np.clip(np.log(self.mr_median) / np.log(median), *_POWERS))
        return unit**power * 2.0 - 1.0


class ScaleScanIntensityd(MapTransform):
    """Dictionary form of :class:`ScaleScanIntensity`."""

    def __init__(
        self,
        keys: KeysCollection,
        modality: str = "auto",
        ct_window: Sequence[float] = (-125.0, 275.0),
        mr_percentiles: Sequence[float] = (0.5, 99.5),
        mr_median: float | None = None,
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.scale = ScaleScanIntensity(modality, ct_window, mr_percentiles, mr_median)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        d = dict(data)
        for key in self.key_iterator(d):
            d[key] = self.scale(d[key])
        return d


ScaleScanIntensityD = ScaleScanIntensityDict = ScaleScanIntensityd
