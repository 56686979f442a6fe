"""Every bundle moves its probabilities to the scan's edges before it makes a mask, and can be told not to."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from monai.bundle import ConfigParser
from monai.data import MetaTensor

ROOT = Path(__file__).parents[2]
CONFIGS = [
    path for path in sorted(ROOT.glob("bundles/*/configs/*.json")) if "postprocessing" in json.loads(path.read_text())
]


def short(path: Path) -> str:
    return f"{path.parents[1].name}-{path.stem}"


@pytest.mark.parametrize("path", CONFIGS, ids=short)
def test_the_walk_comes_between_probabilities_and_the_grid_of_the_file(path):
    config = json.loads(path.read_text())
    names = [step["_target_"].rsplit(".", 1)[-1] for step in config["postprocessing"]["transforms"]]
    where = names.index("Activationsd")
    assert names[where : where + 3] == ["Activationsd", "RandomWalkRefined", "Invertd"]
    assert (config["edge_reach_mm"], config["edge_sensitivity"]) == (20.0, 2.0)


def test_all_bundles_are_covered():
    assert {path.parents[1].name for path in CONFIGS} == {
        path.parents[1].name for path in ROOT.glob("bundles/*/configs/inference.json")
    }


@pytest.mark.parametrize("path", [path for path in CONFIGS if path.stem == "inference"], ids=short)
def test_it_can_be_switched_off(path):
    steps = {}
    for reach in (20.0, 0.0):
        parser = ConfigParser()
        parser.read_config(str(path))
        parser["edge_reach_mm"] = reach
        parser["bundle_root"] = str(path.parents[1])
        steps[reach] = parser.get_parsed_content("postprocessing#transforms#2")
    draw = torch.Generator().manual_seed(0)
    probability = torch.randn(2, 16, 16, 8, generator=draw)
    probability[1, :8] += 6.0
    data = {"pred": probability.softmax(dim=0), "image": MetaTensor(torch.rand(1, 16, 16, 8, generator=draw))}
    assert torch.equal(steps[0.0](data)["pred"], data["pred"])
    assert not torch.equal(steps[20.0](data)["pred"], data["pred"])
