"""What an inferer's report says about the quality of a scan's mask, whatever form it has there."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

__all__ = ["QUALITY_ESTIMATES", "scan_quality"]

QUALITY_ESTIMATES: dict[str, bool] = {
    "predicted_dice": True,
    "agreement": True,
    "reconstruction_error": False,
    "out_of_distribution": False,
}
"""Name of every estimate that a report may hold, and whether more of it is better."""

_PER_ORGAN = ("predicted_dice", "agreement")


def scan_quality(report: Mapping[str, Any] | None, organs: int | None = 1) -> dict[str, list[float]]:
    """The estimates for one scan: name to one number an organ; those that the report lacks are left out.

    Args:
        report: of an inferer that ran on one scan. ``predicted_dice`` and ``agreement`` hold a number for each
            organ, or one for all; ``reconstruction_error`` holds one a slice, of which the mean is taken;
            ``out_of_distribution`` is one number. Lists of a batch of one are understood.
        organs: classes without background; None for as many as each estimate has numbers.

    Raises:
        ValueError: an estimate is no number, or there are too few for the organs.

    Example:
        >>> scan_quality({"predicted_dice": [[0.9]], "reconstruction_error": [0.1, 0.3], "steps": 5})
        {'predicted_dice': [0.9], 'reconstruction_error': [0.2]}
    """
    found = {}
    for name in QUALITY_ESTIMATES:
        value = (report or {}).get(name)
        numbers = np.asarray([] if value is None else value, dtype=np.float64).ravel()
        if not numbers.size:
            continue
        if name not in _PER_ORGAN:
            numbers = numbers.mean(keepdims=True)
        wanted = numbers.size if organs is None else organs
        if numbers.size == 1:
            numbers = np.full(wanted, numbers[0])
        elif numbers.size < wanted:
            raise ValueError(f"report: {name} has {numbers.size} numbers for {wanted} organs")
        found[name] = [float(number) for number in numbers[:wanted]]
    return found
