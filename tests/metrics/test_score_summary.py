"""Summaries must survive NaN, name failures, and be writable as strict JSON."""

from __future__ import annotations

import json

import pytest

from monai_semgan.metrics import summarise_scores

NAN = float("nan")


def row(name, dice, hd=1.0):
    return {"name": name, "dice": dice, "hd95_mm": hd, "assd_mm": hd / 2, "volume_error_percent": 10.0}


def test_mean_spread_median_and_count():
    summary = summarise_scores([row("a", 0.9), row("b", 0.7), row("c", 0.2)])
    assert summary["dice"] == {
        "mean": pytest.approx(0.6),
        "std": pytest.approx(0.36055513),  # sample standard deviation
        "median": 0.7,
        "n": 3,
    }
    assert summary["failures"] == ["c"]


def test_undefined_distances_are_left_out_and_counted():
    summary = summarise_scores([row("a", 0.9, 2.0), row("b", 0.0, NAN)])
    assert summary["hd95_mm"]["n"] == 1
    assert summary["hd95_mm"]["mean"] == 2.0
    assert summary["hd95_mm"]["std"] == 0.0
    assert summary["dice"]["n"] == 2
    assert summary["failures"] == ["b"]


def test_nothing_at_all_gives_none_which_strict_json_can_hold():
    summary = summarise_scores([])
    assert summary["dice"] == {"mean": None, "std": None, "median": None, "n": 0}
    json.dumps(summarise_scores([row("a", 0.5, NAN)]), allow_nan=False)


def test_a_dice_that_is_not_a_number_is_a_failure():
    assert summarise_scores([row("a", NAN)])["failures"] == ["a"]
