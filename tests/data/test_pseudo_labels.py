"""Transferred labels between two stages: the same after a round trip, and of the right slices."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from monai_semgan.data import PseudoLabels
from monai_semgan.utils import InputError
from tests.tiny_transfer import make_tagged


def make_labels() -> PseudoLabels:
    bank = make_tagged()
    return PseudoLabels({"labelled": bank.labels}, {"labelled": bank.cases}, {"seed": 1})


def test_round_trip(tmp_path: Path) -> None:
    labels = make_labels()
    labels.save(tmp_path / "labels.pt")
    again = PseudoLabels.load(tmp_path / "labels.pt")
    assert torch.equal(again.labels["labelled"], labels.labels["labelled"])
    assert (again.cases, again.settings) == (labels.cases, {"seed": 1})


def test_labels_of_other_slices_are_refused() -> None:
    bank, labels = make_tagged(), make_labels()
    labels.check("labelled", bank)
    labels.check("unlabelled", None)
    with pytest.raises(InputError, match="transferred labels of the unlabelled slices: got none"):
        labels.check("unlabelled", bank)
    with pytest.raises(InputError, match=r"got .* of 2 scans; wanted .* of the 1 scans"):
        labels.check("labelled", replace(bank, cases=["a"] * len(bank)))


def test_files_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        PseudoLabels.load(tmp_path / "labels.pt")
    torch.save({"weights": torch.zeros(1)}, tmp_path / "labels.pt")
    with pytest.raises(InputError, match="got another file"):
        PseudoLabels.load(tmp_path / "labels.pt")
