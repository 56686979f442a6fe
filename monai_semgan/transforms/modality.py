"""Tell CT from MRI by header or values, and find the offset of CT that was never rescaled to HU."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

__all__ = ["ct_offset", "detect_modality", "foreground_threshold"]

_MAX_VOXELS = 400_000
_RAW_CT_OFFSET = 1024.0


def detect_modality(array: np.ndarray | torch.Tensor, meta: Mapping[str, Any] | None = None) -> str:
    """Return ``"ct"`` or ``"mr"`` for a volume in scanner units.

    A ``modality`` entry of ``meta`` (DICOM) wins. Otherwise a volume is CT when it holds values of -100 and
    below, or whole numbers of -50 and below (HU; MRI magnitudes are not negative, and standardised MRI is
    fractional and near zero), or when it looks like CT stored with an offset of 1024 (see :func:`ct_offset`).
    All else is MRI.
    """
    named = str((meta or {}).get("modality", "")).lower()
    if named in ("ct", "mr"):
        return named
    values = _sample(array)
    low = float(array.min())
    if low <= -100 or (low <= -50 and _whole(values)) or _looks_like_raw_ct(values, low):
        return "ct"
    return "mr"


def ct_offset(array: np.ndarray | torch.Tensor) -> float:
    """Offset in HU to subtract from CT values: 1024 for CT that was stored without its rescale, 0 otherwise.

    Such scans have no negative values, stay within 12 bits, and have soft tissue near 1000 to 1100.
    """
    return _RAW_CT_OFFSET if _looks_like_raw_ct(_sample(array), float(array.min())) else 0.0


def foreground_threshold(array: np.ndarray | torch.Tensor) -> float:
    """Value that parts a body from noisy air in MRI magnitudes.

    Otsu's threshold of the square roots (they even out the few very bright voxels) lies between dark and
    bright tissue; a quarter of it, in scanner units, lies below dark tissue and above the noise.
    """
    values = _sample(array)
    low, high = float(values.min()), float(np.percentile(values, 99.5))
    if high <= low:
        return low
    return low + 0.25 * _otsu(np.sqrt(np.clip(values, low, high) - low)) ** 2


def _sample(array: np.ndarray | torch.Tensor) -> np.ndarray:
    """A regular sample of the values: enough for statistics, and quick for large volumes."""
    flat = torch.as_tensor(array).detach().reshape(-1)
    step = max(1, flat.numel() // _MAX_VOXELS)
    step += step > 1 and step % 2 == 0  # an odd step does not fall into the rhythm of rows of even length
    return np.asarray(flat[::step].cpu().numpy(), dtype=np.float32)


def _whole(values: np.ndarray) -> bool:
    return bool((values == np.rint(values)).all())


def _looks_like_raw_ct(values: np.ndarray, low: float) -> bool:
    if low < 0 or values.max() > 4095 or not _whole(values):
        return False
    tissue = values[values > 500]
    if tissue.size < 0.02 * values.size:
        return False
    count, edges = np.histogram(tissue, bins=np.arange(500, 4120, 20))
    mode = edges[int(count.argmax())]
    # Fat (900) to enhanced organs (1250) hold nearly everything that is not air; MRI spreads far wider.
    return bool(
        880 <= mode <= 1160 and ((tissue > 850) & (tissue < 1300)).mean() > 0.75 and (values < 200).mean() > 0.05
    )


def _otsu(values: np.ndarray, bins: int = 256) -> float:
    """Otsu's threshold (1979): the cut with the largest variance between the two classes."""
    count, edges = np.histogram(values, bins=bins)
    middle = (edges[1:] + edges[:-1]) / 2
    weight, moment = np.cumsum(count)[:-1], np.cumsum(count * middle)[:-1]
    total, mean = count.sum(), (count * middle).sum() / count.sum()
    between = (mean * weight - moment) ** 2 / np.maximum(weight * (total - weight), 1)
    return float(edges[1 + int(between.argmax())])
