"""Worked by hand for small cases, ties included; by brute force over all orders for ties in larger ones."""

from __future__ import annotations

import json
import math
from itertools import permutations

import numpy as np
import pytest
from scipy.stats import spearmanr

from monai_semgan.metrics import (
    area_under_risk_coverage,
    failure_auroc,
    risk_coverage_curve,
    spearman,
    summarise_estimate,
)


class TestSpearman:
    @pytest.mark.parametrize(
        ("first", "second", "wanted"),
        [
            ([1, 2, 3], [10, 100, 1000], 1.0),
            ([1, 2, 3], [3, 2, 1], -1.0),
            ([1, 2, 3], [1, 3, 2], 0.5),
            ([1, 1, 2], [1, 2, 3], math.sqrt(3) / 2),  # ranks 1.5 1.5 3 against 1 2 3: 1.5 / sqrt(1.5 * 2)
            ([1, 1, 2, 2], [1, 2, 1, 2], 0.0),
        ],
    )
    def test_small_cases(self, first: list, second: list, wanted: float) -> None:
        assert spearman(first, second) == pytest.approx(wanted)

    @pytest.mark.parametrize("seed", range(3))
    def test_equals_scipy_with_ties(self, seed: int) -> None:
        a, b = np.random.default_rng(seed).integers(0, 6, (2, 25))
        assert spearman(a, b) == pytest.approx(spearmanr(a, b).statistic)

    def test_not_defined(self) -> None:
        assert math.isnan(spearman([], []))
        assert math.isnan(spearman([1.0], [2.0]))
        assert math.isnan(spearman([1, 1, 1], [1, 2, 3]))


class TestRiskCoverage:
    def test_by_hand(self) -> None:
        coverage, risk = risk_coverage_curve([0.9, 0.1, 0.5, 0.7], [0.1, 0.9, 0.2, 0.0])
        assert coverage.tolist() == [0.25, 0.5, 0.75, 1.0]
        assert risk.tolist() == pytest.approx([0.1, 0.05, 0.1, 0.3])
        assert area_under_risk_coverage([0.9, 0.1, 0.5, 0.7], [0.1, 0.9, 0.2, 0.0]) == pytest.approx(0.1375)

    def test_oracle_and_random_by_hand(self) -> None:
        risk = [0.0, 0.5, 1.0]
        assert area_under_risk_coverage([-r for r in risk], risk) == pytest.approx((0 + 0.25 + 0.5) / 3)
        assert area_under_risk_coverage([7, 7, 7], risk) == pytest.approx(0.5)
        assert area_under_risk_coverage(risk, risk) == pytest.approx((1 + 0.75 + 0.5) / 3)  # the worst there is

    def test_a_tie_by_hand(self) -> None:
        """The two in the middle count as their mean until both are kept."""
        _, risk = risk_coverage_curve([2, 1, 1, 0], [0.0, 0.2, 0.6, 1.0])
        assert risk.tolist() == pytest.approx([0.0, 0.2, 0.8 / 3, 0.45])

    def test_ties_are_the_mean_over_all_orders(self) -> None:
        confidence, cost = np.array([1, 2, 1, 1, 2, 0]), np.array([0.3, 0.1, 0.9, 0.2, 0.6, 0.4])
        curves = []
        for order in permutations(range(6)):
            placed = np.array(order)
            first = placed[np.argsort(-confidence[placed], kind="stable")]
            curves.append(np.cumsum(cost[first]) / np.arange(1, 7))
        _, risk = risk_coverage_curve(confidence, cost)
        assert risk.tolist() == pytest.approx(np.mean(curves, axis=0).tolist())

    def test_it_does_not_depend_on_the_lists_order_and_lies_above_the_oracle(self) -> None:
        rng = np.random.default_rng(0)
        confidence, cost = rng.integers(0, 8, 30), rng.random(30)
        order = rng.permutation(30)
        _, risk = risk_coverage_curve(confidence, cost)
        assert risk_coverage_curve(confidence[order], cost[order])[1].tolist() == pytest.approx(risk.tolist())
        assert (risk >= risk_coverage_curve(-cost, cost)[1] - 1e-12).all()
        assert risk[-1] == pytest.approx(cost.mean())

    def test_infinite_confidence_is_an_order_too(self) -> None:
        assert risk_coverage_curve([-math.inf, 1.0, math.inf], [1.0, 0.5, 0.0])[1].tolist() == [0.0, 0.25, 0.5]

    def test_one_patient_and_none(self) -> None:
        assert area_under_risk_coverage([3], [0.4]) == pytest.approx(0.4)
        with pytest.raises(ValueError, match="at least one patient"):
            risk_coverage_curve([], [])


