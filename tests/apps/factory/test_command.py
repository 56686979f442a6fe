"""``monai-semgan generate`` from words to files, with a bundle whose source is made up, and that of ct_liver."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from pydoc import locate

import pytest
import torch

from monai_semgan import __main__ as command_line
from monai_semgan.apps.factory import PairSource, SemanticGANSource
from monai_semgan.apps.factory import command as generate
from monai_semgan.apps.factory.bundle_source import BundleSource
from monai_semgan.data import load_datalist
from monai_semgan.utils import InputError, save_checkpoint, write_model_settings
from tests.scans import AFFINES, make_scan, write_scan

REPOSITORY = Path(__file__).resolve().parents[3]
CONFIGS = sorted((REPOSITORY / "bundles").glob("*/configs/generate.json"))
SHAPE = (32, 28, 8)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory) -> Path:
    """A bundle with the preprocessing of ct_liver and a source without a network."""
    config = json.loads((REPOSITORY / "bundles/ct_liver/configs/generate.json").read_text(encoding="utf-8"))
    kept = (
        "modality",
        "mr_median",
        "undo_slice_interpolation",
        "label_mapping",
        "slice_spacing_mm",
        "preprocessing",
        "volume_preprocessing",
    )
    config = {key: config[key] for key in kept} | {
        "bundle_root": ".", "image_size": 32, "fov_mm": 352.0,
        "source": {"_target_": "tests.apps.factory.ellipse_source.EllipseSource", "empty": 0.1,
                   "slice_spacing_mm": "@slice_spacing_mm"},
    }  # fmt: skip
    folder = tmp_path_factory.mktemp("bundles") / "ellipses"
    (folder / "configs").mkdir(parents=True)
    (folder / "configs" / "generate.json").write_text(json.dumps(config), encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def scans(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("scans")
    splits = {"ct_train": ["a0", "a1", "a2"], "ct_val": ["a3"], "ct_test": ["a4"], "labelled": {"2": ["a0", "a1"]}}
    for number, name in enumerate(["a0", "a1", "a2", "a3", "a4"]):
        image, label = make_scan(AFFINES["RAS"], SHAPE)
        image[image > -1000] += 9 * number  # patients differ
        write_scan(folder / "ct" / "images" / f"{name}.nii.gz", image, AFFINES["RAS"])
        write_scan(folder / "ct" / "labels" / f"{name}.nii.gz", label, AFFINES["RAS"])
    (folder / "splits.json").write_text(json.dumps(splits), encoding="utf-8")
    return folder


def run(bundle: Path | str, out: Path, *words: str, number: int = 6) -> int:
    return command_line.main(["generate", "--bundle", str(bundle), "--number", str(number), "--out", str(out), *words])


@pytest.fixture(scope="module")
def made(bundle, scans, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("made") / "out"
    # made-up livers all lie at one place and are of one size, so rules learned from them would be narrow
    assert run(bundle, out, "--dataset_dir", str(scans), "--labelled", "2", "--no_anatomy") == 0
    return out


def test_the_datalist_is_what_the_bundles_read(made, scans):
    lists = load_datalist(made, labelled=6)
    assert len(lists["labelled"]) == 6
    assert lists["unlabelled"] == []
    assert [item["name"] for item in lists["validation"]] == ["a3"]
    assert [item["name"] for item in lists["test"]["ct"]] == ["a4"]
    assert all(Path(item["image"]).is_file() for item in lists["labelled"])


def test_real_and_made_scans_together(made):
    lists = load_datalist(made / "with_real", labelled=8)
    assert [item["name"] for item in lists["labelled"]][:2] == ["a0", "a1"]
    assert len(lists["labelled"]) == 8
    assert Path(lists["labelled"][-1]["image"]).resolve().parent == (made / "images").resolve()


def test_lists_carry_seed_latents_and_scores(made):
    entry = json.loads((made / "datalist.json").read_text(encoding="utf-8"))["training"][0]
    assert {"seed", "latent_norm", "truncation", "latents", "quality", "nearest"} <= set(entry)
    assert entry["nearest"]["scan"] in ("a0", "a1", "a2")
    summary = json.loads((made / "summary.json").read_text(encoding="utf-8"))
    assert summary["kept"] == 6
    assert summary["memorisation"]["training_slices_drawn_again"] == 1.0
    rejected = json.loads((made / "rejected.json").read_text(encoding="utf-8"))
    assert all(item["reasons"] for item in rejected)
    assert summary["made"] == 6 + len(rejected)


def test_sheets_are_written(made):
    from PIL import Image

    with Image.open(made / "contact_sheet.png") as sheet:
        assert sheet.size[0] > 6 * 128
    assert (made / "nearest_sheet.png").is_file()


def test_the_same_command_again_changes_nothing(made, bundle, scans, capsys):
    before = {path: path.read_bytes() for path in made.rglob("*.nii.gz")} | {
        made / "x": (made / "samples.jsonl").read_bytes()
    }
    assert run(bundle, made, "--dataset_dir", str(scans), "--labelled", "2", "--no_anatomy") == 0
    assert "going on: 6 pairs" in capsys.readouterr().out
    assert {path: path.read_bytes() for path in made.rglob("*.nii.gz")} | {
        made / "x": (made / "samples.jsonl").read_bytes()
    } == before


def test_without_a_data_set(bundle, tmp_path, capsys):
    assert run(bundle, tmp_path / "out", number=11) == 0
    told = capsys.readouterr().out
    assert "no memorisation check" in told
    assert "no critic at hand" in told
    lists = load_datalist(tmp_path / "out", labelled=10)
    assert (len(lists["labelled"]), len(lists["validation"])) == (10, 1)
    assert not (tmp_path / "out" / "nearest_sheet.png").exists()


def test_stacks_and_other_mask_values(bundle, tmp_path):
    words = ("--depth", "3", "--slice_spacing", "4", "--label_mapping", "{6: 1}", "--empty_fraction", "0")
    assert run(bundle, tmp_path / "out", *words, number=2) == 0
    import nibabel as nib

    label = nib.load(next((tmp_path / "out" / "labels").iterdir()))
    assert label.shape == (32, 32, 3)
    assert label.header.get_zooms()[2] == 4
    assert label.get_fdata().max() == 6


def test_too_few_pairs_end_with_one_and_advice(bundle, tmp_path, capsys):
    assert run(bundle, tmp_path / "out", "--max_entropy", "0", "--max_tries", "4") == 1
    errors = capsys.readouterr().err
    assert "6 pairs were wanted. What to do" in errors
    assert json.loads((tmp_path / "out" / "datalist.json").read_text(encoding="utf-8"))["training"] == []


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--bundle", "ct_nothing"), "bundle ct_nothing is not there"),
        (("--bundle", "ct_liver_supervised"), "it makes no images"),
        (("--bundle", "ct_liver", "--checkpoint", "missing.pt"), "missing.pt: got no such file"),
        (("--number", "0"), "--number: got 0"),
        (("--depth", "5"), "at most 3 slices"),
        (("--label_mapping", "liver"), "--label_mapping: got liver"),
        (("--latents", "prior"), "option --latents: the bundle ellipses has no such setting"),
        (("--truncation", "9"), "option truncation"),
        (("--dataset_dir", "nowhere"), "data set folder nowhere is missing"),
    ],
)
def test_errors_are_one_line(bundle, tmp_path, capsys, words, message):
    assert run(bundle, tmp_path / "out", *words) == command_line.USER_ERROR
    errors = capsys.readouterr().err
    assert message in errors
    assert "Traceback" not in errors


def test_other_settings_in_the_same_folder(made, bundle, scans, capsys):
    words = ("--dataset_dir", str(scans), "--labelled", "2", "--no_anatomy", "--seed", "4")
    assert run(bundle, made, *words) == command_line.USER_ERROR
    assert "got seed 4; wanted seed 0" in capsys.readouterr().err


def test_options_have_help():
    parser = generate.add_parser(argparse.ArgumentParser().add_subparsers())
    assert [action.dest for action in parser._actions if not action.help] == []


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.parents[1].name)
def test_bundles_name_things_that_exist(path):
    def targets(value):
        if isinstance(value, dict):
            found = [value["_target_"]] if "_target_" in value else []
            return found + [target for inner in value.values() for target in targets(inner)]
        return [target for inner in value for target in targets(inner)] if isinstance(value, list) else []

    config = json.loads(path.read_text(encoding="utf-8"))
    assert {"source", "preprocessing", "label_mapping", "slice_spacing_mm"} <= set(config)
    assert [target for target in targets(config) if "." in target and locate(target) is None] == []


@pytest.mark.parametrize("name", [path.parents[1].name for path in CONFIGS])
def test_bundles_plug_in(tmp_path, name):
    settings = {
        "image_size": 32, "fov_mm": 352.0, "label_channels": 1, "latent_dim": 16, "num_mapping_layers": 2,
        "mapping_lr_multiplier": 0.3, "latent_input": True, "channel_base": 128, "channel_max": 8,
        "spatial_resolution": 8, "encoder_channels": [8, 8], "feature_dim": 8, "num_classes": 2, "head_size": "XS",
        "organs": {"liver": 1},
    }  # fmt: skip
    weights = tmp_path / "model.pt"
    write_model_settings(settings, weights)
    weights.touch()
    given = {"checkpoint": str(weights), "device": "cpu", "latents": "prior"}
    save_checkpoint(BundleSource(name, **given).get("network_def").state_dict(), weights)
    bundle = BundleSource(name, **given)
    source = bundle.source()
    assert isinstance(source, PairSource)
    assert isinstance(source, SemanticGANSource)
    assert (source.image_size, source.num_classes, source.name, source.critic) == (32, 2, "prior", None)
    latents = source.sample_latents(torch.Generator().manual_seed(0), 1.0, 1)
    image, probability = source.synthesise(latents, torch.Generator().manual_seed(0))
    assert (image.shape, probability.shape) == ((1, 1, 32, 32), (1, 2, 32, 32))
    assert bundle.label_mapping() == {1: 1}
    assert bundle.fingerprint()["critic_checkpoint"] is None
    assert callable(bundle.get("volume_preprocessing"))
    with pytest.raises(InputError, match="no such setting"):
        BundleSource(name, colour="green")
