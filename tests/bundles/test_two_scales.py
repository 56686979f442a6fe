"""The shipped student has two scales; weights that stand alone are used alone."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from monai.bundle import ConfigParser
from monai.data import MetaTensor

BUNDLE = Path(__file__).resolve().parents[2] / "bundles" / "ct_liver"
LARGEST = 25 * 2**20
"""Bytes of a file that the Model Zoo takes."""


def parse(**overrides: Any) -> ConfigParser:
    parser = ConfigParser()
    parser.read_config(str(BUNDLE / "configs" / "inference.json"))
    parser.update({"bundle_root": str(BUNDLE), "device": torch.device("cpu"), "mixed_precision": False, **overrides})
    parser["initialize"] = []
    parser.get_parsed_content("imports")
    return parser


@pytest.fixture
def alone(tmp_path: Path) -> Path:
    for name in ("model.pt", "model.json"):
        shutil.copy(BUNDLE / "models" / name, tmp_path / name)
    return tmp_path / "model.pt"


def scan() -> MetaTensor:
    torch.manual_seed(0)
    image = torch.rand(1, 1, 128, 128, 6) - 1
    return MetaTensor(image, affine=torch.diag(torch.tensor([2.75, 2.75, 6.0, 1.0])))


def test_what_ships_is_the_mean_of_a_fine_and_a_coarse_student(alone: Path) -> None:
    both = parse()
    inferer = both.get_parsed_content("inferer")
    assert len(inferer.inferer.inferers) == 2
    network = both.get_parsed_content("network")
    image, plain = scan(), {"identity": lambda view: view}
    inferer.views = plain
    answer = inferer(image, network).exp()
    fine, coarse = (part(image, network).as_tensor().softmax(dim=1) for part in inferer.inferer.inferers)
    assert not torch.allclose(fine, coarse, atol=0.05)
    torch.testing.assert_close(answer.as_tensor(), (fine + coarse) / 2, atol=1e-5, rtol=0)

    single = parse(checkpoint=str(alone)).get_parsed_content("inferer")
    assert len(single.inferer.inferers) == 1
    single.views = plain
    torch.testing.assert_close(single(image, network).exp().as_tensor(), fine, atol=1e-5, rtol=0)


def test_the_coarse_student_can_be_left_out() -> None:
    parser = parse(coarse_checkpoint=None)
    assert len(parser.get_parsed_content("inferer").inferer.inferers) == 1


def test_files_are_small_enough_and_say_what_they_are() -> None:
    sizes = {}
    for path in sorted((BUNDLE / "models").glob("*.pt")):
        assert path.stat().st_size < LARGEST, path.name
        sizes[path.name] = json.loads(path.with_suffix(".json").read_text())["image_size"]
    assert sizes["model.pt"] == 2 * sizes["coarse.pt"]
