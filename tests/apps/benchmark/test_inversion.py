"""The benchmark of latent inversion: what it scores, what it times, its table and its command."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from monai_semgan.__main__ import main
from monai_semgan.apps.benchmark.inversion import compare_inversions, inversion_table
from monai_semgan.data import SliceBank
from tests.tiny import SIZE, make_segmenter


def make_bank(network: torch.nn.Module) -> SliceBank:
    """Six slices of two patients; the masks of the first are what the encoder alone finds."""
    images = torch.rand(6, 1, SIZE, SIZE, generator=torch.Generator().manual_seed(0)) * 2 - 1
    with torch.no_grad():
        labels = (network(images).argmax(dim=1, keepdim=True) > 0).to(torch.uint8)
    labels[3:] = 1 - labels[3:]  # and of the second the opposite
    return SliceBank(images, labels, ["a"] * 3 + ["b"] * 3, torch.linspace(0, 1, 6))


def test_scores_are_those_of_each_patient_and_times_those_of_a_slice() -> None:
    network = make_segmenter()
    ways = {
        "encoder": {"steps": 0, "slice_batch": 32}, "together": {"steps": 3, "slice_batch": 4},
        "alone": {"steps": 3, "slice_batch": 1},
    }  # fmt: skip
    threads = torch.get_num_threads()
    rows = compare_inversions(network, make_bank(network), {"learning_rate": 0.01}, ways)
    assert torch.get_num_threads() == threads
    assert [row["name"] for row in rows] == list(ways)
    assert rows[0]["by_case"] == {"a": 1.0, "b": 0.0}
    assert rows[0]["dice"] == 0.5
    assert rows[1]["by_case"] == pytest.approx(rows[2]["by_case"], abs=0.05)  # a slice's answer is its own
    assert 0 < rows[0]["seconds"] < rows[1]["seconds"]


def test_the_table_holds_times_against_the_last_way() -> None:
    rows = [
        {"name": "few", "dice": 0.9, "by_case": {"a": 0.9}, "seconds": 0.1},
        {"name": "many", "dice": 0.9, "by_case": {"a": 0.9}, "seconds": 4.0},
    ]
    text = inversion_table(rows)
    assert "| few | 0.9000 | a 0.900 | 100 ms | 40.0 |" in text
    assert text.rstrip().endswith("| 1.0 |")


def test_a_domain_without_scans_is_explained(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    assert main(["phantom", "--out", str(tmp_path / "p"), "--subjects", "3"]) == 0
    assert main(["benchmark", "inversion", "--dataset_dir", str(tmp_path / "p"), "--domain", "pet"]) == 2
    assert "domain with test scans" in capsys.readouterr().err
