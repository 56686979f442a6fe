"""`python -m monai_semgan check BUNDLE`: the check of every run, by itself."""

from __future__ import annotations

from pathlib import Path

import pytest

from monai_semgan.__main__ import main

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")


@pytest.fixture(autouse=True)
def at_the_root(monkeypatch: pytest.MonkeyPatch, repository: Path) -> None:
    monkeypatch.chdir(repository)


@pytest.mark.parametrize(
    "words",
    [
        ["ct_liver"],
        ["bundles/ct_liver_supervised", "--labelled", "4", "--unet_norm=BATCH"],
        ["ct_liver_adversarial_semi", "--config_file", "train.json,small.json"],
        ["ct_abdomen_transfer", "--config_file", "['train.json','supervised.json']"],
    ],
)
def test_what_can_be_run_passes(words: list[str], capsys: pytest.CaptureFixture) -> None:
    assert main(["check", *words]) == 0
    assert "nothing is wrong" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["ct_livr"], "did you mean ct_liver?"),
        (["ct_liver", "--config_file", "trian.json"], "did you mean train.json?"),
        (["ct_liver", "--labeled", "4"], "did you mean --labelled?"),
        (["ct_liver", "--labelled", "many"], "wanted a whole number"),
        (["ct_liver", "--spatial_resolution", "12"], "component generator: spatial_resolution: got 12"),
        (["ct_abdomen_transfer", "--strong", "['splen']"], "did you mean spleen?"),
        (["ct_liver", "--config_file", "inference.json", "--dataset_dir", "/nowhere"], "/nowhere is missing"),
    ],
)
def test_what_cannot_be_run_is_told(words: list[str], message: str, capsys: pytest.CaptureFixture) -> None:
    assert main(["check", *words]) == 2
    assert message in capsys.readouterr().err
