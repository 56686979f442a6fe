"""Settings that the configuration does not have, or not of that kind."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from monai_semgan.apps import check_configuration
from monai_semgan.utils import InputError

PROGRAM = "/somewhere/monai/bundle/__main__.py"
CONFIG = {
    "labelled": 8,
    "encoder_iterations": 800,
    "gan_iterations": 700,
    "labels": {"liver": 1},
    "network": {
        "_target_": "monai.networks.nets.UNet", "spatial_dims": 2, "in_channels": 1, "out_channels": 2,
        "channels": [4, 8], "strides": [2],
    },
    "train": {
        "trainer": {"_target_": "monai_semgan.engines.StyleEncoderTrainer", "max_epochs": 1},
        "handlers": [{"_target_": "monai_semgan.handlers.ProgressReport", "stage": "encoder"}],
    },
    "run": ["$@train#trainer.run()"],
}  # fmt: skip


@pytest.fixture
def check(tmp_path: Path):
    (tmp_path / "train.json").write_text(json.dumps(CONFIG), encoding="utf-8")

    def run(*words: str, overlay: dict[str, Any] | None = None) -> None:
        files = [str(tmp_path / "train.json")]
        if overlay is not None:
            (tmp_path / "overlay.json").write_text(json.dumps(overlay), encoding="utf-8")
            files.append(str(tmp_path / "overlay.json"))
        check_configuration([PROGRAM, "run", "--config_file", str(files), *words])

    return run


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["--labelled", "4", "--encoder_iterations=3"],
        ["--labels#spleen", "2"],
        ["--train#trainer#max_epochs", "2"],
        ["--train#trainer::clean_fraction", "0.5"],  # an argument that the file leaves to its default
        ["--train#trainer#max_bad_steps", "3"],  # of the parent class
        ["--train#trainer#_disabled_", "True"],
        ["--train#handlers#0#total_images", "5"],
        ["--network", "@mine", "--mine", "{'_target_': 'torch.nn.Identity'}"],
        ["--network", "$None"],
        ["--run_id", "labels"],
    ],
)
def test_what_can_be_set_passes(check, words: list[str]) -> None:
    check(*words)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--labeled", "4"], "setting --labeled: got a name that is not known; .*did you mean --labelled?"),
        (["--encoder_iteration", "10"], r"did you mean --encoder_iterations\?"),
        (["--iterations", "10"], "did you mean --gan_iterations or --encoder_iterations"),
        (["--max_epochs", "10"], "did you mean --train#trainer#max_epochs"),
        (["--foo", "10"], "look for the right name"),
        (["--labelled", "many"], "setting --labelled: got many; wanted a whole number, e.g. 8"),
        (["--labelled"], "setting --labelled: got True; wanted a whole number"),
        (["--train#trainer#clean_fractoin", "1"], "setting --train#trainer#clean_fractoin: got a name that is not"),
        (["--train#handlers#3", "x"], "setting --train#handlers#3: got a name that is not known"),
        (["--train#trainr", "x"], "did you mean --train#trainer"),
        (["--network", "@mine"], "reference @mine on the command line: got an id that is in no configuration"),
        (["--network", "$f(@labeled)"], "did you mean @labelled"),
        (["my", "--labelled", "4"], "argument 'my' on the command line.*quotation marks"),
    ],
)
def test_what_cannot_be_set_is_told(check, words: list[str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        check(*words)


def test_everything_wrong_is_told_at_once(check) -> None:
    with pytest.raises(InputError, match=r"2 settings cannot be used:\n.*--foo.*\n.*--labelled: got x"):
        check("--foo", "1", "--labelled", "x")


def test_overlays_are_held_against_the_file(check) -> None:
    check(overlay={"labelled": 4, "train#trainer#max_epochs": 2, "+train#handlers": [], "labels": {"spleen": 4}})
    check(overlay={"network": "@mine", "mine": {"_target_": "torch.nn.Identity", "size": "@labelled"}})
    for overlay, message in (
        ({"labeled": 4}, "setting 'labeled' in .*overlay.json: got a name that is not known.*did you mean labelled"),
        ({"labelled": "4"}, "setting 'labelled' in .*overlay.json: got 4; wanted a whole number"),
        ({"network": {"_target_": "a.N", "n": "@size"}}, "reference @size in .*overlay.json"),
    ):
        with pytest.raises(InputError, match=message):
            check(overlay=overlay)


def test_nothing_is_checked_elsewhere() -> None:
    check_configuration(["/x/monailabel/main.py", "start_server", "--labeled", "4"])
    check_configuration()  # pytest's own command line


def test_numbers_that_may_have_fractions_are_written_with_a_point(repository: Path) -> None:
    """A weight written as 1 would be taken for a count, and 0.5 be refused."""
    fractions = re.compile(r"(weight|gamma|rate|strength|fraction|probability|noise|multiplier|_mm|_gamma_joint)$")
    for path in sorted((repository / "bundles").glob("*/configs/*.json")):
        for name, value in json.loads(path.read_text(encoding="utf-8")).items():
            if fractions.search(name) and isinstance(value, (int, float)):
                assert isinstance(value, float), f"{path}: {name}"


def test_every_bundle_checks_its_command_line(repository: Path) -> None:
    for path in sorted((repository / "bundles").glob("*/configs/*.json")):
        config = json.loads(path.read_text(encoding="utf-8"))
        if "run" in config and "bundle_root" in config:  # an overlay may run something else
            steps = config["initialize"]
            assert steps[:2] == ["$semgan_apps.show_input_errors()", "$semgan_apps.check_configuration()"], path
            assert "$semgan_utils.require_device(@device)" in steps, path


@pytest.mark.parametrize("overlay", ["gpu_128", "gpu_256"])
def test_the_overlays_of_the_bundle_pass(repository: Path, overlay: str) -> None:
    folder = repository / "bundles" / "ct_liver"
    files = f"{folder / 'train.json'},{folder / 'configs' / overlay}.json"
    check_configuration([PROGRAM, "run", "--config_file", files])
