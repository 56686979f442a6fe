"""Transfer from scans to masks: an organ known by tags alone is segmented, and no mask of it can matter."""

from __future__ import annotations

import csv
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

from monai_semgan.data import PseudoLabels
from tests.bundle_command import BUNDLES, BundleCommand
from tests.scans import AFFINES, write_scan

CONFIGS = BUNDLES / "ct_abdomen_transfer" / "configs"
CASES = {"case0": "LAS", "case1": "RAS", "case2": "oblique", "case3": "LPI"}
SHAPE = (32, 28, 10)
TINY: dict[str, Any] = {
    "labelled": 1, "strong": ["spleen"], "weak": ["liver"], "image_size": 32, "fov_mm": 192.0, "batch_size": 4,
    "tag_min_area_mm2": 0.0,
    "unet_channels": [8, 16, 16], "unet_strides": [2, 2], "unet_norm": "BATCH", "l_net_channels": [8, 16],
    "l_net_strides": [2], "tag_net_channels": [8, 16], "tag_net_strides": [2, 2], "critic_channels": [8],
    "experiment": None, "l_net_randomise_strength": 0.0,
}  # fmt: skip
STEPS = {"l_net_iterations": 4, "strong_net_iterations": 3, "tag_net_iterations": 3, "iterations": 3}
STAGES = ["l_net", "strong_net", "tag_net", "p_net"]
TRAIN_ONLY = [
    "$[@network, @segmenter, @critic, @l_net#network, @tag_net#network, @train#dataloader, @labels]",
    "$@tags.write(@output_dir + '/tags.csv') if @weak else None",
    "$@l_net#trainer.run() if @weak else None",
    "$@strong_net#trainer.run()",
    "$@tag_net#trainer.run() if @weak else None",
    "$@labels.run() if @weak else None",
    "$@train#trainer.run()",
    "$@train#trainer",
]
WIDE_GATE = {"objectness_gate": [0.0, 1000.0]}


