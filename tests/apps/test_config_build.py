"""What cannot work although every name and type is right: told by id, before data are loaded."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from monai_semgan.apps.config_build import impossible_settings

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")

CONFIG: dict[str, Any] = {
    "imports": ["$import os", "$import torch"],
    "dataset_dir": "$os.getcwd()",
    "device": "$torch.device('cuda:0')",
    "image_size": 32,
    "batch_size": 4,
    "labelled": 8,
    "clean_fraction": 0.25,
    "unet_channels": [4, 8, 8],
    "unet_strides": [2, 2],
    "network_def": {
        "_target_": "monai.networks.nets.UNet", "spatial_dims": 2, "in_channels": 1, "out_channels": 2,
        "channels": "@unet_channels", "strides": "@unet_strides", "norm": "INSTANCE",
    },
    "network": "$@network_def.to(@device)",
    "inferer": {"_target_": "monai.inferers.SliceInferer", "roi_size": ["@image_size", "@image_size"]},
    "scale": {"_target_": "monai_semgan.transforms.ScaleScanIntensity", "modality": "ct"},
    "scans": {"_target_": "tests.apps.test_config_build.must_not_be_called", "folder": "@dataset_dir"},
    "reader": {"_target_": "monai_semgan.transforms.LoadScan", "label": "$@scans is not None"},
    "run": ["$@scans"],
}  # fmt: skip


def must_not_be_called(folder: str) -> None:
    raise AssertionError("data were loaded")


@pytest.fixture
def problems(tmp_path: Path):
    def find(overlay: dict[str, Any] | None = None, **overrides: Any) -> list[str]:
        path = tmp_path / "train.json"
        path.write_text(json.dumps({**CONFIG, **(overlay or {})}), encoding="utf-8")
        return [str(problem) for problem in impossible_settings([str(path)], overrides)]

    return find


def test_what_works_passes_without_a_gpu_and_without_data(problems) -> None:
    assert problems() == []


def test_random_numbers_are_left_alone(problems) -> None:
    torch.manual_seed(3)
    before = torch.get_rng_state()
    problems()
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"batch_size": 0}, "option batch_size: got 0; wanted batch_size at least 1"),
        ({"clean_fraction": 1.5}, "option clean_fraction: got 1.5; wanted a share between 0 and 1"),
        (
            {"unet_strides": [2]},
            "options unet_channels and unet_strides: got [4, 8, 8] and [2]; wanted 1 more channels",
        ),
        (
            {"image_size": 30},
            "options image_size and unet_strides: got 30 and [2, 2]; wanted an image_size that can be",
        ),
        ({"network_def#norm": "BATHC"}, "component network_def: ValueError: By 'BATHC', did you mean 'BATCH'"),
        ({"network_def#_target_": "monai.networks.nets.UNte"}, "did you mean monai.networks.nets.UNet?"),
        ({"scale#modality": "xray"}, "component scale: option modality: got 'xray'"),
        ({"dataset_dir": "/no/such/folder"}, "option dataset_dir: data set folder /no/such/folder is missing"),
    ],
)
def test_what_cannot_work_is_told_by_id(problems, given: dict[str, Any], told: str) -> None:
    (problem,) = problems(**given)
    assert told in problem


def test_all_of_it_is_told(problems) -> None:
    assert len(problems(batch_size=0, labelled=-1, clean_fraction=2)) == 3


def test_a_missing_checkpoint_is_told_and_a_phantom_folder_is_not(problems, tmp_path: Path) -> None:
    (problem,) = problems({"checkpoint": str(tmp_path / "model.pt")})
    assert "option checkpoint: Weights" in problem
    assert "got no such file" in problem
    assert problems({"phantom_dir": "/made/later", "dataset_dir": "@phantom_dir"}) == []
