"""GSS of volumes: the same bundle with `configs/volumes.json`, and what its weights tell the other configurations."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.bundle import ConfigParser

from monai_semgan.apps import BundleSegmenter
from monai_semgan.apps.check import read_command
from monai_semgan.apps.config_check import check_command
from monai_semgan.apps.label.model import ServedModel
from monai_semgan.apps.label.versions import ModelVersions
from monai_semgan.data import PairedPatchLoader
from monai_semgan.inferers import VolumeStackInferer
from tests.bundle_command import BundleCommand
from tests.bundles.test_ct_liver_generative_segmentation import (
    CASES,
    CONFIGS,
    NO_GATE,
    STAGES,
    TINY,
    TRAIN_ONLY,
    data,  # noqa: F401 - a fixture
    results,
    run,
)
from tests.scans import AFFINES, make_scan

BUNDLE = "ct_liver_generative_segmentation"
OVERLAY = ("volumes.json",)
SMALL: dict[str, Any] = {**TINY, "batch_size": 2, "stack_depth": 8}
STEPS = {"tokenizer_iterations": 4, "maskige_iterations": 2, "iterations": 3, "inverse_iterations": 2}
QUIET = {f"{stage}#handlers": [] for stage in ("tokenizer", "train", "inverse")}
SPATIAL = {"spatial_dims": 3, "slice_spacing_mm": 6.0, "stack_depth": 8}


def train(data: Path, out: Path, files: tuple[str, ...] = (), **values: Any) -> Any:  # noqa: F811
    """All stages for a few iterations; returns the trainer of the second."""
    options = {**SMALL, **STEPS, **NO_GATE, **QUIET, "run": TRAIN_ONLY, **values}
    return run("train", (*OVERLAY, *files), dataset_dir=str(data), output_dir=str(out), **options)[-1]


def parser(name: str, *files: str, **values: Any) -> ConfigParser:
    made = ConfigParser()
    made.read_config([str(CONFIGS / f"{name}.json"), *(str(CONFIGS / file) for file in files)])
    made.update({"device": "$torch.device('cpu')", **values})
    return made


def dice(mask: np.ndarray, liver: np.ndarray) -> float:
    return 2 * float((mask & liver).sum()) / float(mask.sum() + liver.sum())


def test_from_training_to_masks(data: Path, tmp_path: Path) -> None:  # noqa: F811
    """Three stages, their evaluation, and everything that reads the weights without being told of volumes."""
    out = tmp_path / "run"
    summary = train(
        data, out, tokenizer_iterations=120, maskige_iterations=15, iterations=110, inverse_iterations=5,
        tokenizer_learning_rate=0.01, learning_rate=0.004, reconstruction_gate=0.6, edge_reach_mm=0.0,
        slice_spacing_mm=4.0, stack_depth=16, run=[*TRAIN_ONLY[:3], "$@evaluation.run()"],
    )  # fmt: skip
    assert summary["domains"]["ct"]["dice"]["mean"] > 0.6
    found = json.loads((out / "tokenizer" / "reconstruction.json").read_text(encoding="utf-8"))
    assert found["organs"]["liver"] > 0.6
    weights = out / "inverse" / "model.pt"
    settings = json.loads(weights.with_suffix(".json").read_text(encoding="utf-8"))
    assert {name: settings[name] for name in SPATIAL} == {"spatial_dims": 3, "slice_spacing_mm": 4.0, "stack_depth": 16}
    again = run(
        "evaluate", dataset_dir=str(data), output_dir=str(tmp_path / "eval"), checkpoint=str(weights), labelled=2,
        experiment=None, edge_reach_mm=0.0, run=["$@evaluation.run()"],
    )  # fmt: skip
    assert again[0]["domains"] == summary["domains"]  # the weights on disk are those that were scored
    run("inference", dataset_dir=str(data), output_dir=str(tmp_path / "out"), checkpoint=str(weights))
    scan, liver = data / "ct" / "images" / "case2.nii.gz", make_scan(AFFINES[CASES["case2"]])[1]
    written = np.asarray(nib.load(tmp_path / "out" / "case2_seg.nii.gz").dataobj).astype(np.uint8)
    assert dice(written, liver) > 0.8  # edges of the scan
    segment = BundleSegmenter(CONFIGS.parent, "cpu", checkpoint=str(weights), modality="ct")
    assert np.array_equal(segment(scan), written)
    served = ServedModel(CONFIGS.parent, "inference.json", ModelVersions(tmp_path / "app", weights))
    answer = served.segment(scan, modality="ct")
    assert np.array_equal(np.asarray(nib.load(answer.path).dataobj), written)
    run(
        "inference", ("sampled.json",), dataset_dir=str(data), output_dir=str(tmp_path / "drawn"),
        checkpoint=str(weights), **{"inferer#samples": 2, "inferer#temperature": 1e-4},
    )  # fmt: skip
    drawn = np.asarray(nib.load(tmp_path / "drawn" / "case2_seg.nii.gz").dataobj).astype(np.uint8)
    assert dice(drawn, written) > 0.95  # so cold that the most probable codes are drawn


def test_stages_go_on_where_they_were(data: Path, tmp_path: Path) -> None:  # noqa: F811
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    train(data, whole)
    stop = [{"_target_": "tests.bundles.test_generative_volumes.StopAt", "iteration": 2}]
    for group in ("tokenizer", "train", "inverse"):
        with pytest.raises(RuntimeError):
            train(data, parts, **{f"{group}#handlers": stop, "checkpoint_every": 1})
    train(data, parts, checkpoint_every=1)
    assert {name.split("/")[0] for name in results(whole)} == set(STAGES)
    for stage in STAGES:
        one, other = (torch.load(folder / stage / "model.pt", weights_only=True) for folder in (whole, parts))
        assert all(torch.equal(one[name], other[name]) for name in one), stage
    for changed in ({"stack_depth": 4}, {"slice_spacing_mm": 8.0}):
        with pytest.raises(RuntimeError) as told:  # by MONAI, which wraps what an expression raises
            train(data, parts, checkpoint_every=1, **changed)
        assert re.search(f"{next(iter(changed))} was .* and is now", str(told.value.__cause__))


class StopAt:
    """Handler that interrupts a training, after an iteration and its checkpoint."""

    def __init__(self, iteration: int) -> None:
        self.iteration = iteration

    def attach(self, engine: Any) -> None:
        from ignite.engine import Events

        engine.add_event_handler(Events.ITERATION_COMPLETED(once=self.iteration), self)

    def __call__(self, engine: Any) -> None:
        raise RuntimeError("interrupted")


@pytest.mark.parametrize("options", [{"head": "pixels"}, {"variant": "TT", "palette": "lattice"}, {"variant": "TF"}])
def test_baseline_and_variants(options: dict, data: Path, tmp_path: Path) -> None:  # noqa: F811
    trainer = train(data, tmp_path / "out", **options)
    assert isinstance(trainer.data_loader, PairedPatchLoader)
    assert tuple(trainer.data_loader.batch(0)["labelled"]["image"].shape) == (2, 1, 32, 32, 8)
    pixels = options.get("head") == "pixels"
    learns_inverse = options.get("variant") == "TT"
    assert {path.name for path in (tmp_path / "out").iterdir()} == set(
        ["prior"] if pixels else STAGES if learns_inverse else STAGES[:2]
    )
    assert trainer.network.eval()(torch.zeros(1, 1, 32, 32, 8)).shape == (1, 2, 32, 32, 8)


def test_all_organs_of_volumes() -> None:
    merged = parser("train", "volumes.json", "organs.json")
    network = merged.get_parsed_content("network_def").eval()
    with torch.no_grad():
        assert network(torch.zeros(1, 1, 32, 32, 16)).shape == (1, 14, 32, 32, 16)
    assert merged.get_parsed_content("network_settings")["spatial_dims"] == 3


@pytest.mark.parametrize("overlay", ["volumes.json", "volumes.json,organs.json", "volumes.json,multi_gpu_train.json"])
def test_its_settings_are_checked(overlay: str) -> None:
    check_command(read_command(str(CONFIGS.parent), ["--config_file", f"train.json,{overlay}", "--stack_depth", "16"]))


def test_it_changes_settings_that_exist_or_that_it_uses() -> None:
    overlay = json.loads((CONFIGS / "volumes.json").read_text(encoding="utf-8"))
    base = json.loads((CONFIGS / "train.json").read_text(encoding="utf-8"))
    new = {name for name in overlay if name.lstrip("+").split("#")[0] not in base}
    assert new == {"slice_spacing_mm", "stack_depth", "volume_preprocessing", "window_inferer"}
    assert set(overlay["+network_settings"]) == set(overlay["+stage_settings#data"]) == set(SPATIAL)


def test_trainings_of_volumes_have_folders_of_their_own() -> None:
    for options, kind in (({}, "FT-volumes"), ({"head": "pixels"}, "pixels-volumes")):
        merged = parser("train", "volumes.json", dataset_dir="somewhere/abdomen/", **options)
        assert merged.get_parsed_content("output_dir").endswith(f"/runs/abdomen-{kind}")


def test_weights_of_before_are_of_slices() -> None:
    for name in ("evaluate", "inference"):
        old = {"image_size": 32}
        (slices,) = parser(name, network_settings=old).get_parsed_content("inferer").inferers
        assert type(slices).__name__ == "SliceInferer"
        new = parser(name, network_settings={**old, **SPATIAL, "slice_spacing_mm": 4.0}).get_parsed_content("inferer")
        (stack,) = new.inferers
        assert isinstance(stack, VolumeStackInferer)
        assert (stack.spacing_mm, stack.depth, new.needs_affine) == (4.0, 8, True)


@pytest.mark.filterwarnings("ignore:parsing config_file:UserWarning")  # MONAI warns that a configuration is code
def test_a_stack_that_cannot_be_halved_is_told(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture  # noqa: F811
) -> None:  # fmt: skip
    given = {
        **SMALL, **STEPS, "stack_depth": 10, "dataset_dir": data, "output_dir": tmp_path / "out", "modality": "ct",
        "experiment": "$None", "device": "$torch.device('cpu')", **dict.fromkeys(QUIET, "[]"),
    }  # fmt: skip
    files = [f"{BUNDLE}/configs/train.json", f"{BUNDLE}/configs/volumes.json"]
    done = BundleCommand(monkeypatch, capsys)(files, **given)
    assert (done.code, "Traceback" in done.errors) == (1, False)
    assert re.search(r"tokenizer: got masks of \(32, 32, 10\); wanted sizes that 4 divides.*stack_depth", done.message)
