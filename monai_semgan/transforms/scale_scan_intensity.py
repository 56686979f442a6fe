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


class ScaleScanIntensity(Transform):
    """Map a volume ``(1, H, W, D)`` in scanner units linearly to [-1, 1], clipped; air becomes -1.

    CT: the window ``ct_window`` in HU. MRI: the given percentiles over the whole volume's foreground, which
    is what lies above a threshold between noise and tissue. ``meta["modality"]`` is set to what was used.

    Args:
        modality: ``"ct"``, ``"mr"``, or ``"auto"`` to tell by header and values.
        ct_window: lower and upper HU.
        mr_percentiles: lower and upper percentile, 0..100.

    Raises:
        InputError: an argument is out of range, or an MRI volume has one single value.
    """

    def __init__(
        self,
        modality: str = "auto",
        ct_window: Sequence[float] = (-125.0, 275.0),
        mr_percentiles: Sequence[float] = (0.5, 99.5),
    ) -> None:
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


class ScaleScanIntensityd(MapTransform):
    """Dictionary form of :class:`ScaleScanIntensity`."""

    def __init__(
        self,
        keys: KeysCollection,
        modality: str = "auto",
        ct_window: Sequence[float] = (-125.0, 275.0),
        mr_percentiles: Sequence[float] = (0.5, 99.5),
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.scale = ScaleScanIntensity(modality, ct_window, mr_percentiles)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        d = dict(data)
        for key in self.key_iterator(d):
            d[key] = self.scale(d[key])
        return d


ScaleScanIntensityD = ScaleScanIntensityDict = ScaleScanIntensityd