def make_organs(affine: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """CT of 50 HU with a liver (1) on the right, higher up, and a spleen (4) on the left, lower down; both 150 HU."""
    index = np.stack(np.meshgrid(*(np.arange(n) for n in SHAPE), indexing="ij"))
    middle = affine[:3, :3] @ ((np.array(SHAPE) - 1) / 2)
    x, y, z = np.einsum("ij,jabc->iabc", affine[:3, :3], index) - middle[:, None, None, None]
    body = (x / 80) ** 2 + (y / 65) ** 2 < 1
    liver = ((x - 35) / 28) ** 2 + (y / 30) ** 2 + ((z - 14) / 22) ** 2 < 1
    spleen = ((x + 40) / 24) ** 2 + (y / 26) ** 2 + ((z + 10) / 24) ** 2 < 1
    volume = np.full(SHAPE, -1000, dtype=np.int16)
    volume[body] = 50
    volume[(liver | spleen) & body] = 150
    return volume, np.where(liver & body, 1, np.where(spleen & body, 4, 0)).astype(np.uint8)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Two scans to train on, one of them with its mask; two to validate."""
    for name, orientation in CASES.items():
        for kind, array in zip(("images", "labels"), make_organs(AFFINES[orientation]), strict=True):
            write_scan(tmp_path / "data" / "ct" / kind / f"{name}.nii.gz", array, AFFINES[orientation])
    names = list(CASES)
    splits = {"ct_train": names[:2], "ct_val": names[2:], "labelled": {"1": names[:1], "2": names[:2]}}
    (tmp_path / "data" / "splits.json").write_text(json.dumps(splits), encoding="utf-8")
    return tmp_path / "data"


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


def train(data: Path, out: Path, **values: Any) -> Any:
    """All stages for a few iterations; returns the last trainer."""
    quiet = {f"{stage}#handlers": [] for stage in ("l_net", "strong_net", "tag_net", "train")}
    options = {**TINY, **STEPS, **WIDE_GATE, "adversarial_start": 0.0, **quiet, "run": TRAIN_ONLY, **values}
    return run("train", dataset_dir=str(data), output_dir=str(out), **options)[-1]


def read(name: str) -> dict[str, Any]:
    return json.loads((CONFIGS / name).read_text(encoding="utf-8"))


def results(out: Path) -> dict[str, dict[str, torch.Tensor]]:
    """Every network of every stage, and the labels between them."""
    found = {}
    for stage in STAGES:
        state = torch.load(out / stage / "last.pt", weights_only=True)
        found |= {f"{stage}/{name}": weights for name, weights in state["networks"].items()}
    found["labels"] = PseudoLabels.load(out / "labels" / "labels.pt").labels
    return found


def assert_same(first: Path, second: Path) -> None:
    one, other = results(first), results(second)
    assert one.keys() == other.keys()
    for name, weights in one.items():
        assert all(torch.equal(value, other[name][key]) for key, value in weights.items()), name


def write_table(path: Path, data: Path) -> Path:
    """The tags as somebody would write them down: ranges of the slices that a viewer shows."""
    rows = ["case,slice,tags"]
    for name in list(CASES)[:2]:
        mask = np.asarray(nib.load(data / "ct" / "labels" / f"{name}.nii.gz").dataobj)
        rows.append(f"{name},0-{SHAPE[2] - 1},")
        for organ, value in (("liver", 1), ("spleen", 4)):
            first, last = np.flatnonzero((mask == value).any((0, 1)))[[0, -1]]
            rows.append(f"{name},{first}-{last},{organ}")
    path.write_text("\n".join(rows) + "\n", encoding="utf-8")
    return path


def test_from_tags_to_masks(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    out = tmp_path / "run"
    handlers = [{**read("train.json")["train"]["handlers"][0], "every": 60}]
    quiet = {f"{stage}#handlers": [] for stage in ("l_net", "strong_net", "tag_net")}
    run_ = [*TRAIN_ONLY[:-1], "$@report.run()", "$@evaluation.run()", "$@train#trainer.state.metrics"]
    scores, summary, metrics = run(
        "train", dataset_dir=str(data), output_dir=str(out), watch_hidden_masks=True, run=run_,
        **{**TINY, **quiet, "train#handlers": handlers, "network_ema#half_life_images": 20},
        l_net_iterations=250, strong_net_iterations=60, tag_net_iterations=60, iterations=60, learning_rate=0.01,
        l_net_learning_rate=0.01, tag_net_learning_rate=0.01,
    )[-3:]  # fmt: skip
    assert metrics["validation_dice_ct"] > 0.7  # class 1: the liver, whose masks nobody has seen
    for bank in ("validation", "unlabelled"):
        assert scores[bank]["label"]["liver"] > 0.7
        assert scores[bank]["network"]["spleen"] > 0.8
    organs = summary["domains"]["ct"]["organs"]
    assert organs["liver"]["dice"]["mean"] > 0.7
    assert organs["spleen"]["dice"]["mean"] > 0.8
    assert (out / "labels" / "steps_unlabelled.png").is_file()
    assert "liver (weak)" in capsys.readouterr().out
    weights = str(out / "p_net" / "model.pt")

    again = run(
        "evaluate", dataset_dir=str(data), output_dir=str(tmp_path / "eval"), checkpoint=weights, labelled=1,
        experiment=None, run=["$@evaluation.run()"],
    )  # fmt: skip
    assert again[0]["domains"] == summary["domains"]  # the weights on disk are those that were scored

    run("inference", dataset_dir=str(data), output_dir=str(tmp_path / "out"), checkpoint=weights)
    for name in ("case2", "case3"):
        mask, truth = nib.load(tmp_path / "out" / f"{name}_seg.nii.gz"), make_organs(AFFINES[CASES[name]])[1]
        found = np.asarray(mask.dataobj)
        assert np.allclose(mask.affine, AFFINES[CASES[name]], atol=1e-4)
        for value, index in ((1, 1), (4, 2)):
            ours, theirs = found == index, truth == value
            assert 2 * (ours & theirs).sum() / (ours.sum() + theirs.sum()) > 0.7


def garble(path: Path, seed: int) -> None:
    """Move the liver's pixels somewhere else in their slices, and leave the spleen alone."""
    image = nib.load(path)
    mask, rng = np.asarray(image.dataobj).copy(), np.random.default_rng(seed)
    for k in range(mask.shape[2]):
        plane = mask[:, :, k]
        count = int((plane == 1).sum())
        plane[plane == 1] = 0
        free = np.flatnonzero(plane.ravel() == 0)
        plane.reshape(-1)[rng.choice(free, count, replace=False)] = 1
        mask[:, :, k] = plane
    write_scan(path, mask, image.affine)


def test_garbled_masks_of_the_weak_organ_change_nothing(data: Path, tmp_path: Path) -> None:
    """Tags made from masks: presence is all that is taken from them, in scans with and without masks."""
    for number in range(2):
        train(data, tmp_path / str(number))
        for name in ("case0", "case1"):
            garble(data / "ct" / "labels" / f"{name}.nii.gz", seed=number)
    assert_same(tmp_path / "0", tmp_path / "1")


def test_with_a_table_masks_are_not_even_opened(data: Path, tmp_path: Path) -> None:
    table = write_table(tmp_path / "tags.csv", data)
    train(data, tmp_path / "0")
    (data / "ct" / "labels" / "case1.nii.gz").write_bytes(b"garbage")
    garble(data / "ct" / "labels" / "case0.nii.gz", seed=3)
    train(data, tmp_path / "1", tags_file=str(table))
    assert_same(tmp_path / "0", tmp_path / "1")  # the same tags, wherever they come from
    rows = list(csv.DictReader((tmp_path / "1" / "tags.csv").read_text(encoding="utf-8").splitlines()))
    assert len(rows) == 2 * SHAPE[2]


def test_a_finished_training_is_not_done_again_and_later_stages_can_be(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "0"
    train(data, out)
    before = {path: path.read_bytes() for path in out.rglob("*.pt")}
    train(data, out)
    assert {path: path.read_bytes() for path in out.rglob("*.pt")} == before
    shutil.rmtree(out / "p_net")
    train(data, out, adversarial_weight=0.0)  # what comes before does not depend on it
    kept = {path for path in before if path.read_bytes() == before[path]}
    assert kept >= {path for path in before if "p_net" not in path.parts}
    with pytest.raises(RuntimeError) as told:  # by MONAI, which wraps what an expression raises
        train(data, out, l_net_iterations=5)
    assert "l_net_iterations was 4 and is now 5" in str(told.value.__cause__)


def test_stopped_in_the_middle_it_goes_on_the_same(data: Path, tmp_path: Path) -> None:
    train(data, tmp_path / "whole")
    first = [*TRAIN_ONLY[:3], "$@strong_net#trainer.run()"]
    train(data, tmp_path / "parts", run=first)
    train(data, tmp_path / "parts")
    assert_same(tmp_path / "whole", tmp_path / "parts")


def test_without_weak_organs_it_is_supervised(data: Path, tmp_path: Path) -> None:
    trainer = train(data, tmp_path / "out", strong=["spleen", "liver"], weak=[], labelled=2)
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"strong_net", "p_net"}
    assert set(trainer.state.output) == {"loss", "p_net/segmenter/label"}


def test_without_unlabelled_scans_the_labelled_ones_are_tagged(data: Path, tmp_path: Path) -> None:
    trainer = train(data, tmp_path / "out", labelled=2)
    assert set(trainer.state.output) == {"loss", "p_net/segmenter/label"}
    labels = PseudoLabels.load(tmp_path / "out" / "labels" / "labels.pt").labels
    assert list(labels) == ["labelled"]


@pytest.mark.filterwarnings("ignore:parsing config_file:UserWarning")  # MONAI warns that a configuration is code
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"strong": "['spleen','liver']"}, "organs that are strong and weak: got liver"),
        ({"weak": "['livr']"}, "unknown organ: got livr.*did you mean liver"),
        ({"strong": "[]"}, "option strong: got no organ"),
        ({"weak": "['liver','stomach']"}, "organs that are tagged in no slice: got stomach"),
        ({"strong": "['spleen','aorta']"}, "strong organs without any mask: got aorta"),
        ({"labelled": 0}, "option labelled: got 0"),
        ({"labelled": 3}, "no split with 3 labelled scans"),
        ({"orientations": 9}, "option orientations: got 9"),
        ({"diffusion_steps": 2, "diffusion_sigma_image": 0.0}, "self-diffusion: got steps 2"),
        ({"adversarial_start": 2.0}, "option adversarial_start: got 2.0; wanted a share"),
    ],
)
def test_settings_that_make_no_sense(
    options: dict, message: str, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
) -> None:  # fmt: skip
    given = {
        "dataset_dir": data, "output_dir": tmp_path / "out", "labelled": 1, "modality": "ct", "image_size": 32,
        "strong": "['spleen']", "weak": "['liver']", "tag_min_area_mm2": 0.0, "device": "$torch.device('cpu')",
        "run": "['$[@train#dataloader, @labels, @train#trainer]']",
    }  # fmt: skip
    done = BundleCommand(monkeypatch, capsys)("ct_abdomen_transfer/train.json", **{**given, **options})
    assert (done.code, "Traceback" in done.errors) == (1, False)
    assert re.search(message, done.message, re.DOTALL), done.message
    assert not (tmp_path / "out").exists()


