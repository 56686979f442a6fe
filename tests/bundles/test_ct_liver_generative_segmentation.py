"""GSS from scans to masks: three stages by one command, each from the files of the one before."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.bundle import ConfigParser, ConfigWorkflow

from tests.bundle_command import BUNDLES, BundleCommand
from tests.scans import AFFINES, make_scan, write_scan

CONFIGS = BUNDLES / "ct_liver_generative_segmentation" / "configs"
CASES = {"case0": "LAS", "case1": "RAS", "case2": "oblique", "case3": "LPI"}
TINY: dict[str, Any] = {
    "labelled": 2, "image_size": 32, "fov_mm": 192.0, "batch_size": 4, "experiment": None,
    "tokenizer_channels": [8, 16], "num_codes": 16, "code_channels": 8, "inverse_channels": 8,
    "conditioning_channels": [8, 16, 16], "level_channels": 8, "grid_channels": 16, "attention_depth": 1,
}  # fmt: skip
STEPS = {"tokenizer_iterations": 4, "maskige_iterations": 3, "iterations": 3, "inverse_iterations": 3}
NO_GATE = {"reconstruction_gate": 0.0}
STAGES = ["tokenizer", "prior", "inverse"]
TRAIN_ONLY = [
    "$@tokenizer#trainer.run() if @head == 'codes' else None",
    "$@train#trainer.run()",
    "$@inverse#trainer.run() if @learns_inverse else None",
    "$@train#trainer",
]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    for name, orientation in CASES.items():
        for kind, array in zip(("images", "labels"), make_scan(AFFINES[orientation]), strict=True):
            write_scan(tmp_path / "data" / "ct" / kind / f"{name}.nii.gz", array, AFFINES[orientation])
    names = list(CASES)
    splits = {"ct_train": names[:2], "ct_val": names[2:], "labelled": {"2": names[:2]}}
    (tmp_path / "data" / "splits.json").write_text(json.dumps(splits), encoding="utf-8")
    return tmp_path / "data"


def run(name: str, files: tuple[str, ...] = (), **values: Any) -> list[Any]:
    flow = ConfigWorkflow(
        config_file=[str(CONFIGS / f"{name}.json"), *(str(CONFIGS / file) for file in files)],
        meta_file=str(CONFIGS / "metadata.json"),
        logging_file=False,
        workflow_type="train" if name == "train" else "infer",
        device="$torch.device('cpu')",
        modality="ct",
        **values,
    )
    flow.initialize()
    return flow.run()


def train(data: Path, out: Path, **values: Any) -> Any:
    """All stages for a few iterations; returns the trainer of the second."""
    quiet = {f"{stage}#handlers": [] for stage in ("tokenizer", "train", "inverse")}
    options = {**TINY, **STEPS, **NO_GATE, **quiet, "run": TRAIN_ONLY, **values}
    return run("train", dataset_dir=str(data), output_dir=str(out), **options)[-1]


def results(out: Path) -> dict[str, bytes]:
    return {path.relative_to(out).as_posix(): path.read_bytes() for path in sorted(out.rglob("*.pt"))}


def test_from_training_to_masks(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    out = tmp_path / "run"
    summary = run(
        "train", dataset_dir=str(data), output_dir=str(out),
        **{
            **TINY, "tokenizer_iterations": 160, "maskige_iterations": 20, "iterations": 160, "inverse_iterations": 20,
            "learning_rate": 0.01, "reconstruction_gate": 0.8, "tokenizer#handlers": [], "train#handlers": [],
            "inverse#handlers": [], "run": [*TRAIN_ONLY[:3], "$@evaluation.run()"],
        },
    )[-1]  # fmt: skip
    assert summary["domains"]["ct"]["dice"]["n"] == 2
    assert summary["domains"]["ct"]["dice"]["mean"] > 0.8
    found = json.loads((out / "tokenizer" / "reconstruction.json").read_text(encoding="utf-8"))
    assert found["organs"]["liver"] > 0.8
    weights = str(out / "inverse" / "model.pt")
    again = run(
        "evaluate", dataset_dir=str(data), output_dir=str(tmp_path / "eval"), checkpoint=weights, labelled=2,
        experiment=None, run=["$@evaluation.run()"],
    )  # fmt: skip
    assert again[0]["domains"] == summary["domains"]  # the weights on disk are those that were scored
    run("inference", dataset_dir=str(data), output_dir=str(tmp_path / "out"), checkpoint=weights, decoding="soft")
    for name in ("case2", "case3"):
        mask, liver = nib.load(tmp_path / "out" / f"{name}_seg.nii.gz"), make_scan(AFFINES[CASES[name]])[1]
        voxels = np.asarray(mask.dataobj)
        assert np.allclose(mask.affine, AFFINES[CASES[name]], atol=1e-4)
        assert 2 * (voxels & liver).sum() / (voxels.sum() + liver.sum()) > 0.8


def test_stages_are_kept_and_can_be_done_again(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    train(data, out, run=[TRAIN_ONLY[0], "$@tokenizer#trainer"])  # one stage alone
    assert {path.name for path in out.iterdir()} == {"tokenizer"}
    train(data, out)
    whole = results(out)
    assert {name.split("/")[0] for name in whole} == set(STAGES)
    train(data, out)
    assert results(out) == whole
    shutil.rmtree(out / "inverse")
    train(data, out, inverse_training="posterior")  # the stages before do not depend on it
    now = results(out)
    assert {name for name in whole if now[name] == whole[name]} == {name for name in whole if "inverse" not in name}
    with pytest.raises(RuntimeError) as told:  # by MONAI, which wraps what an expression raises
        train(data, out, num_codes=8)
    assert "num_codes was 16 and is now 8" in str(told.value.__cause__)


@pytest.mark.parametrize("variant", ["FF", "FF-R", "TF", "TT", "FT-W"])
def test_variants_and_their_files(variant: str, data: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    trainer = train(data, out, variant=variant, palette="lattice")
    with_inverse = variant in ("TT", "FT-W")
    assert {path.name for path in out.iterdir()} == set(STAGES if with_inverse else STAGES[:2])
    deployed = torch.load(out / ("inverse" if with_inverse else "prior") / "model.pt", weights_only=True)
    assert deployed.keys() == trainer.network.state_dict().keys()
    assert deployed["tokenizer.maskige.palette"].shape == (2, 3)


def test_the_baseline_by_a_switch(data: Path, tmp_path: Path) -> None:
    trainer = train(data, tmp_path / "out", head="pixels")
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"prior"}
    assert set(trainer.state.output) == {"loss", "prior/label"}
    settings = json.loads((tmp_path / "out" / "prior" / "model.json").read_text(encoding="utf-8"))
    assert settings["head"] == "pixels"
    again = run(
        "evaluate", dataset_dir=str(data), output_dir=str(tmp_path / "eval"), labelled=2, experiment=None,
        checkpoint=str(tmp_path / "out" / "prior" / "model.pt"), run=["$@network"],
    )  # fmt: skip
    assert again[0].pixels


def test_codes_can_be_drawn_by_an_overlay() -> None:
    for name in ("inference", "evaluate"):
        parser = ConfigParser()
        parser.read_config([str(CONFIGS / f"{name}.json"), str(CONFIGS / "sampled.json")])
        parser.update({"image_size": 32, "slice_batch": 2, "network_settings": {}, "device": "$torch.device('cpu')"})
        inferer = parser.get_parsed_content("inferer")
        (inner,) = inferer.inferer.inferers
        assert (inferer.samples, inner.sw_batch_size, inferer.needs_affine) == (8, 2, False)


def test_all_organs_by_an_overlay() -> None:
    parser = ConfigParser()
    parser.read_config([str(CONFIGS / "train.json"), str(CONFIGS / "organs.json")])
    overlay = json.loads((CONFIGS / "organs.json").read_text(encoding="utf-8"))
    assert set(overlay) <= set(json.loads((CONFIGS / "train.json").read_text(encoding="utf-8")))
    assert parser.get_parsed_content("num_classes") == 14
    assert parser.get_parsed_content("label_mapping") == {value: value for value in range(1, 14)}
    network = parser.get_parsed_content("network_def")
    with torch.no_grad():
        assert network.eval()(torch.zeros(1, 1, 64, 64)).shape == (1, 14, 64, 64)


@pytest.mark.parametrize(
    ("options", "kind"), [({}, "FT"), ({"head": "pixels", "randomise_strength": 1.0}, "pixels-randomised")]
)
def test_trainings_have_folders_of_their_own(options: dict, kind: str) -> None:
    for name, entry in (("train", "output_dir"), ("evaluate", "trained")):
        parser = ConfigParser()
        parser.read_config(str(CONFIGS / f"{name}.json"))
        parser.update({"dataset_dir": "somewhere/abdomen/", **options})
        assert f"/runs/abdomen-{kind}" in parser.get_parsed_content(entry)


def test_every_setting_of_a_stage_marks_its_trainings() -> None:
    config = json.loads((CONFIGS / "train.json").read_text(encoding="utf-8"))
    marked = {name for part in config["stage_settings"].values() for name in part}
    for group in ("tokenizer", "train", "inverse"):
        text = json.dumps([config[group]["trainer"], config["network_def"], config["loss"], config["randomise"]])
        used = {name for name in re.findall(r"@(\w+)", text) if isinstance(config.get(name), (int, float, list))}
        assert used - {"checkpoint_every", "reconstruction_gate", "decoding"} <= marked, group


@pytest.mark.filterwarnings("ignore:parsing config_file:UserWarning")  # MONAI warns that a configuration is code
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"variant": "FX"}, "option variant: got FX; wanted one of FF, FF-R, FT, FT-W, TF, TT"),
        ({"palette": "rainbow"}, "option palette: got rainbow; wanted one of lattice, one_hot, random"),
        ({"palette": "$[[0,0,0]]"}, "1 colours for 2 classes, background included; wanted a colour for each class"),
        ({"head": "boxes"}, "option head: got boxes; wanted codes or pixels"),
        ({"decoding": "hard"}, "option decoding: got hard; wanted one of argmax, soft"),
        ({"image_size": 34}, r"tokenizer: got masks of \(34, 34\); wanted sizes that 4 divides"),
        ({"token_weight": -1.0}, "token_weight: got -1.0"),
        ({"reconstruction_gate": 0.999}, "it cannot give masks back well enough: got a mean Dice of"),
    ],
)
def test_settings_that_make_no_sense(
    options: dict, message: str, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
) -> None:  # fmt: skip
    given = {
        **TINY, **STEPS, **NO_GATE, "dataset_dir": data, "output_dir": tmp_path / "out", "modality": "ct",
        "experiment": "$None", "tokenizer#handlers": "[]", "train#handlers": "[]", "inverse#handlers": "[]",
        "device": "$torch.device('cpu')",
    }  # fmt: skip
    done = BundleCommand(monkeypatch, capsys)("ct_liver_generative_segmentation/train.json", **{**given, **options})
    assert (done.code, "Traceback" in done.errors) == (1, False)
    assert re.search(message, done.message, re.DOTALL), done.message
    assert not (tmp_path / "out" / "prior").exists()
