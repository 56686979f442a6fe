"""What every bundle promises: MONAI's properties, one configuration in two places, overrides, and export."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from pydoc import locate
from typing import Any

import pytest
import torch
from monai.bundle import ComponentLocator, ConfigParser, ConfigWorkflow, ckpt_export, verify_net_in_out
from monai.data import load_net_with_metadata

from monai_semgan.utils import write_model_settings
from tests.scans import AFFINES, make_scan, write_scan

ROOT = Path(__file__).resolve().parents[2] / "bundles"
BUNDLES = sorted(path.parent.parent.name for path in ROOT.glob("*/configs/train.json"))
CONFIGS = ("train", "inference", "evaluate")
# The size of the slices stays: metadata.json names it.
TINY = {
    "ct_abdomen_transfer": {
        "unet_channels": [4, 8, 8],
        "unet_strides": [2, 2],
        "l_net_channels": [4, 8],
        "l_net_strides": [2],
        "tag_net_channels": [4, 8],
        "tag_net_strides": [2, 2],
        "critic_channels": [4],
    },
    "ct_liver": {
        "latent_dim": 16,
        "channel_base": 256,
        "channel_max": 8,
        "encoder_channels": [8, 8],
        "critic_channel_base": 256,
        "critic_channel_max": 8,
        "joint_critic_channels": 4,
        "student_channels": [4, 8, 8],
        "student_strides": [2, 2],
    },
    "ct_liver_adversarial_semi": {
        "unet_channels": [4, 8, 8],
        "unet_strides": [2, 2],
        "discriminator_channels": [4, 4],
    },
    "ct_liver_generative_segmentation": {
        "tokenizer_channels": [4, 8],
        "num_codes": 8,
        "code_channels": 4,
        "inverse_channels": 8,
        "conditioning_channels": [4, 8],
        "level_channels": 4,
        "grid_channels": 8,
    },
    "ct_liver_mean_teacher": {"unet_channels": [4, 8, 8], "unet_strides": [2, 2]},
    "ct_liver_one_shot": {
        "latent_dim": 16,
        "channel_base": 256,
        "channel_max": 8,
        "encoder_channels": [8, 8],
        "critic_channel_base": 256,
        "critic_channel_max": 8,
        "feature_dim": 8,
        "prototypes": 8,
    },
    "ct_liver_supervised": {"unet_channels": [4, 8, 8], "unet_strides": [2, 2]},
}
# What a training on the made-up scans needs: they show a liver and nothing else.
ON_LIVERS = {"ct_abdomen_transfer": {"strong": ["liver"], "weak": []}}
# Configuration entries of the network that is deployed, and of its settings, where it is not the only one.
DEPLOYED = {"ct_liver": ("distil#network", "student_network_settings")}
TRACED = {"ct_liver_one_shot"}  # a style generator cannot be compiled
every_bundle = pytest.mark.parametrize("bundle", BUNDLES)


def config_file(bundle: str, name: str) -> str:
    return str(ROOT / bundle / "configs" / f"{name}.json")


def read(bundle: str, name: str) -> dict[str, Any]:
    return json.loads(Path(config_file(bundle, name)).read_text(encoding="utf-8"))


def targets(config: Any) -> Iterator[str]:
    if isinstance(config, dict):
        if isinstance(config.get("_target_"), str):
            yield config["_target_"]
        config = list(config.values())
    if isinstance(config, list):
        for item in config:
            yield from targets(item)


def workflow(bundle: str, name: str, files: Path, **overrides: Any) -> ConfigWorkflow:
    training = {"labelled": 1, **TINY[bundle], **ON_LIVERS.get(bundle, {})}
    values = {
        "dataset_dir": str(files / "data"),
        "output_dir": str(files / "out"),
        "device": "$torch.device('cpu')",
        "modality": "ct",
        **(training if name == "train" else {"checkpoint": str(files / "model.pt")}),
        **overrides,
    }
    flow = ConfigWorkflow(
        config_file=config_file(bundle, name),
        meta_file=config_file(bundle, "metadata"),
        logging_file=False,
        workflow_type="train" if name == "train" else "infer",
        **values,
    )
    flow.initialize()
    return flow


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """A folder with scans in `data`."""
    volume, liver = make_scan(AFFINES["LAS"])
    names = [f"case{number}" for number in range(3)]
    for name in names:
        write_scan(tmp_path / "data" / "ct" / "images" / f"{name}.nii.gz", volume, AFFINES["LAS"])
        write_scan(tmp_path / "data" / "ct" / "labels" / f"{name}.nii.gz", liver, AFFINES["LAS"])
    splits = {"ct_train": names[:2], "ct_val": names[2:], "labelled": {"1": names[:1]}}
    (tmp_path / "data" / "splits.json").write_text(json.dumps(splits), encoding="utf-8")
    return tmp_path


def write_weights(bundle: str, folder: Path) -> torch.nn.Module:
    """Weights of the tiny network as the training writes them; returns the network."""
    parser = ConfigParser()
    parser.read_config(config_file(bundle, "train"))
    parser.update(TINY[bundle])
    parser["device"] = "$torch.device('cpu')"
    torch.manual_seed(0)
    network_id, settings_id = DEPLOYED.get(bundle, ("network", "network_settings"))
    network = parser.get_parsed_content(network_id).eval()
    for parameter in network.parameters():  # what starts at zero would hide what is not exported
        parameter.data.add_(torch.randn_like(parameter) * 0.05)
    torch.save(network.state_dict(), folder / "model.pt")
    write_model_settings(parser.get_parsed_content(settings_id), folder / "model.pt")
    return network


def test_all_bundles_are_here() -> None:
    assert sorted(TINY) == BUNDLES


@every_bundle
def test_training_has_what_monai_asks_for(bundle: str, files: Path) -> None:
    assert not workflow(bundle, "train", files).check_properties()


@every_bundle
def test_inference_has_what_monai_asks_for(bundle: str, files: Path) -> None:
    write_weights(bundle, files)
    assert not workflow(bundle, "inference", files).check_properties()


@every_bundle
@pytest.mark.parametrize("name", ["train", "metadata"])
def test_the_file_at_the_root_says_the_same(bundle: str, name: str) -> None:
    at_root = json.loads((ROOT / bundle / f"{name}.json").read_text(encoding="utf-8"))
    assert at_root == read(bundle, name)


@every_bundle
@pytest.mark.parametrize("config", CONFIGS)
def test_every_target_is_found(bundle: str, config: str) -> None:
    found = set(targets(read(bundle, config)))
    known = ComponentLocator().get_component_module_name
    assert found
    assert {name for name in found if not callable(locate(name)) and not known(name)} == set()


@every_bundle
@pytest.mark.parametrize("part", ["preprocessing", "postprocessing", "network_def", "inferer"])
def test_evaluation_does_what_inference_does(bundle: str, part: str) -> None:
    # where two networks are evaluated, `network` and `inferer` are those of the second opinion
    name = "inference_optimised" if bundle in DEPLOYED else "inference"
    # options offered to MONAI Label take a detour that means the same
    text = json.dumps(read(bundle, name)[part]).replace("@displayable_configs#", "@")
    assert json.loads(text) == at_any_size(read(bundle, "evaluate")[part])


def at_any_size(inferer: dict) -> dict:
    """What is done to a scan once it has the size that the network wants."""
    return inferer["inferer"] if inferer["_target_"].endswith(".AtSizeInferer") else inferer


def for_slices(inferer: dict) -> dict:
    """Of a network that its settings say is one of slices or of volumes: what a network of slices gets."""
    if not inferer["_target_"].endswith(".MeanInferer"):
        return inferer
    slices, volumes = inferer["inferers"]
    assert (slices.pop("_disabled_"), volumes["_disabled_"]) == ("$@spatial_dims == 3", "$@spatial_dims == 2")
    return slices


STUDENT_PARTS = {"student_def": "network_def", "student_inferer": "inferer", "coarse_settings": "coarse_settings"}


@pytest.mark.parametrize("part", STUDENT_PARTS)
def test_evaluation_uses_the_student_as_inference_does(part: str) -> None:
    text = json.dumps(read("ct_liver", "inference")[STUDENT_PARTS[part]])
    text = text.replace("@network_settings", "@student_settings").replace("@checkpoint", "@student_checkpoint")
    inferer, wanted = json.loads(text), read("ct_liver", "evaluate")[part]
    if part == "student_inferer":
        fine, coarse = inferer["inferer"]["inferers"]
        for stack in (fine, coarse["inferer"]):
            del stack["overlap"]  # given: the default
        wanted_fine = wanted["inferer"]["inferers"][0]
        assert wanted_fine["size"] == "$@student_settings['image_size']"
        wanted["inferer"]["inferers"][0] = at_any_size(wanted_fine)  # both see scans of one size in the evaluation
        assert wanted["inferer"]["inferers"][0].pop("network") == "@student"  # there are two in the evaluation
    assert inferer == wanted


@every_bundle
def test_training_evaluates_as_evaluation_does(bundle: str) -> None:
    train, evaluate = read(bundle, "train"), read(bundle, "evaluate")
    assert train["postprocessing"] == evaluate["postprocessing"]
    assert train["evaluation"]["inferers"] == evaluate["evaluation"]["inferers"]
    assert train["inferer"] == for_slices(at_any_size(evaluate["inferer"]))
    # the labels are prepared last; up to there, the network must be used on such images as it was shown
    shown, given = (config["preprocessing"]["transforms"] for config in (train, evaluate))
    for seen, used in zip(shown, given, strict=False):
        assert {k: v for k, v in seen.items() if k not in ("keys", "allow_missing_keys")} == {
            k: v for k, v in used.items() if k != "keys"
        }


def test_the_bundles_differ_in_the_method_alone() -> None:
    """What a comparison of the two must not depend on."""
    one, other = (read(bundle, "train") for bundle in ("ct_liver", "ct_liver_supervised"))
    for key in (
        "labelled", "seed", "modality", "label_mapping", "phantom_subjects", "phantom_seed", "image_size",
        "fov_mm", "labelled_foreground_fraction", "clean_fraction", "mixed_precision", "warp",
        "preprocessing", "datalist", "postprocessing",
    ):  # fmt: skip
        assert one[key] == other[key], key
    assert one["randomise"]["_target_"] == other["randomise"]["_target_"]


def bank_calls(config: Any) -> Iterator[dict[str, Any]]:
    """The entries of a configuration that build banks of slices."""
    if isinstance(config, dict):
        if str(config.get("_target_", "")).endswith("slice_bank"):
            yield config
        config = list(config.values())
    for value in config if isinstance(config, list) else ():
        yield from bank_calls(value)


@every_bundle
def test_every_bank_can_be_kept_on_disk_and_on_the_device(bundle: str) -> None:
    """And neither is a setting that a resumed training is compared by: they change no number."""
    config = read(bundle, "train")
    assert (config["slice_cache_dir"], config["slices_on_device"]) == (None, False)
    calls = list(bank_calls(config))
    assert calls
    for call in calls:
        assert call["cache_dir"] == "@slice_cache_dir"
        assert call["device"] == "$@device if @slices_on_device else None"
    compared = json.dumps([value for name, value in config.items() if name.endswith("settings")])
    assert "slice_cache_dir" not in compared
    assert "slices_on_device" not in compared


@every_bundle
def test_values_are_changed_as_on_the_command_line(bundle: str, files: Path) -> None:
    overrides = {"image_size": 32, "seed": 7, "train#dataloader#batch_size": 3, "train#handlers#0#every": 5}
    parser = workflow(bundle, "train", files, **overrides).parser
    assert parser.get_parsed_content("network_settings")["image_size"] == 32
    assert parser.get_parsed_content("settings")["seed"] == 7
    trainer = parser.get_parsed_content("train#trainer")
    batch = next(iter(trainer.data_loader))
    part = batch["labelled" if "labelled" in batch else "unlabelled"]  # some learn from images alone
    assert {tuple(part[name].shape) for name in ("image", "label") if name in part} == {(3, 1, 32, 32)}
    assert trainer.seed == 7
    assert parser.get_parsed_content("train#handlers#0").every == 5


@pytest.mark.parametrize(("strength", "variant"), [(0.0, "plain"), (1, "randomised")])
@pytest.mark.parametrize("name", ["train", "evaluate"])
def test_the_baselines_variants_have_folders_of_their_own(name: str, strength: float, variant: str) -> None:
    parser = ConfigParser()
    parser.read_config(config_file("ct_liver_supervised", name))
    parser.update({"randomise_strength": strength, "dataset_dir": "somewhere/abdomen/"})
    run = parser.get_parsed_content("output_dir" if name == "train" else "trained")
    assert f"/runs/abdomen-{variant}" in run


@every_bundle
def test_the_network_is_what_metadata_says(bundle: str, tmp_path: Path) -> None:
    write_weights(bundle, tmp_path)
    deployed = bundle in DEPLOYED
    for name in ("inference", "evaluate"):
        second = deployed and name == "evaluate"
        verify_net_in_out(
            "student" if second else "network",
            meta_file=config_file(bundle, "metadata"),
            config_file=config_file(bundle, name),
            device="cpu",
            **{"student_checkpoint" if second else "checkpoint": str(tmp_path / "model.pt")},
        )


@every_bundle
# torch announces the end of TorchScript, and a trace warns of each decision by shape that it fixes
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::torch.jit.TracerWarning")
def test_it_can_be_exported(bundle: str, tmp_path: Path) -> None:
    network = write_weights(bundle, tmp_path)
    ckpt_export(
        "network_def",
        filepath=str(tmp_path / "model.ts"),
        ckpt_file=str(tmp_path / "model.pt"),
        meta_file=config_file(bundle, "metadata"),
        config_file=config_file(bundle, "inference"),
        use_trace=bundle in TRACED,
        checkpoint=str(tmp_path / "model.pt"),
        device="$torch.device('cpu')",
    )
    exported, meta, extra = load_net_with_metadata(str(tmp_path / "model.ts"), more_extra_files=["inference.json"])
    shape = read(bundle, "metadata")["network_data_format"]["inputs"]["image"]["spatial_shape"]
    image = torch.rand(3, 1, *shape) * 2 - 1
    with torch.no_grad():
        torch.testing.assert_close(exported(image), network(image))
    assert meta["name"] == read(bundle, "metadata")["name"]
    assert json.loads(extra["inference.json"]) == read(bundle, "inference")
