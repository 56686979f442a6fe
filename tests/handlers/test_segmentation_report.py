"""Slices that the generator cannot explain are flagged."""

from __future__ import annotations

import numpy as np

from monai_semgan.handlers import SegmentationReport, flag_slices


def test_a_slice_unlike_its_neighbours_is_flagged():
    assert flag_slices([0.10, 0.11, 0.10, 0.60, 0.11, 0.09]) == ["", "", "", "check", "", ""]


def test_equal_errors_flag_nothing_and_nan_is_always_flagged():
    assert flag_slices([0.1] * 5) == [""] * 5
    assert flag_slices([0.1, float("nan"), 0.1]) == ["", "check", ""]
    assert flag_slices([]) == []


def test_a_threshold_is_taken_as_it_is():
    assert flag_slices([0.1, 0.3, 0.5], threshold=0.2) == ["", "check", "check"]


def test_a_case_without_errors_still_counts_pixels(tmp_path):
    report = SegmentationReport(tmp_path)
    report.add("a", "a_seg.nii.gz", np.zeros((4, 4, 3), np.uint8), np.diag([1, 1, 2, 1.0]))
    text = (tmp_path / "report.csv").read_text().splitlines()
    assert text[1:] == ["a,0,,0,", "a,1,,0,", "a,2,,0,"]
    assert "the mask is empty: check" in (tmp_path / "report_cases.csv").read_text()