BAD_TABLES = {
    "a slice is missing": ("case0,0-9,spleen\ncase1,0-8,liver\n", "tags are missing for 1 of 10 slices of case1"),
    "a scan is missing": ("case0,0-9,spleen\n", "no tags for case1"),
    "an organ is unknown": ("case0,0-9,spleen\ncase1,0-9,lever\n", "line 3: unknown organ: got lever; wanted liver?"),
    "an organ is never tagged": ("case0,0-9,spleen\ncase1,0-9,\n", "tagged in no slice: got liver"),
    "a slice too many": ("case0,0-12,spleen\ncase1,0-9,liver\n", "slice 10 of case0: got a scan of 10 slices"),
}


@pytest.mark.filterwarnings("ignore:parsing config_file:UserWarning")
@pytest.mark.parametrize("case", BAD_TABLES)
def test_tables_that_do_not_fit(
    case: str, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    rows, message = BAD_TABLES[case]
    (tmp_path / "tags.csv").write_text("case,slice,tags\n" + rows, encoding="utf-8")
    done = BundleCommand(monkeypatch, capsys)(
        "ct_abdomen_transfer/train.json", dataset_dir=data, output_dir=tmp_path / "out", labelled=1, modality="ct",
        image_size=32, strong="['spleen']", weak="['liver']", tags_file=tmp_path / "tags.csv",
        device="$torch.device('cpu')",
    )  # fmt: skip
    assert (done.code, "Traceback" in done.errors) == (1, False)
    assert message in done.message, done.message
    assert not (tmp_path / "out").exists()


def test_every_setting_of_a_stage_marks_its_trainings() -> None:
    config = read("train.json")
    parts = {**config["stage_settings"], "data": config["data_settings"]}
    marked = {name for part in parts.values() for name in part}
    stages = [config[group]["trainer"] for group in ("l_net", "strong_net", "tag_net", "train")]
    for stage in (*stages, config["labels"], config["diffusion"]):
        used = {v.removeprefix("@") for v in stage.values() if isinstance(v, str) and v.startswith("@")}
        numbers = {name for name in used if isinstance(config.get(name), (int, float))}
        assert numbers - {"checkpoint_every", "slice_batch"} <= marked, stage


def test_the_supervised_reference_is_the_same_network_and_number_of_slices() -> None:
    overlay, config = read("supervised.json"), read("train.json")
    assert set(overlay) <= set(config)
    assert set(overlay["strong"]) == {*config["strong"], *config["weak"]}
    assert overlay["batch_size"] == 2 * config["batch_size"]  # of slices with masks, and of others
    parser = ConfigParser()
    parser.read_config([str(CONFIGS / "train.json"), str(CONFIGS / "supervised.json")])
    other = ConfigParser()
    other.read_config(str(CONFIGS / "train.json"))
    for name in ("num_classes", "network_settings"):
        assert parser.get_parsed_content(name) == other.get_parsed_content(name)
