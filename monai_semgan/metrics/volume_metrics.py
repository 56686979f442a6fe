"""Scores of one binary 3-D mask against its reference, in millimetres, on the scan's own grid.

The maths is MONAI's (Dice, surface voxels, surface distances); what is added is a defined answer for empty
masks, one shared pass over the surfaces for both distances, and a crop that keeps a whole CT volume under a
second.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from monai.metrics import compute_dice
from monai.metrics.utils import get_mask_edges, get_surface_distance
from scipy import ndimage

__all__ = ["SCORE_NAMES", "score_volume"]

SCORE_NAMES = ("dice", "hd95_mm", "assd_mm", "volume_error_percent", "pieces")
"""The scores that are averaged over patients; ``score_volume`` gives volumes and a flag besides."""


def score_volume(
    prediction: np.ndarray | torch.Tensor, reference: np.ndarray | torch.Tensor, spacing_mm: Sequence[float]
) -> dict[str, float | str]:
    """Score one binary mask against its reference.

    Args:
        prediction: mask ``(H, W, D)`` or ``(1, H, W, D)``; anything but 0 is inside.
        reference: mask of the same shape.
        spacing_mm: voxel size along the three axes, in mm.

    Returns:
        ``dice`` 0..1; ``hd95_mm``: the larger of the two directed 95th percentiles of the distances between
        the surfaces; ``assd_mm``: mean of all distances from either surface to the other;
        ``volume_error_percent``: signed, ``100 (V - V_ref) / V_ref``, so that its mean over patients shows a
        bias; ``pieces``: connected components of the prediction (voxels touch at faces, edges or corners; 0 when it is
        empty; a postprocessing that keeps the largest leaves 1); ``volume_ml``; ``reference_ml``; and ``flag``, empty
        unless a mask is.

        =================  ====  =============  ====================
        case               dice  distances, mm  volume error, %
        =================  ====  =============  ====================
        both empty         1     0              0
        prediction empty   0     NaN            -100
        reference empty    0     NaN            NaN
        =================  ====  =============  ====================

    Raises:
        ValueError: when the shapes differ, are not 3-D, or the spacing is not three positive numbers.

    Example:
        >>> box = np.zeros((8, 8, 8), bool); box[2:6, 2:6, 2:6] = True
        >>> score_volume(box, box, (1.0, 1.0, 2.0))["dice"]
        1.0
    """
    predicted, wanted = _as_mask(prediction), _as_mask(reference)
    spacing = tuple(float(s) for s in spacing_mm)
    if predicted.shape != wanted.shape:
        raise ValueError(f"masks differ in shape: prediction {predicted.shape}, reference {wanted.shape}")
    if len(spacing) != 3 or not all(np.isfinite(s) and s > 0 for s in spacing):
        raise ValueError(f"spacing_mm must be three positive numbers, got {spacing}")

    millilitres = float(np.prod(spacing)) / 1000.0
    volume, reference_volume = int(predicted.sum()) * millilitres, int(wanted.sum()) * millilitres
    scores: dict[str, float | str] = {
        **_overlap_and_distances(predicted, wanted, spacing),
        "volume_error_percent": _volume_error(volume, reference_volume),
        "pieces": int(ndimage.label(predicted, structure=np.ones((3, 3, 3)))[1]),
        "volume_ml": volume,
        "reference_ml": reference_volume,
        "flag": {
            (True, True): "",
            (False, True): "empty prediction",
            (True, False): "empty reference",
            (False, False): "both empty",
        }[volume > 0, reference_volume > 0],
    }
    return scores


def _as_mask(mask: np.ndarray | torch.Tensor) -> np.ndarray:
    """``(H, W, D)`` or ``(1, H, W, D)`` of any type -> boolean NumPy array ``(H, W, D)``."""
    array = mask.detach().cpu().numpy() if isinstance(mask, torch.Tensor) else np.asarray(mask)
    if array.ndim == 4 and array.shape[0] == 1:
        array = array[0]
    if array.ndim != 3:
        raise ValueError(f"expected one mask (H, W, D) or (1, H, W, D), got shape {array.shape}")
    return array if array.dtype == bool else array != 0


def _overlap_and_distances(
    predicted: np.ndarray, wanted: np.ndarray, spacing: tuple[float, ...]
) -> dict[str, float | str]:
    if not predicted.any() or not wanted.any():
        agree = predicted.any() == wanted.any()
        distance = 0.0 if agree else float("nan")
        return {"dice": 1.0 if agree else 0.0, "hd95_mm": distance, "assd_mm": distance}
    box = _bounding_box(predicted | wanted)
    predicted, wanted = np.pad(predicted[box], 1), np.pad(wanted[box], 1)
    dice = compute_dice(torch.from_numpy(predicted)[None, None].float(), torch.from_numpy(wanted)[None, None].float())
    # Both distances come from the same two distance lists; asking MONAI for each of them finds the lists
    # twice.
    edges_p, edges_r = get_mask_edges(predicted, wanted, crop=False)
    to_reference = np.asarray(get_surface_distance(edges_p, edges_r, spacing=spacing), dtype=np.float64)
    to_prediction = np.asarray(get_surface_distance(edges_r, edges_p, spacing=spacing), dtype=np.float64)
    return {
        "dice": float(dice),
        "hd95_mm": float(max(np.percentile(to_reference, 95), np.percentile(to_prediction, 95))),
        "assd_mm": float((to_reference.sum() + to_prediction.sum()) / (to_reference.size + to_prediction.size)),
    }


def _bounding_box(mask: np.ndarray) -> tuple[slice, ...]:
    """Smallest box that holds the mask, which must not be empty."""
    box = []
    for axis in range(mask.ndim):
        inside = np.flatnonzero(mask.any(axis=tuple(a for a in range(mask.ndim) if a != axis)))
        box.append(slice(int(inside[0]), int(inside[-1]) + 1))
    return tuple(box)


def _volume_error(volume: float, reference: float) -> float:
    if reference == 0:
        return 0.0 if volume == 0 else float("nan")
    return 100.0 * (volume - reference) / reference
