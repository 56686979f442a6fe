"""Means over patients and seeds, and paired differences with confidence intervals."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from scipy import stats

from ...metrics import FAILURE_DICE, SCORE_NAMES

__all__ = ["PairedDifference", "compare_rows", "paired_difference", "patient_means", "summarise_rows"]

_KEYS = ("labelled", "organ", "row", "domain")


@dataclass(frozen=True)
class PairedDifference:
    """Mean difference between two rows on the same patients, with two 95 % intervals.

    Args:
        mean: over patients, of the differences between the means over seeds.
        t_low: lower end of the interval of the paired t-test over patients; None for a single patient.
        t_high: its upper end.
        bootstrap_low: lower end of the bootstrap interval over patients and seeds; None for a single patient.
        bootstrap_high: its upper end.
        patients: how many have a score in every seed of both rows.
        seeds: number of seeds of either row.
    """

    mean: float
    t_low: float | None
    t_high: float | None
    bootstrap_low: float | None
    bootstrap_high: float | None
    patients: int
    seeds: tuple[int, int]


def paired_difference(
    first: np.ndarray, second: np.ndarray, level: float = 0.95, resamples: int = 10_000, seed: int = 0
) -> PairedDifference:
    """Compare two rows patient by patient: ``first - second``.

    **t interval**: the differences of the patients' means over seeds, mean ± t(n - 1) s / √n. It speaks of other
    patients and of just these trainings: what another seed would change for all patients alike is not in it.

    **Bootstrap interval** (percentiles): patients are drawn with replacement, the same for both rows, and so are
    the seeds, for each row by themselves, because seed 0 of one method has nothing to do with seed 0 of another.
    It speaks of other patients and other trainings. With few patients or seeds it is too narrow: n draws from n
    vary by (n - 1) / n of the variance, and a single seed does not vary at all.

    Args:
        first: scores ``(patients, seeds)``.
        second: scores ``(patients, seeds)`` of the same patients in the same order; the number of seeds is free.
        level: of both intervals.
        resamples: draws of the bootstrap.
        seed: of the bootstrap; the same numbers give the same interval.

    Raises:
        ValueError: the shapes do not fit, or a value is not finite.

    Example:
        >>> paired_difference(np.array([[0.8], [0.6]]), np.array([[0.7], [0.4]])).mean.__round__(3)
        0.15
    """
    first, second = np.asarray(first, dtype=float), np.asarray(second, dtype=float)
    if first.ndim != 2 or second.ndim != 2 or len(first) != len(second) or not first.size or not second.size:
        raise ValueError(f"scores (patients, seeds) of the same patients are wanted: {first.shape}, {second.shape}")
    if not (np.isfinite(first).all() and np.isfinite(second).all()):
        raise ValueError("every score must be finite")
    differences = first.mean(axis=1) - second.mean(axis=1)
    count, mean = len(differences), float(differences.mean())
    seeds = (first.shape[1], second.shape[1])
    if count < 2:
        return PairedDifference(mean, None, None, None, None, count, seeds)
    reach = float(stats.t.ppf((1 + level) / 2, count - 1) * differences.std(ddof=1) / math.sqrt(count))
    rng = np.random.default_rng(seed)
    patients = _shares(rng, count, resamples)
    drawn = _weighted_means(first, patients, rng) - _weighted_means(second, patients, rng)
    low, high = np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2])
    return PairedDifference(mean, mean - reach, mean + reach, float(low), float(high), count, seeds)


def summarise_rows(results: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Mean over patients in each seed, then mean and standard deviation over seeds.

    Args:
        results: as ``collect_results`` gives them.

    Returns:
        for each number of labels, organ, row and domain ``{"labelled", "organ", "row", "title", "method",
        "domain", "patients", <score>: {"mean", "sd", "by_seed": {seed: mean over patients}}, "failures":
        {seed: names}, "no_result": {seed: names}}``. Means are over the patients for which the score is
        defined; ``sd`` is None for one seed. Failures have a Dice below 0.3 or no result.
    """
    summaries = []
    for key, rows in _grouped(results, _KEYS):
        by_seed = {seed: own for (seed,), own in _grouped(rows, ("seed",))}
        summary = {**dict(zip(_KEYS, key, strict=True)), "title": rows[0]["title"], "method": rows[0]["method"]}
        summary["patients"] = len({row["name"] for row in rows})
        for score in SCORE_NAMES:
            means = {seed: _mean(row[score] for row in own) for seed, own in by_seed.items()}
            known = [mean for mean in means.values() if mean is not None]
            summary[score] = {
                "mean": _mean(known),
                "sd": statistics.stdev(known) if len(known) > 1 else None,
                "by_seed": means,
            }
        summary["failures"] = {
            seed: sorted(row["name"] for row in own if row["dice"] is None or row["dice"] < FAILURE_DICE)
            for seed, own in by_seed.items()
        }
        summary["no_result"] = {
            seed: sorted(row["name"] for row in own if row["dice"] is None) for seed, own in by_seed.items()
        }
        summaries.append(summary)
    return summaries


