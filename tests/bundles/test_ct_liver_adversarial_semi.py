"""AdvSemiSeg from scans to masks, with other networks, and with masks of unlabelled scans that must not matter."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.bundle import ConfigParser, ConfigWorkflow

from tests.bundle_command import BUNDLES, BundleCommand
from tests.scans import AFFINES, make_scan, write_scan

CONFIGS = BUNDLES / "ct_liver_adversarial_semi" / "configs"
CASES = {"case0": "LAS", "case1": "RAS", "case2": "oblique", "case3": "LPI"}
TINY: dict[str, Any] = {
    "labelled": 1, "image_size": 32, "unet_channels": [8, 16, 16], "unet_strides": [2, 2], "batch_size": 4,
    "discriminator_channels": [8, 8], "experiment": None,
}  # fmt: skip
TRAIN_ONLY = {"train#handlers": [], "run": ["$@train#trainer.run()", "$@train#trainer"]}


def run(name: str, files: tuple[Path, ...] = (), **values: Any) -> list[Any]:
    flow = ConfigWorkflow(
        config_file=[str(CONFIGS / f"{name}.json"), *map(str, files)],
        meta_file=str(CONFIGS / "metadata.json"),
        logging_file=False,
        workflow_type="train" if name == "train" else "infer",
        device="$torch.device('cpu')",
        modality="ct",
        **values,
    )
    flow.initialize()
    return flow.run()


def read(name: str) -> dict[str, Any]:
    return json.loads((CONFIGS / name).read_text(encoding="utf-8"))


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Two scans to train on, one of them with its mask; two to validate."""
    for name, orientation in CASES.items():
        for kind, array in zip(("images", "labels"), make_scan(AFFINES[orientation]), strict=True):
            write_scan(tmp_path / "data" / "ct" / kind / f"{name}.nii.gz", array, AFFINES[orientation])
    names = list(CASES)
    splits = {"ct_train": names[:2], "ct_val": names[2:], "labelled": {"1": names[:1], "2": names[:2]}}
    (tmp_path / "data" / "splits.json").write_text(json.dumps(splits), encoding="utf-8")
    return tmp_path / "data"