class TestFailureAuroc:
    @pytest.mark.parametrize(
        ("confidence", "dice", "wanted"),
        [
            ([0.1, 0.8, 0.9], [0.2, 0.7, 0.9], 1.0),
            ([0.9, 0.8, 0.1], [0.2, 0.7, 0.9], 0.0),
            ([0.5, 0.5, 0.5], [0.2, 0.7, 0.9], 0.5),
            ([0.5, 0.5, 0.9], [0.2, 0.7, 0.9], 0.75),  # a tie and a win
            ([0.1, 0.6, 0.5, 0.9], [0.1, 0.2, 0.7, 0.8], 0.75),  # three of four pairs
            ([0.1, 0.9], [0.4, 0.5], 1.0),  # 0.5 itself is no failure
        ],
    )
    def test_small_cases(self, confidence: list, dice: list, wanted: float) -> None:
        assert failure_auroc(confidence, dice) == pytest.approx(wanted)

    def test_equals_the_share_of_pairs(self) -> None:
        rng = np.random.default_rng(0)
        confidence, dice = rng.integers(0, 5, 40), rng.random(40)
        bad, good = confidence[dice < 0.3], confidence[dice >= 0.3]
        pairs = (bad[:, None] < good[None]) + 0.5 * (bad[:, None] == good[None])
        assert failure_auroc(confidence, dice, 0.3) == pytest.approx(pairs.mean())

    def test_not_defined_on_one_side(self) -> None:
        assert math.isnan(failure_auroc([1, 2], [0.8, 0.9]))
        assert math.isnan(failure_auroc([1, 2], [0.1, 0.2]))


class TestSummary:
    def test_an_error_is_turned_round_for_all_but_its_correlation(self) -> None:
        dice, error = [0.9, 0.8, 0.4], [0.1, 0.2, 0.9]
        as_error = summarise_estimate(error, dice, higher_is_better=False)
        as_quality = summarise_estimate([-e for e in error], dice)
        assert as_error["spearman"] == -as_quality["spearman"] == -1.0
        assert {k: v for k, v in as_error.items() if k != "spearman"} == {
            k: v for k, v in as_quality.items() if k != "spearman"
        }
        assert as_error["aurc"] == as_error["aurc_oracle"] == pytest.approx((0.1 + 0.15 + 0.3) / 3)
        assert as_error["aurc_random"] == pytest.approx(0.3)
        assert as_error["auroc_dice_below_0.5"] == 1.0

    def test_what_is_not_finite_is_left_out(self) -> None:
        summary = summarise_estimate([0.9, math.nan, 0.1, math.inf], [0.8, 0.9, 0.3, 0.2])
        assert summary["n"] == 2
        assert summary == summarise_estimate([0.9, 0.1], [0.8, 0.3])

    @pytest.mark.parametrize("count", [0, 1, 2])
    def test_few_patients_give_what_strict_json_can_hold(self, count: int) -> None:
        summary = summarise_estimate([0.5] * count, [0.9] * count)
        json.dumps(summary, allow_nan=False)
        assert summary["n"] == count
        assert summary["spearman"] is None
        assert (summary["aurc"] is None) is (count == 0)


def test_lists_that_do_not_fit() -> None:
    with pytest.raises(ValueError, match="one length"):
        spearman([1, 2], [1])
    with pytest.raises(ValueError, match="NaN"):
        failure_auroc([1, math.nan], [0.1, 0.9])
    with pytest.raises(ValueError, match="zip"):
        summarise_estimate([1, 2], [1])
