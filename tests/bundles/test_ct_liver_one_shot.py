"""From scans without masks and one annotated slice or image to masks, and the files between."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.bundle import ConfigParser, ConfigWorkflow

from monai_semgan.apps.error_messages import find_input_error
from monai_semgan.apps.one_shot import export_annotation, load_one_shot, read_annotation
from monai_semgan.data import Shots
from tests.bundle_command import BUNDLES, BundleCommand
from tests.scans import AFFINES, make_scan, write_scan

CONFIGS = BUNDLES / "ct_liver_one_shot" / "configs"
CASES = {"case0": "LAS", "case1": "RAS", "case2": "LPI"}
STAGES = ("gan", "train", "self_supervised", "one_shot")
TINY: dict[str, Any] = {
    "labelled": 1, "image_size": 32, "fov_mm": 192.0, "latent_dim": 16, "channel_base": 512, "channel_max": 16,
    "spatial_resolution": 16, "encoder_channels": [16, 16], "critic_channel_base": 256, "critic_channel_max": 8,
    "batch_size": 6, "warmup_iterations": 60, "gan_iterations": 2, "encoder_iterations": 90,
    "projector_iterations": 20, "head_iterations": 100, "feature_dim": 16, "prototypes": 20, "pixels": 256,
    "statistics_images": 16, "head_learning_rate": 0.01, "experiment": None, "steps": 1, "randomise_strength": 0.0,
    "mixed_precision": False,
}  # fmt: skip
QUIET = {f"{stage}#handlers": [] for stage in STAGES}
TRAINING = [f"$@{stage}#trainer.run()" for stage in STAGES[:3]]
TEACHING = ["$@annotation.run()", "$@one_shot#trainer.run()"]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two scans to train on, one of them with its mask; one to validate."""
    folder = tmp_path_factory.mktemp("one_shot")
    for name, orientation in CASES.items():
        for kind, array in zip(("images", "labels"), make_scan(AFFINES[orientation]), strict=True):
            write_scan(folder / "data" / "ct" / kind / f"{name}.nii.gz", array, AFFINES[orientation])
    names = list(CASES)
    splits = {"ct_train": names[:2], "ct_val": names[2:], "labelled": {"1": names[:1]}}
    (folder / "data" / "splits.json").write_text(json.dumps(splits), encoding="utf-8")
    return folder / "data"


def run(name: str, **values: Any) -> list[Any]:
    flow = ConfigWorkflow(
        config_file=str(CONFIGS / f"{name}.json"),
        meta_file=str(CONFIGS / "metadata.json"),
        logging_file=False,
        workflow_type="train" if name == "train" else "infer",
        device="$torch.device('cpu')",
        modality="ct",
        **values,
    )
    flow.initialize()
    return flow.run()


def train(data: Path, out: Path, steps: list[str], **values: Any) -> list[Any]:
    return run("train", dataset_dir=str(data), output_dir=str(out), **{**TINY, **QUIET, "run": steps, **values})


@pytest.fixture(scope="module")
def trained(data: Path) -> Path:
    """A whole training, taught by one slice of the labelled scan."""
    out = data.parent / "run"
    train(data, out, [*TRAINING, *TEACHING])
    return out


def read(name: str) -> dict[str, Any]:
    return json.loads((CONFIGS / name).read_text(encoding="utf-8"))


def test_one_slice_teaches_the_organ(trained: Path, data: Path, tmp_path: Path) -> None:
    shots = Shots.load(trained / "annotation" / "shots.pt")
    assert re.fullmatch(r"slice \d+ of case0", shots.source[0])
    assert len(shots) == 1
    weights = str(trained / "head" / "model.pt")
    summary = run(
        "evaluate", dataset_dir=str(data), output_dir=str(tmp_path / "eval"), checkpoint=weights, labelled=1, steps=1,
        experiment=None, run=["$@evaluation.run()"],
    )[0]  # fmt: skip
    assert summary["encoder"]["ct"]["dice"]["mean"] > 0.6
    run("inference", dataset_dir=str(data), output_dir=str(tmp_path / "out"), checkpoint=weights, steps=1)
    mask = nib.load(tmp_path / "out" / "case2_seg.nii.gz")
    found, truth = np.asarray(mask.dataobj) == 1, make_scan(AFFINES[CASES["case2"]])[1] == 1
    assert np.allclose(mask.affine, AFFINES[CASES["case2"]], atol=1e-4)
    assert 2 * (found & truth).sum() / (found.sum() + truth.sum()) > 0.6
    image, probability = load_one_shot(weights).generator.sample(2, seed=0)
    assert image.shape == (2, 1, 32, 32)
    assert probability.shape == (2, 2, 32, 32)


def test_masks_of_no_other_scan_matter(trained: Path, data: Path, tmp_path: Path) -> None:
    """Up to the annotation no mask is read: empty ones give the same bits."""
    for name in CASES:
        image = nib.load(data / "ct" / "images" / f"{name}.nii.gz")
        write_scan(tmp_path / "ct" / "images" / f"{name}.nii.gz", np.asarray(image.dataobj), image.affine)
        other = np.zeros(image.shape, np.uint8)
        other[..., 2:4, 2:4, 3] = 1
        write_scan(tmp_path / "ct" / "labels" / f"{name}.nii.gz", other, image.affine)
    (tmp_path / "splits.json").write_text((data / "splits.json").read_text(), encoding="utf-8")
    short = {"warmup_iterations": 2, "encoder_iterations": 2, "projector_iterations": 2}
    files = ("gan/generator.pt", "encoder/model.pt", "projector/projector.pt")
    for folder, out in ((tmp_path, tmp_path / "a"), (data, tmp_path / "b")):
        train(folder, out, TRAINING, **short)
    for file in files:
        one, other = (_flat(torch.load(tmp_path / run_ / file, weights_only=True)) for run_ in "ab")
        assert all(torch.equal(one[name], other[name]) for name in one if isinstance(one[name], torch.Tensor)), file