def test_from_training_to_masks(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    handlers = [{**h, "every": 40} for h in read("train.json")["train"]["handlers"][:2]]
    trained = run(
        "train", dataset_dir=str(data), output_dir=str(tmp_path / "run"), iterations=80, learning_rate=0.02,
        watch_hidden_masks=True, **{"train#handlers": handlers, "network_ema#half_life_images": 20},
        run=["$@train#trainer.run()", "$@evaluation.run()", "$@train#trainer.state.metrics"], **TINY,
    )  # fmt: skip
    summary, metrics = trained[1:]
    assert metrics["validation_dice_ct"] > 0.8
    for name in ("validation", "unlabelled"):
        assert metrics[f"selection_{name}_accuracy_all"] > 0.9
        assert 0 <= metrics[f"selection_{name}_ratio"] <= 1
    assert summary["domains"]["ct"]["dice"]["mean"] > 0.8
    weights = str(tmp_path / "run" / "adversarial_semi" / "model.pt")

    again = run(
        "evaluate", dataset_dir=str(data), output_dir=str(tmp_path / "eval"), checkpoint=weights, labelled=1,
        experiment=None, run=["$@evaluation.run()"],
    )  # fmt: skip
    assert again[0]["domains"] == summary["domains"]  # the weights on disk are those that were scored

    out = tmp_path / "out"
    run("inference", dataset_dir=str(data), output_dir=str(out), checkpoint=weights)
    for name in ("case2", "case3"):
        mask, liver = nib.load(out / f"{name}_seg.nii.gz"), make_scan(AFFINES[CASES[name]])[1]
        found = np.asarray(mask.dataobj)
        assert np.allclose(mask.affine, AFFINES[CASES[name]], atol=1e-4)
        assert 2 * (found & liver).sum() / (found.sum() + liver.sum()) > 0.8
    rows = list(csv.DictReader((out / "report.csv").read_text(encoding="utf-8").splitlines()))
    assert len(rows) == len(CASES) * liver.shape[2]


def test_masks_of_unlabelled_scans_change_nothing(data: Path, tmp_path: Path) -> None:
    hidden = data / "ct" / "labels" / "case1.nii.gz"
    states = []
    for number, spoil in enumerate((lambda: None, lambda: hidden.write_bytes(b"garbage"), hidden.unlink)):
        spoil()
        out = tmp_path / str(number)
        run("train", dataset_dir=str(data), output_dir=str(out), iterations=4, self_training_start=0.0,
            **TINY, **TRAIN_ONLY)  # fmt: skip
        states.append(torch.load(out / "adversarial_semi" / "last.pt", weights_only=True)["networks"])
    for state in states[1:]:
        for network in ("network", "discriminator"):
            assert all(torch.equal(state[network][k], v) for k, v in states[0][network].items())


def test_without_unlabelled_scans(data: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    options = {**TINY, "labelled": 2, "iterations": 2, "dataset_dir": str(data), **TRAIN_ONLY}
    trainer = run("train", output_dir=str(tmp_path / "a"), **options)[1]
    assert "there are no unlabelled slices" in caplog.text
    assert "adversarial_semi/segmenter/adversarial" in trainer.state.output
    assert "adversarial_semi/segmenter/adversarial_unlabelled" not in trainer.state.output


@pytest.mark.filterwarnings("ignore:parsing config_file:UserWarning")  # MONAI warns that a configuration is code
def test_hidden_masks_that_are_not_there(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    (data / "ct" / "labels" / "case1.nii.gz").unlink()
    options = {"dataset_dir": data, "output_dir": tmp_path / "out", "labelled": 1, "modality": "ct"}
    done = BundleCommand(monkeypatch, capsys)(
        "ct_liver_adversarial_semi/train.json", device="$torch.device('cpu')", watch_hidden_masks=True, **options
    )
    assert (done.code, "Traceback" in done.errors) == (1, False)
    assert "no mask of an unlabelled scan to watch" in done.message
    assert not (tmp_path / "out").exists()


NETWORKS = {
    "SegResNet": {
        "_target_": "monai.networks.nets.SegResNet", "spatial_dims": 2, "init_filters": 8, "in_channels": 1,
        "out_channels": 2, "blocks_down": [1, 1], "blocks_up": [1],
    },
    "DynUNet": {
        "_target_": "monai.networks.nets.DynUNet", "spatial_dims": 2, "in_channels": 1, "out_channels": 2,
        "kernel_size": [3, 3, 3], "strides": [1, 2, 2], "upsample_kernel_size": [2, 2], "filters": [4, 8, 8],
        "deep_supervision": False,
    },
}  # fmt: skip


@pytest.mark.parametrize("name", NETWORKS)
def test_another_network_by_configuration(name: str, data: Path, tmp_path: Path) -> None:
    """One file with the network goes into training, evaluation and inference."""
    mine = tmp_path / "mine.json"
    mine.write_text(json.dumps({"network_def": NETWORKS[name]}), encoding="utf-8")
    trainer = run("train", (mine,), dataset_dir=str(data), output_dir=str(tmp_path / "run"), iterations=2,
                  **TINY, **TRAIN_ONLY)[1]  # fmt: skip
    assert type(trainer.network).__name__ == name
    assert trainer.settings["network"] == NETWORKS[name]["_target_"]
    weights = str(tmp_path / "run" / "adversarial_semi" / "model.pt")
    run("inference", (mine,), dataset_dir=str(data), output_dir=str(tmp_path / "out"), checkpoint=weights)
    assert (tmp_path / "out" / "case0_seg.nii.gz").is_file()


@pytest.mark.filterwarnings("ignore:parsing config_file:UserWarning")
def test_every_stabiliser_by_its_setting(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    options = {
        "discriminator_every": 2, "discriminator_image_channels": 1, "real_target": 0.9, "instance_noise": 0.05,
        "r1_gamma": 0.1, "background_cap": 0.5, "ema_teacher": True, "confidence_threshold": "$[0.5,0.2]",
        "randomise_strength": 1.0, "self_training_start": 0.0, "discriminate_unlabelled": False,
        "unlabelled_adversarial_start": 0.5, "iterations": 4, "validate_every": 2, "watch_hidden_masks": True,
    }  # fmt: skip
    given = {**{k: v for k, v in TINY.items() if v is not None}, **options, "device": "$torch.device('cpu')"}
    done = BundleCommand(monkeypatch, capsys)(
        "ct_liver_adversarial_semi/train.json", dataset_dir=data, output_dir=tmp_path / "out", modality="ct",
        experiment="$None", run="['$@train#trainer.run()']", **{"train#handlers#3#_disabled_": True}, **given,
    )  # fmt: skip
    assert done.code == 0, done.errors
    state = torch.load(tmp_path / "out" / "adversarial_semi" / "last.pt", weights_only=True)
    assert state["settings"]["confidence_threshold"] == [0.5, 0.2]
    assert (state["iteration"], state["skipped_steps"]) == (4, 0)


def test_it_differs_from_the_baseline_in_the_method_alone() -> None:
    """What a comparison of the two must not depend on."""
    ours = read("train.json")
    theirs = json.loads((BUNDLES / "ct_liver_supervised" / "configs" / "train.json").read_text(encoding="utf-8"))
    for key in (
        "labelled", "seed", "modality", "label_mapping", "phantom_subjects", "phantom_seed", "image_size",
        "fov_mm", "labelled_foreground_fraction", "clean_fraction", "randomise_strength", "learning_rate",
        "mixed_precision", "network_settings", "network_def", "warp", "randomise", "preprocessing", "datalist",
        "postprocessing", "inferer",
    ):  # fmt: skip
        assert ours[key] == theirs[key], key
    # the same number of iterations is averaged over
    assert ours["network_ema"]["half_life_images"] / ours["batch_size"] == (
        theirs["network_ema"]["half_life_images"] / theirs["batch_size"]
    )
    # every setting of the method marks its trainings
    wanted = {k for k in ours["train"]["trainer"] if ours["train"]["trainer"][k] == f"@{k}"}
    numbers = {k for k in wanted if isinstance(ours[k], (int, float))}
    assert numbers - {"checkpoint_every"} <= set(ours["settings"])


def test_overlays_of_the_methods_page_name_values_that_exist() -> None:
    page = (BUNDLES.parent / "docs" / "methods" / "adversarial_semi.md").read_text(encoding="utf-8")
    texts = re.findall(r"^```json\n(.*?)^```$", page, flags=re.MULTILINE | re.DOTALL)
    assert len(texts) == 2
    for text in texts:
        assert set(json.loads(text)) <= set(read("train.json"))


def test_the_papers_overlay_holds_together(data: Path, tmp_path: Path) -> None:
    page = (BUNDLES.parent / "docs" / "methods" / "adversarial_semi.md").read_text(encoding="utf-8")
    overlay = tmp_path / "paper.json"
    overlay.write_text(re.findall(r"^```json\n(.*?)^```$", page, flags=re.MULTILINE | re.DOTALL)[0], encoding="utf-8")
    small = {**TINY, "image_size": 64, "batch_size": 2, "discriminator_channels": [4] * 4, "iterations": 2}
    trainer = run("train", (overlay,), dataset_dir=str(data), output_dir=str(tmp_path / "out"), **small, **TRAIN_ONLY)[
        1
    ]
    assert type(trainer.optimizers["network"]).__name__ == "SGD"
    assert trainer.loss.dice_weight == 0.0
    assert trainer.skipped_steps == 0


def test_the_defaults_are_the_papers_and_the_preset_changes_weights_alone() -> None:
    train, small = read("train.json"), read("small.json")
    assert (
        train["adversarial_weight"], train["unlabelled_adversarial_weight"], train["self_training_weight"],
        train["confidence_threshold"], train["self_training_start"], train["poly_power"],
    ) == (0.01, 0.001, 0.1, 0.2, 0.25, 0.9)  # fmt: skip
    assert (train["discriminator_learning_rate"], train["discriminator_optimizer"]["betas"]) == (1e-4, [0.9, 0.99])
    assert set(small) == {"adversarial_weight", "unlabelled_adversarial_weight", "self_training_weight"}
    parser = ConfigParser()
    parser.read_config([str(CONFIGS / "train.json"), str(CONFIGS / "small.json")])
    assert parser.get_parsed_content("settings#self_training_weight") == 1.0
