"""Scores per patient and domain for two inferers, with a bad patient among the good."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest

from monai_semgan.apps.evaluation import DomainEvaluation
from monai_semgan.utils import InputError
from tests.scans import AFFINES, BrightnessNetwork, ReportingInferer, make_scan, make_transforms, write_scan


@pytest.fixture
def folder(tmp_path):
    """Four patients of different orientation in two domains, one with a broken file; labels 1 and 4."""
    test = {"ct": [], "mr_t2spir": [], "mr_t1in": []}
    for domain, name, orientation in [
        ("ct", "ct0", "LAS"),
        ("ct", "ct1", "LPI"),
        ("mr_t2spir", "mr0", "oblique"),
        ("mr_t2spir", "mr1", "RAS"),
    ]:
        volume, liver = make_scan(AFFINES[orientation])
        liver[liver == 0] = 4 * (volume[liver == 0] == -1000)  # another organ number, which is not evaluated
        item = {"name": name, "domain": domain}
        for key, array in (("image", volume), ("label", liver)):
            item[key] = str(write_scan(tmp_path / domain / f"{key}s" / f"{name}.nii.gz", array, AFFINES[orientation]))
        test[domain].append(item)
    broken = tmp_path / "mr_t2spir" / "images" / "mr1.nii.gz"
    broken.write_bytes(broken.read_bytes()[:300])
    return tmp_path, test


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


def evaluation(tmp_path, test, **kwargs):
    preprocessing, postprocessing = make_transforms()
    # The second inferer sees everything far too dark, and finds nothing.
    inferers = {"optimised": ReportingInferer(), "encoder": ReportingInferer(offset=-3.0)}
    return DomainEvaluation(
        test, preprocessing, BrightnessNetwork(), inferers, postprocessing, tmp_path / "out", **kwargs
    )


def test_domains_stages_failures_and_files(folder, capsys):
    tmp_path, test = folder
    run = Run()
    job = evaluation(tmp_path, test, run=run)
    summary = job.run()

    ct = summary["domains"]["ct"]
    assert ct["dice"]["n"] == 2
    assert ct["dice"]["mean"] > 0.85
    assert ct["failures"] == []
    assert ct["hd95_mm"]["mean"] <= 10.0
    assert ct["assd_mm"]["mean"] < 3.0
    assert summary["encoder"]["ct"]["dice"]["mean"] == 0.0
    assert summary["encoder"]["ct"]["failures"] == ["ct0", "ct1"]
    assert summary["encoder"]["ct"]["hd95_mm"]["n"] == 0  # nothing found: no distance
    assert set(summary["domains"]) == {"ct", "mr_t2spir"}  # a domain without scans is left out
    assert summary["domains"]["mr_t2spir"]["dice"]["n"] == 1

    out = tmp_path / "out"
    written = {p.name for p in out.iterdir()}
    assert written == {
        "per_case.csv",
        "summary.json",
        "box_plot.png",
        "overlays_ct.png",
        "overlays_mr_t2spir.png",
        "risk_coverage.png",  # the inferers report reconstruction errors
    }
    assert json.loads((out / "summary.json").read_text()) == summary
    with (out / "per_case.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert [(r["name"], r["stage"]) for r in rows] == [
        ("ct0", "optimised"), ("ct0", "encoder"), ("ct1", "optimised"), ("ct1", "encoder"),
        ("mr0", "optimised"), ("mr0", "encoder"), ("mr1", ""),
    ]  # fmt: skip
    assert float(rows[0]["reconstruction_error"]) == 3.5  # mean of 0..7
    assert "mr1.nii.gz" in rows[-1]["message"]

    assert run.metrics["test/optimised/ct/dice"] == ct["dice"]["mean"]
    assert run.metrics["test/encoder/ct/failures"] == 2.0
    assert set(run.artifacts) == written
    printed = capsys.readouterr().out
    assert "mr_t2spir" in printed
    assert "no result, mr_t2spir/mr1" in printed
    assert "Dice below .3, ct, encoder: ct0, ct1" in printed
    assert list(summary["not_scored"]) == ["mr_t2spir/mr1"]
    with pytest.raises(InputError, match="1 of 4 test scans gave no result"):
        job.raise_failures()


def test_the_score_is_that_of_the_mask_on_disk(folder):
    """A reference shifted by a known number of voxels is scored with that shift."""
    tmp_path, test = folder
    item = test["ct"][0]
    _, liver = make_scan(AFFINES["LAS"])
    unshifted = evaluation(tmp_path, {"ct": [item]})
    first = unshifted.run()["domains"]["ct"]
    write_scan(tmp_path / "ct" / "labels" / "ct0.nii.gz", np.roll(liver, 2, axis=1), AFFINES["LAS"])
    second = unshifted.run()["domains"]["ct"]
    assert second["dice"]["mean"] < first["dice"]["mean"] - 0.1
    assert second["hd95_mm"]["mean"] == pytest.approx(12.0, abs=6.0)  # two voxels of 6 mm


def test_several_organs_are_numbered_in_order(folder):
    tmp_path, test = folder
    summary = evaluation(tmp_path, {"ct": test["ct"]}, labels={"liver": 1, "spleen": 4}).run()
    organs = summary["domains"]["ct"]["organs"]
    assert organs["liver"]["dice"]["mean"] > 0.85
    assert organs["spleen"]["dice"]["mean"] == 0.0
    assert summary["domains"]["ct"]["dice"] == organs["liver"]["dice"]


def test_a_mask_of_another_scan_is_not_scored(folder):
    tmp_path, test = folder
    swapped = [{**test["ct"][0], "label": test["ct"][1]["label"]}]
    job = evaluation(tmp_path, {"ct": swapped})
    summary = job.run()
    assert summary["domains"] == {}
    assert "different" in job.failures[0][1]
    with pytest.raises(InputError):
        job.raise_failures()


def test_no_test_scans_is_said_at_once(tmp_path):
    with pytest.raises(InputError, match="no test scans"):
        evaluation(tmp_path, {"ct": []})