def _flat(state: dict[str, Any]) -> dict[str, Any]:
    parts = {k: part if isinstance(part, dict) else {"": part} for k, part in state.items()}
    return {f"{k}.{n}": value for k, part in parts.items() for n, value in part.items()}


def test_an_image_that_somebody_drew_on(trained: Path, data: Path, tmp_path: Path) -> None:
    drawn = tmp_path / "drawn"
    export_annotation(trained, drawn, candidates=20)
    picture = Shots.load(drawn / "shots.pt").image[0, 0].numpy()
    mask = (picture > np.quantile(picture, 0.9)).astype(np.uint8)
    nib.save(nib.Nifti1Image(mask, np.eye(4)), tmp_path / "mask.nii.gz")
    with pytest.raises(RuntimeError) as stopped:
        train(data, trained, TEACHING, annotation_dir=str(drawn), head_iterations=2)
    assert "image without a mask" in str(find_input_error(stopped.value))
    read_annotation(drawn, [tmp_path / "mask.nii.gz"])
    train(data, trained, TEACHING, annotation_dir=str(drawn), head_iterations=2)
    assert (trained / "head-drawn" / "model.pt").is_file()
    assert torch.equal(Shots.load(trained / "annotation-drawn" / "shots.pt").label[0, 0], torch.from_numpy(mask))
    assert Shots.load(trained / "annotation" / "shots.pt").source[0].startswith("slice")  # the other one is still there


def test_the_factory_can_use_it(trained: Path) -> None:
    parser = ConfigParser()
    parser.read_config(str(CONFIGS / "generate.json"))
    checkpoint = str(trained / "head" / "model.pt")
    critic = {name: TINY[name] for name in ("critic_channel_base", "critic_channel_max")}
    parser.update({"checkpoint": checkpoint, "device": "$torch.device('cpu')", "latents": "prior", **critic})
    source = parser.get_parsed_content("source")
    assert (source.image_size, source.num_classes) == (32, 2)
    latents = source.sample_latents(torch.Generator().manual_seed(0), 0.7, 1)
    image, probability = source.synthesise(latents, torch.Generator().manual_seed(0))
    assert image.shape == (1, 1, 32, 32)
    torch.testing.assert_close(probability.sum(1), torch.ones(1, 32, 32))
    assert parser.get_parsed_content("label_mapping") == {1: 1}


# the command line hands these over as text
@pytest.mark.filterwarnings("ignore:parsing config_file:UserWarning")
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"organs": "{'liver':1,'spleen':4}"}, "class without a pixel: got 0 slices that show all of 2 classes"),
        ({"shots": 500}, "got .* slices that show all of 1 classes; wanted 500"),
        ({"annotation_dir": "nowhere"}, "nowhere/shots.pt: got no such file"),
        ({"perturbed_blocks": "[9]"}, r"perturbed_blocks: got \[9\]; wanted some of 0 to"),
        ({"head_size": "XL"}, "head_size: got 'XL'"),
        ({"projector_optimizer": "sgd"}, "projector_optimizer: got 'sgd'"),
        ({"real_fraction": 2.0}, "real_fraction: got 2.0"),
    ],
)
def test_settings_that_make_no_sense(
    options: dict, message: str, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
) -> None:  # fmt: skip
    small = {k: v for k, v in TINY.items() if isinstance(v, (int, float)) and not isinstance(v, bool)}
    small |= {"dataset_dir": data, "output_dir": tmp_path / "out", "modality": "ct", "device": "$torch.device('cpu')"}
    done = BundleCommand(monkeypatch, capsys)("ct_liver_one_shot/train.json", **{**small, **options})
    assert (done.code, "Traceback" in done.errors) == (1, False)
    assert re.search(message, done.message, re.DOTALL), done.message
    assert not (tmp_path / "out").exists()


def test_every_setting_of_a_stage_marks_its_trainings() -> None:
    config = read("train.json")
    parts = (*config["stage_settings"].values(), config["data_settings"], config["generator_settings"])
    marked = {name for part in parts for name in part}
    objects = ("projector", "prototype_head", "head", "perturbation", "swapped_loss", "randomise")
    for stage in (*(config[name]["trainer"] for name in STAGES), *(config[name] for name in objects)):
        used = {v.removeprefix("@") for v in stage.values() if isinstance(v, str) and v.startswith("@")}
        plain = {name for name in used if isinstance(config.get(name), (int, float, str, list))}
        plain = {name for name in plain if not str(config[name]).startswith("$")}
        assert plain - {"checkpoint_every"} <= marked, stage


def test_the_released_recipe_names_settings_that_exist() -> None:
    overlay, config = read("released.json"), read("train.json")
    assert set(overlay) <= set(config)
    assert all(overlay[name] != config[name] for name in overlay)
