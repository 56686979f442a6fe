"""Summary of per-patient scores: mean, spread, median, count, and the failures by name."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from .volume_metrics import SCORE_NAMES

__all__ = ["FAILURE_DICE", "summarise_scores"]

FAILURE_DICE = 0.3
"""Below this Dice a patient counts as a failure: out of domain, a mean alone hides a second, low hump."""


def summarise_scores(rows: Sequence[Mapping[str, Any]], failure_dice: float = FAILURE_DICE) -> dict[str, Any]:
    """Summarise one row per patient, as made by ``score_volume`` with a ``name`` added.

    Args:
        rows: mappings with ``name`` and the scores ``dice``, ``hd95_mm``, ``assd_mm``,
            ``volume_error_percent``, ``pieces``.
        failure_dice: patients with a lower Dice are listed under ``failures``.

    Returns:
        for each score ``{"mean", "std", "median", "n"}`` over the patients where it is defined (``n`` of
        them; ``std`` is the sample standard deviation, 0 for one patient; all ``None`` for no patient, which
        JSON can hold and NaN not), and ``failures``, the sorted names. A distance is undefined when one mask
        is empty: an ``n`` below that of ``dice`` says so, and such patients are failures.
    """
    summary: dict[str, Any] = {name: _describe([row.get(name) for row in rows]) for name in SCORE_NAMES}
    summary["failures"] = sorted(
        str(row["name"]) for row in rows if not (row.get("dice") is not None and row["dice"] >= failure_dice)
    )
    return summary


def _describe(values: Sequence[float | None]) -> dict[str, float | int | None]:
    finite = [float(v) for v in values if v is not None and math.isfinite(v)]
    if not finite:
        return {"mean": None, "std": None, "median": None, "n": 0}
    return {
        "mean": statistics.fmean(finite),
        "std": statistics.stdev(finite) if len(finite) > 1 else 0.0,
        "median": statistics.median(finite),
        "n": len(finite),
    }
