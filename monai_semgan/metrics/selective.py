"""Does an estimate of quality find the bad results? Rank correlation, risk against coverage, detection of failures.

All functions take one number a patient, whole arrays at a time. Patients of equal estimate are in no order:
every score is its expectation over the orders they could stand in, so that it does not depend on the order of
the list.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy.stats import rankdata

__all__ = [
    "area_under_risk_coverage",
    "failure_auroc",
    "risk_coverage_curve",
    "spearman",
    "summarise_estimate",
]


def spearman(first: Sequence[float], second: Sequence[float]) -> float:
    """Spearman's rank correlation, -1..1; equal values share the mean of their ranks.

    NaN for fewer than two patients and when one list holds one single value.

    Raises:
        ValueError: the lists differ in length or hold NaN.
    """
    a, b = _paired(first, second)
    if len(a) < 2:
        return math.nan
    a, b = rankdata(a), rankdata(b)
    a, b = a - a.mean(), b - b.mean()
    size = math.sqrt(float(a @ a) * float(b @ b))
    return float(a @ b) / size if size else math.nan


def risk_coverage_curve(confidence: Sequence[float], risk: Sequence[float]) -> tuple[np.ndarray, np.ndarray]:
    """Mean risk of the patients kept when only the surest are kept (El-Yaniv and Wiener, JMLR 2010).

    Args:
        confidence: high for results to be trusted, one a patient.
        risk: what is to be low, e.g. ``1 - Dice``.

    Returns:
        coverage ``k / n`` and risk for ``k = 1 .. n`` patients kept, both ``(n,)``. The last risk is the mean
        over all.

    Raises:
        ValueError: the lists differ in length, hold NaN, or are empty.

    Example:
        >>> risk_coverage_curve([3, 2, 1], [0.0, 0.5, 1.0])[1].tolist()
        [0.0, 0.25, 0.5]
    """
    sure, cost = _paired(confidence, risk)
    if not len(sure):
        raise ValueError("a risk-coverage curve needs at least one patient")
    _, group, size = np.unique(-sure, return_inverse=True, return_counts=True)
    group = group.ravel()
    expected = np.bincount(group, cost) / size  # of a patient within its group of equal confidence
    kept = np.arange(1, len(sure) + 1)
    return kept / len(sure), np.cumsum(np.repeat(expected, size)) / kept


def area_under_risk_coverage(confidence: Sequence[float], risk: Sequence[float]) -> float:
    """Mean of the risks of ``risk_coverage_curve``, low is good (AURC; Geifman et al. 2019, 1805.08206).

    With ``confidence = -risk`` it is the oracle's, the lowest there is; with constant confidence it is the mean
    risk, what a random order gives.
    """
    return float(risk_coverage_curve(confidence, risk)[1].mean())


def failure_auroc(confidence: Sequence[float], dice: Sequence[float], threshold: float = 0.5) -> float:
    """Area under the ROC curve of finding the patients with a Dice below ``threshold`` by low confidence.

    It is the probability that a patient below has less confidence than one who is not; a tie counts half. NaN
    when all patients are on one side.

    Raises:
        ValueError: the lists differ in length or hold NaN.
    """
    sure, score = _paired(confidence, dice)
    failed = score < threshold
    bad, good = int(failed.sum()), int((~failed).sum())
    if not bad or not good:
        return math.nan
    ranks = rankdata(-sure)  # Mann and Whitney's U of the failures
    return (float(ranks[failed].sum()) - bad * (bad + 1) / 2) / (bad * good)


def summarise_estimate(
    estimate: Sequence[float],
    dice: Sequence[float],
    higher_is_better: bool = True,
    thresholds: Sequence[float] = (0.5, 0.8),
) -> dict[str, Any]:
    """How well an estimate of quality goes with the true Dice, as plain values for JSON.

    Args:
        estimate: one number a patient; patients for whom it or the Dice is not finite are left out.
        dice: the true Dice.
        higher_is_better: False for an error, low where the mask should be good.
        thresholds: see ``failure_auroc``.

    Returns:
        ``n`` patients; ``spearman`` of the estimate as it is and the Dice (below 0 is good for an error);
        ``aurc`` of the risk ``1 - Dice``, with ``aurc_oracle`` and ``aurc_random`` between which a useful
        estimate lies; and ``auroc_dice_below_<threshold>``. None for what is not defined.
    """
    pairs = [(float(e), float(d)) for e, d in zip(estimate, dice, strict=True) if math.isfinite(e) and math.isfinite(d)]
    values, true = np.array(pairs, dtype=np.float64).reshape(-1, 2).T
    confidence, risk = values if higher_is_better else -values, 1.0 - true
    summary: dict[str, Any] = {"n": len(pairs), "spearman": spearman(values, true)}
    orders = {"aurc": confidence, "aurc_oracle": -risk, "aurc_random": np.zeros(len(pairs))}
    summary |= {name: area_under_risk_coverage(order, risk) if pairs else math.nan for name, order in orders.items()}
    summary |= {f"auroc_dice_below_{t:g}": failure_auroc(confidence, true, t) for t in thresholds}
    return {name: None if isinstance(value, float) and math.isnan(value) else value for name, value in summary.items()}


def _paired(first: Sequence[float], second: Sequence[float]) -> tuple[np.ndarray, np.ndarray]:
    a, b = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    if a.ndim != 1 or a.shape != b.shape:
        raise ValueError(f"wanted two lists of one length, got shapes {a.shape} and {b.shape}")
    if np.isnan(a).any() or np.isnan(b).any():
        raise ValueError("wanted numbers, got NaN: leave those patients out first")
    return a, b
