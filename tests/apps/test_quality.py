"""Estimates of quality: from the inferer's report to table, summary, picture and tracking; nothing without them."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from monai.inferers import SimpleInferer

from monai_semgan.apps.evaluation import DomainEvaluation
from monai_semgan.apps.evaluation_report import CASE_COLUMNS
from monai_semgan.apps.quality import format_quality, quality_curves, quality_metrics, summarise_quality
from monai_semgan.inferers import AppearanceEnsembleInferer
from tests.scans import AFFINES, BrightnessNetwork, ReportingInferer, make_scan, make_transforms, write_scan


@pytest.fixture
def test_lists(tmp_path):
    """Three patients in two domains; the last one's mask on disk is half the liver, a poor match."""
    lists: dict[str, list] = {"ct": [], "mr": []}
    for domain, name in (("ct", "ct0"), ("ct", "ct1"), ("mr", "mr0")):
        volume, liver = make_scan(AFFINES["LAS"])
        if name == "mr0":
            liver[: liver.shape[0] // 4] = 0
        item = {"name": name}
        for key, array in (("image", volume), ("label", liver)):
            path = tmp_path / domain / f"{key}s" / f"{name}.nii.gz"
            item[key] = str(write_scan(path, array, AFFINES["LAS"]))
        lists[domain].append(item)
    return lists


class Run:
    def __init__(self):
        self.metrics, self.artifacts = {}, []

    def log_metrics(self, metrics, step):
        self.metrics.update(metrics)

    def log_artifact(self, path, folder=None):
        self.artifacts.append(path.name)

    def log_table(self, rows, name):
        self.tables = {**getattr(self, "tables", {}), name: rows}

    def describe(self, text):
        self.description = text

    def start_stage(self, stage, prefix=None):
        self.open = stage

    def finish_stage(self, stage):
        assert self.open == stage


def evaluate(folder, test, inferers, **options):
    preprocessing, postprocessing = make_transforms()
    job = DomainEvaluation(test, preprocessing, BrightnessNetwork(), inferers, postprocessing, folder, **options)
    return job.run()


def table(folder) -> tuple[list[str], list[dict[str, str]]]:
    with (folder / "per_case.csv").open(newline="", encoding="utf-8") as stream:
        reader = csv.DictReader(stream)
        rows = list(reader)
        return list(reader.fieldnames or []), rows


def test_an_ensembles_numbers_arrive_everywhere(test_lists, tmp_path, capsys):
    run = Run()
    inferers = {
        "ensemble": AppearanceEnsembleInferer(ReportingInferer(), ["identity", "gamma_up", "median"]),
        "plain": SimpleInferer(),
    }
    summary = evaluate(tmp_path / "out", test_lists, inferers, run=run)
    columns, rows = table(tmp_path / "out")
    assert set(columns) - set(CASE_COLUMNS) == {"predicted_dice", "agreement", "out_of_distribution"}
    assert [name for name in columns if name in CASE_COLUMNS] == list(CASE_COLUMNS)
    for row in rows:
        filled = {name for name in ("predicted_dice", "agreement", "reconstruction_error", "out_of_distribution")
                  if row[name]}  # fmt: skip
        assert len(filled) == (4 if row["stage"] == "ensemble" else 0)
        assert all(0 <= float(row[name]) <= 1 for name in filled & {"predicted_dice", "agreement"})

    quality = summary["quality"]
    assert list(quality) == ["ensemble"]
    assert list(quality["ensemble"]) == ["predicted_dice", "agreement", "reconstruction_error", "out_of_distribution"]
    for estimate in quality["ensemble"].values():
        assert estimate["all"]["n"] == 3
        assert {domain: scores["n"] for domain, scores in estimate["domains"].items()} == {"ct": 2, "mr": 1}
    assert json.loads((tmp_path / "out" / "summary.json").read_text()) == summary
    assert (tmp_path / "out" / "risk_coverage.png").is_file()
    assert "risk_coverage.png" in run.artifacts
    assert run.metrics["test/ensemble/quality/agreement/aurc"] == quality["ensemble"]["agreement"]["all"]["aurc"]
    assert "predicted_dice, ensemble, 3 patients: Spearman with Dice" in capsys.readouterr().out


def test_nothing_changes_without_them(test_lists, tmp_path, capsys):
    summary = evaluate(tmp_path / "out", test_lists, {"plain": SimpleInferer()})
    assert set(summary) == {"domains", "main_inferer", "not_scored"}
    columns, rows = table(tmp_path / "out")
    assert columns == list(CASE_COLUMNS)
    assert {row["reconstruction_error"] for row in rows} == {""}
    assert not (tmp_path / "out" / "risk_coverage.png").exists()
    assert "Spearman" not in capsys.readouterr().out


def test_several_organs_have_numbers_of_their_own(test_lists, tmp_path):
    class TwoOrgans(SimpleInferer):
        report: dict[str, Any]

        def __call__(self, inputs, network, *args, **kwargs):
            self.report = {"predicted_dice": [[0.9, 0.3]], "reconstruction_error": [0.5] * inputs.shape[-1]}
            return super().__call__(inputs, network)

    volume, liver = make_scan(AFFINES["LAS"])
    liver[volume == -1000] = 4  # which the network never finds
    for item in test_lists["ct"]:
        write_scan(Path(item["label"]), liver, AFFINES["LAS"])
    summary = evaluate(tmp_path / "out", {"ct": test_lists["ct"]}, {"x": TwoOrgans()}, labels={"liver": 1, "spleen": 4})
    _, rows = table(tmp_path / "out")
    assert [(row["organ"], row["predicted_dice"]) for row in rows[:2]] == [("liver", "0.9"), ("spleen", "0.3")]
    assert {row["reconstruction_error"] for row in rows} == {"0.5"}
    organs = summary["quality"]["x"]["organs"]
    assert list(organs) == ["liver", "spleen"]
    assert summary["quality"]["x"]["predicted_dice"] == organs["liver"]["predicted_dice"]
    assert organs["spleen"]["predicted_dice"]["all"]["aurc"] > organs["liver"]["predicted_dice"]["all"]["aurc"]


def case(name: str, domain: str, dice: float, **estimates: Any) -> dict[str, Any]:
    return {"name": name, "domain": domain, "stage": "s", "organ": "liver", "dice": dice, **estimates}


CASES = [
    case("a", "ct", 0.9, predicted_dice=0.95, reconstruction_error=0.1),
    case("b", "ct", 0.8, predicted_dice=0.85, reconstruction_error=0.3),
    case("c", "mr", 0.6, predicted_dice=0.75, reconstruction_error=0.2),
    case("d", "mr", 0.2, predicted_dice=0.35, reconstruction_error=0.8),
]


class TestSummary:
    def test_all_patients_together_and_each_domain(self) -> None:
        estimates = summarise_quality(CASES, ["s"], ["liver"])["s"]
        good, error = estimates["predicted_dice"], estimates["reconstruction_error"]
        assert good["all"]["spearman"] == pytest.approx(1)
        assert good["all"]["aurc"] == pytest.approx(good["all"]["aurc_oracle"])
        assert error["all"]["spearman"] == pytest.approx(-0.8)
        assert error["all"]["aurc"] == pytest.approx((0.1 + 0.5 / 2 + 0.7 / 3 + 1.5 / 4) / 4)
        assert error["domains"]["mr"]["n"] == 2
        assert good["all"]["auroc_dice_below_0.5"] == 1.0
        assert good["domains"]["ct"]["auroc_dice_below_0.5"] is None

    def test_patients_and_stages_without_a_number_are_left_out(self) -> None:
        more = [
            case("e", "mr", 0.5, predicted_dice="", reconstruction_error=float("nan")),
            case("f", "mr", 0.5),
            {"domain": "mr", "name": "g", "message": "unreadable"},
        ]
        assert summarise_quality([*CASES, *more], ["s", "t"], ["liver"]) == summarise_quality(CASES, ["s"], ["liver"])
        assert summarise_quality(more, ["s"], ["liver"]) == {}

    def test_tracking_and_terminal(self) -> None:
        quality = summarise_quality(CASES[:1], ["s"], ["liver"])
        assert "test/s/quality/predicted_dice/spearman" not in quality_metrics(quality)  # one patient: not defined
        assert quality_metrics(quality)["test/s/quality/predicted_dice/aurc"] == pytest.approx(0.1)
        assert "Spearman with Dice -," in format_quality(quality)[0]
        assert quality_metrics({}) == {}
        assert format_quality({}) == []


class TestCurves:
    def test_a_panel_for_all_and_one_a_domain(self) -> None:
        panels = quality_curves(CASES)
        assert list(panels) == ["all domains", "ct", "mr"]
        assert list(panels["ct"]) == ["predicted dice", "reconstruction error", "oracle", "random"]
        assert panels["all domains"]["oracle"] == panels["all domains"]["predicted dice"]
        assert [risk for _, risk in panels["mr"]["random"]] == pytest.approx([0.6, 0.6])
        assert np.array(panels["ct"]["oracle"]).tolist() == [[0.5, pytest.approx(0.1)], [1.0, pytest.approx(0.15)]]

    def test_one_domain_is_one_panel_and_one_patient_none(self) -> None:
        assert list(quality_curves(CASES[:2])) == ["ct"]
        assert quality_curves(CASES[:1]) == {}
        assert quality_curves([]) == {}
        assert list(quality_curves(CASES[:3])) == ["all domains", "ct"]

    def test_all_curves_are_about_the_same_patients(self) -> None:
        rows = [*CASES, case("e", "ct", 0.1, predicted_dice=0.9, reconstruction_error="")]
        assert quality_curves(rows) == quality_curves(CASES)


def test_a_report_with_too_few_numbers_is_that_patients_failure(test_lists, tmp_path):
    inferer = SimpleInferer()
    inferer.report = {"agreement": [0.1, 0.2]}
    summary = evaluate(tmp_path / "out", {"ct": test_lists["ct"][:1]}, {"x": inferer},
                       labels={"a": 1, "b": 2, "c": 3})  # fmt: skip
    assert "agreement has 2 numbers for 3 organs" in summary["not_scored"]["ct/ct0"]
    assert torch.is_grad_enabled()
