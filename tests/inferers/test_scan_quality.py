"""One reading of all forms in which a report may hold its estimates."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from monai_semgan.inferers import QUALITY_ESTIMATES, scan_quality


def test_forms_that_are_understood() -> None:
    for value in (0.9, [0.9], [[0.9]], torch.tensor([[0.9]], dtype=torch.float64), np.float64(0.9)):
        assert scan_quality({"predicted_dice": value}) == {"predicted_dice": [pytest.approx(0.9)]}
    assert scan_quality({"agreement": [[0.9, 0.8]]}, organs=2) == {"agreement": [0.9, 0.8]}
    assert scan_quality({"agreement": [[0.9, 0.8]], "out_of_distribution": [0.1]}, organs=None) == {
        "agreement": [0.9, 0.8],
        "out_of_distribution": [0.1],
    }


def test_numbers_of_the_scan_count_for_every_organ() -> None:
    report = {"reconstruction_error": [0.1, 0.3], "out_of_distribution": [0.4], "predicted_dice": 0.5, "steps": 9}
    assert scan_quality(report, organs=2) == {
        "predicted_dice": [0.5, 0.5],
        "reconstruction_error": [pytest.approx(0.2)] * 2,
        "out_of_distribution": [0.4, 0.4],
    }


def test_what_is_not_there_is_left_out() -> None:
    assert scan_quality(None) == scan_quality({}) == scan_quality({"reconstruction_error": [], "agreement": None}) == {}


def test_too_few_numbers_are_refused() -> None:
    with pytest.raises(ValueError, match="predicted_dice has 2 numbers for 3 organs"):
        scan_quality({"predicted_dice": [[0.1, 0.2]]}, organs=3)


def test_every_estimate_has_a_direction() -> None:
    assert {name for name, higher in QUALITY_ESTIMATES.items() if higher} == {"predicted_dice", "agreement"}
