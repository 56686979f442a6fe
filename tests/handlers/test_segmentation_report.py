"""Slices that the generator cannot explain are flagged."""

from __future__ import annotations

import csv

import numpy as np
import pytest

from monai_semgan.handlers import SegmentationReport, flag_slices
from monai_semgan.utils import InputError


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


class TestQuality:
    """Estimates for the whole scan stand in the table of cases, once there are any."""

    def add(self, report, case, estimates):
        report.add(case, f"{case}.nii.gz", np.ones((4, 4, 3), np.uint8), np.diag([1, 1, 2, 1.0]), estimates)

    def table(self, folder):
        with (folder / "report_cases.csv").open(newline="", encoding="utf-8") as stream:
            return list(csv.DictReader(stream))

    def test_numbers_of_the_report_come_as_columns(self, tmp_path):
        report = SegmentationReport(tmp_path)
        self.add(report, "a", {"reconstruction_error": [0.1, 0.2, 0.3]})
        assert not {"predicted_dice", "agreement", "out_of_distribution"} & set(self.table(tmp_path)[0])
        self.add(report, "b", {"predicted_dice": [[0.95]], "agreement": [[0.9]], "out_of_distribution": [0.25]})
        a, b = self.table(tmp_path)
        assert (b["predicted_dice"], b["agreement"], b["out_of_distribution"]) == ("0.95", "0.9", "0.25")
        assert a["predicted_dice"] == a["agreement"] == ""
        assert a["reconstruction_error_mean"] == "0.2"
        assert list(a)[-1] == "message"

    def test_of_several_organs_the_lowest(self, tmp_path):
        report = SegmentationReport(tmp_path)
        self.add(report, "a", {"predicted_dice": [[0.95, 0.4, 0.8]], "agreement": [[0.9, 0.7, 0.99]]})
        (row,) = self.table(tmp_path)
        assert (row["predicted_dice"], row["agreement"]) == ("0.4", "0.7")
        assert "out_of_distribution" not in row

    def test_tables_of_earlier_runs_are_carried_on_with_or_without_them(self, tmp_path):
        self.add(SegmentationReport(tmp_path), "old", None)
        self.add(SegmentationReport(tmp_path), "new", {"predicted_dice": [[0.9]]})
        self.add(SegmentationReport(tmp_path), "third", None)
        assert [row["predicted_dice"] for row in self.table(tmp_path)] == ["", "0.9", ""]
        self.add(SegmentationReport(tmp_path), "new", None)  # no row has one any more
        assert "predicted_dice" not in self.table(tmp_path)[0]
        report = SegmentationReport(tmp_path)
        self.add(report, "new", {"predicted_dice": [[0.8]]})
        report.add_failure("new", "out of memory")
        assert self.table(tmp_path)[1]["predicted_dice"] == "0.8"

    def test_other_columns_are_still_refused(self, tmp_path):
        self.add(SegmentationReport(tmp_path), "a", {"predicted_dice": [[0.9]]})
        path = tmp_path / "report_cases.csv"
        path.write_text(path.read_text().replace("predicted_dice", "predicted_age"))
        with pytest.raises(InputError, match="not a report"):
            SegmentationReport(tmp_path)