def patient_means(results: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """One row per patient: each score's mean over the seeds in which it is defined, None where it never is."""
    return [
        {**rows[0], **{score: _mean(row[score] for row in rows) for score in SCORE_NAMES}}
        for _, rows in _grouped(results, (*_KEYS, "name"))
    ]


def compare_rows(results: Sequence[Mapping[str, Any]], reference: str, score: str = "dice") -> list[dict[str, Any]]:
    """Paired difference of every row to the reference row, for each number of labels, organ and domain.

    Args:
        results: as ``collect_results`` gives them.
        reference: name of the row that all others are compared with.
        score: what is compared.

    Returns:
        ``{"labelled", "organ", "row", "title", "domain", "reference"}`` with the fields of ``PairedDifference``
        and ``left_out``: names of patients that lack the score in a seed of either row. Pairs without a patient
        in common are not there; without the reference row the list is empty.
    """
    tables = {key: (rows[0]["title"], _table(rows, score)) for key, rows in _grouped(results, _KEYS)}
    comparisons = []
    for (labelled, organ, row, domain), (title, own) in tables.items():
        _, other = tables.get((labelled, organ, reference, domain), ("", {}))
        if row == reference or not other:
            continue
        both = [name for name in own if name in other and None not in (*own[name], *other[name])]
        if not both:
            continue
        difference = paired_difference(
            np.array([own[name] for name in both], float), np.array([other[name] for name in both], float)
        )
        comparisons.append({
            "labelled": labelled, "organ": organ, "row": row, "title": title, "domain": domain,
            "reference": reference, **asdict(difference), "left_out": sorted({*own, *other} - {*both}),
        })  # fmt: skip
    return comparisons


def _shares(rng: np.random.Generator, count: int, resamples: int) -> np.ndarray:
    """Shares ``(resamples, count)`` of each of ``count`` things in as many draws with replacement."""
    return rng.multinomial(count, np.full(count, 1 / count), size=resamples) / count


def _weighted_means(scores: np.ndarray, patients: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Mean of ``(P, S)`` scores under drawn patients ``(B, P)`` and freshly drawn seeds: ``(B,)``."""
    return np.sum((patients @ scores) * _shares(rng, scores.shape[1], len(patients)), axis=1)


def _table(rows: Sequence[Mapping[str, Any]], score: str) -> dict[str, list[float | None]]:
    """Patient -> scores in the order of the seeds, None where one is missing."""
    seeds = sorted({row["seed"] for row in rows})
    table: dict[str, list[float | None]] = {}
    for row in rows:
        table.setdefault(row["name"], [None] * len(seeds))[seeds.index(row["seed"])] = row[score]
    return table


def _grouped(
    rows: Sequence[Mapping[str, Any]], keys: Sequence[str]
) -> Iterable[tuple[tuple[Any, ...], list[Mapping[str, Any]]]]:
    """Rows with the same values under ``keys``, in order of first appearance."""
    groups: dict[tuple[Any, ...], list[Mapping[str, Any]]] = {}
    for row in rows:
        groups.setdefault(tuple(row[key] for key in keys), []).append(row)
    return groups.items()


def _mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return statistics.fmean(known) if known else None
