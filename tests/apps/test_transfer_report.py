"""The report on transferred labels: right numbers, step by step, and nothing else changed by it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from monai_semgan.apps import TransferReport, organ_table
from monai_semgan.apps.transfer_report import patient_dice
from monai_semgan.data import OrganRoles
from monai_semgan.engines import LabelTransfer
from monai_semgan.inferers import SelfDiffusion
from tests.tiny_transfer import ROLES, Bright, LowerRight, UpperLeft, make_network, make_tagged, make_truth


def make_report(folder: Path | None = None, **options: Any) -> TransferReport:
    transfer = LabelTransfer(ROLES, {}, Bright(), LowerRight(), UpperLeft(), SelfDiffusion(steps=12))
    banks = {"validation": make_tagged(masks=False), "unlabelled": None}
    truth = {"validation": make_truth(), "unlabelled": None}
    return TransferReport(transfer, **{"banks": banks, "truth": truth, "output_dir": folder, **options})


def test_steps_and_files(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    scores = make_report(tmp_path, network=make_network()).run()
    assert list(scores) == ["validation"]
    steps = scores["validation"]
    assert list(steps) == ["objects", "activation", "seeds", "diffused", "label", "network"]
    assert set(steps["diffused"]) == {"disc"}
    assert set(steps["label"]) == set(steps["network"]) == {"disc", "square"}
    assert all(0 <= value <= 1 for found in steps.values() for value in found.values())
    assert steps["label"]["disc"] > 0.9
    assert json.loads((tmp_path / "scores.json").read_text(encoding="utf-8")) == scores
    assert (tmp_path / "steps_validation.png").stat().st_size > 1000
    assert "disc (weak)  square (strong)" in capsys.readouterr().out


def test_without_a_network_its_column_is_left_out() -> None:
    assert "network" not in make_report().run()["validation"]


def test_values_go_to_the_run() -> None:
    class Run:
        def log_metrics(self, values: dict, step: int) -> None:
            self.values = values

    run = Run()
    make_report(run=run).run()
    assert run.values["transfer/validation/label/disc"] > 0.9


def test_masks_of_other_slices_are_refused() -> None:
    with pytest.raises(ValueError, match="bank validation: the masks are not those of its slices"):
        make_report(truth={"validation": make_truth(count=12)})


def test_dice_is_a_mean_over_patients_that_show_the_organ() -> None:
    wanted = torch.zeros(3, 1, 2, 2, dtype=torch.bool)
    wanted[0] = wanted[1, 0, 0] = True
    found = wanted.clone()
    found[1] = False
    found[2] = True
    assert patient_dice(found, wanted, ["a", "b", "c"]) == 0.5
    assert patient_dice(found, wanted, ["a", "a", "a"]) == pytest.approx(2 * 4 / 14)
    assert patient_dice(found, torch.zeros_like(wanted), ["a", "b", "c"]) is None


def test_table_of_organs() -> None:
    score = {"dice": {"mean": 0.5, "n": 3}, "hd95_mm": {"mean": None}}
    summary = {"domains": {"ct": {"organs": {"disc": score, "square": score}}, "mr": {}}}
    lines = organ_table(summary, ROLES).splitlines()
    assert lines[2:] == ["ct      disc (weak)      3  0.500  -", "ct      square (strong)  3  0.500  -"]
    assert "(weak)" not in organ_table(summary)
    assert organ_table({"domains": {"ct": {}}}, OrganRoles({"disc": 1}, ["disc"])) == ""
