"""Means and confidence intervals by their properties."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from monai_semgan.apps.benchmark import compare_rows, paired_difference, summarise_rows
from monai_semgan.apps.benchmark.compare import patient_means
from monai_semgan.metrics import SCORE_NAMES


def column(values) -> np.ndarray:
    return np.asarray(values, float)[:, None]


def row(name: str, dice: float | None, *, seed: int = 0, which: str = "new", domain: str = "ct", labelled: int = 8):
    scores = dict.fromkeys(SCORE_NAMES, dice)
    return {
        "method": which, "row": which, "title": which.title(), "labelled": labelled, "seed": seed, "domain": domain,
        "name": name, "organ": "liver", **scores,
    }  # fmt: skip


def test_t_interval_is_that_of_the_one_sample_test_on_differences():
    rng = np.random.default_rng(0)
    first, second = rng.normal(0.7, 0.1, (8, 3)), rng.normal(0.65, 0.1, (8, 3))
    found = paired_difference(first, second)
    test = stats.ttest_1samp(first.mean(1) - second.mean(1), 0.0).confidence_interval(0.95)
    assert (found.t_low, found.t_high) == pytest.approx((test.low, test.high))
    assert found.mean == pytest.approx(first.mean() - second.mean())
    assert (found.patients, found.seeds) == (8, (3, 3))


def test_known_case():
    # differences .1, .2, .3: mean .2, s = .1, t(2) = 4.303
    found = paired_difference(column([0.1, 0.2, 0.3]), column([0.0, 0.0, 0.0]))
    assert found.t_high - found.mean == pytest.approx(4.302653 * 0.1 / np.sqrt(3), abs=1e-6)
    assert 0.1 <= found.bootstrap_low < found.mean < found.bootstrap_high <= 0.3


def test_a_constant_difference_leaves_no_doubt():
    second = np.random.default_rng(1).normal(0.6, 0.2, (5, 1))
    found = paired_difference(second + 0.05, second)
    assert (found.t_low, found.t_high) == pytest.approx((0.05, 0.05))
    assert (found.bootstrap_low, found.bootstrap_high) == pytest.approx((0.05, 0.05))


def test_swapped_rows_give_the_mirrored_interval():
    rng = np.random.default_rng(2)
    first, second = rng.random((6, 3)), rng.random((6, 3))
    found, back = paired_difference(first, second), paired_difference(second, first)
    assert (found.mean, found.t_low) == pytest.approx((-back.mean, -back.t_high))
    assert found.bootstrap_low == pytest.approx(-back.bootstrap_high, abs=0.02)


def test_paired_beats_unpaired_where_patients_differ_more_than_methods():
    rng = np.random.default_rng(3)
    difficulty = rng.normal(0.6, 0.2, (12, 1))
    first = difficulty + 0.03 + rng.normal(0, 0.01, (12, 3))
    second = difficulty + rng.normal(0, 0.01, (12, 3))
    found = paired_difference(first, second)
    unpaired = stats.ttest_ind(first.mean(1), second.mean(1)).confidence_interval(0.95)
    assert found.t_low > 0
    assert found.bootstrap_low > 0
    assert unpaired.low < 0 < unpaired.high
    assert 5 * (found.t_high - found.t_low) < unpaired.high - unpaired.low


def test_bootstrap_holds_the_spread_of_trainings_that_the_t_interval_cannot_see():
    # every patient of a seed is shifted alike: no difference between patients tells of it
    seeds = np.array([[-0.1, 0.0, 0.1]])
    second = column(np.linspace(0.5, 0.7, 10))
    found = paired_difference(second + seeds, second)
    assert found.t_high - found.t_low == pytest.approx(0.0, abs=1e-12)
    assert found.bootstrap_high - found.bootstrap_low > 0.1


def test_both_intervals_cover_the_truth_about_as_often_as_they_say():
    rng = np.random.default_rng(4)
    repeats, truth, hits = 300, 0.02, {"t": 0, "bootstrap": 0}
    for number in range(repeats):
        difficulty = rng.normal(0.6, 0.1, (25, 1))
        first = difficulty + truth + rng.normal(0, 0.03, (25, 1)) + rng.normal(0, 0.02, (25, 4))
        second = difficulty + rng.normal(0, 0.03, (25, 1)) + rng.normal(0, 0.02, (25, 4))
        found = paired_difference(first, second, resamples=400, seed=number)
        hits["t"] += found.t_low <= truth <= found.t_high
        hits["bootstrap"] += found.bootstrap_low <= truth <= found.bootstrap_high
    assert 0.91 <= hits["t"] / repeats <= 0.985
    assert 0.88 <= hits["bootstrap"] / repeats <= 0.985


def test_bootstrap_covers_when_trainings_vary_and_t_does_not():
    rng = np.random.default_rng(5)
    repeats, hits = 200, {"t": 0, "bootstrap": 0}
    for number in range(repeats):
        first = rng.normal(0, 0.01, (20, 8)) + rng.normal(0, 0.05, (1, 8))
        second = rng.normal(0, 0.01, (20, 8)) + rng.normal(0, 0.05, (1, 8))
        found = paired_difference(first, second, resamples=300, seed=number)
        hits["t"] += found.t_low <= 0 <= found.t_high
        hits["bootstrap"] += found.bootstrap_low <= 0 <= found.bootstrap_high
    assert hits["bootstrap"] / repeats > 0.85
    assert hits["t"] / repeats < 0.5


def test_intervals_shrink_with_patients_and_are_the_same_every_time():
    rng = np.random.default_rng(6)
    first, second = rng.random((40, 3)), rng.random((40, 3))
    few, many = paired_difference(first[:10], second[:10]), paired_difference(first, second)
    assert many.bootstrap_high - many.bootstrap_low < few.bootstrap_high - few.bootstrap_low
    assert paired_difference(first, second) == many
    assert paired_difference(first, second, seed=1) != many


def test_one_patient_has_a_difference_and_no_interval():
    found = paired_difference(column([0.8]), column([0.7]))
    assert found.mean == pytest.approx(0.1)
    assert (found.t_low, found.t_high, found.bootstrap_low, found.bootstrap_high) == (None,) * 4


@pytest.mark.parametrize(
    ("first", "second"),
    [(np.zeros((3, 2)), np.zeros((4, 2))), (np.zeros(3), np.zeros(3)), (np.zeros((0, 1)), np.zeros((0, 1))),
     (np.array([[np.nan]]), np.zeros((1, 1)))],
)  # fmt: skip
def test_what_cannot_be_compared(first, second):
    with pytest.raises(ValueError, match=r"wanted|finite"):
        paired_difference(first, second)


def test_mean_over_patients_first_then_over_seeds():
    rows = [row("a", 0.9, seed=0), row("b", 0.7, seed=0), row("a", 0.5, seed=1), row("b", 0.1, seed=1)]
    (summary,) = summarise_rows(rows)
    assert summary["dice"]["by_seed"] == pytest.approx({0: 0.8, 1: 0.3})
    assert summary["dice"]["mean"] == pytest.approx(0.55)
    assert summary["dice"]["sd"] == pytest.approx(np.std([0.8, 0.3], ddof=1))
    assert summary["failures"] == {0: [], 1: ["b"]}
    assert summary["patients"] == 2


def test_patients_without_a_result_are_failures_and_not_zeros():
    (summary,) = summarise_rows([row("a", 0.9), row("b", None)])
    assert summary["dice"]["mean"] == 0.9
    assert summary["dice"]["sd"] is None
    assert summary["failures"] == summary["no_result"] == {0: ["b"]}
    (nothing,) = summarise_rows([row("a", None)])
    assert nothing["dice"]["mean"] is None


def test_groups_are_kept_apart():
    rows = [row("a", 0.9), row("a", 0.5, domain="mr"), row("a", 0.4, labelled=1), row("a", 0.3, which="other")]
    assert [summary["dice"]["mean"] for summary in summarise_rows(rows)] == [0.9, 0.5, 0.4, 0.3]


def test_rows_are_compared_with_the_reference_on_patients_that_both_have():
    rows = [row(name, dice, which="base") for name, dice in (("a", 0.5), ("b", 0.6), ("c", 0.1), ("d", 0.2))]
    rows += [row(name, dice) for name, dice in (("d", 0.3), ("b", 0.7), ("a", 0.6), ("c", None), ("e", 0.9))]
    (found,) = compare_rows(rows, "base")
    assert (found["row"], found["reference"], found["domain"]) == ("new", "base", "ct")
    assert found["mean"] == pytest.approx(0.1)
    assert found["patients"] == 3
    assert found["left_out"] == ["c", "e"]


def test_without_a_reference_or_patients_in_common_there_is_nothing_to_say():
    assert compare_rows([row("a", 0.5)], "base") == []
    assert compare_rows([row("a", 0.5), row("b", 0.5, which="base")], "base") == []


def test_a_seed_more_in_one_row_is_used():
    rows = [row(name, 0.5, which="base") for name in "ab"]
    rows += [row(name, dice, seed=seed) for name in "ab" for seed, dice in ((0, 0.6), (1, 0.8))]
    (found,) = compare_rows(rows, "base")
    assert found["mean"] == pytest.approx(0.2)
    assert found["seeds"] == (2, 1)


def test_patient_means_are_over_the_seeds_with_a_score():
    (mean,) = patient_means([row("a", 0.4, seed=0), row("a", None, seed=1), row("a", 0.6, seed=2)])
    assert mean["dice"] == pytest.approx(0.5)
