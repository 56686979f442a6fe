"""The command's own checks: what is missing, which bundles, which addresses."""

from __future__ import annotations

import argparse
import socket
import sys
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from monai_semgan.apps import doctor
from monai_semgan.apps.label import requirements
from monai_semgan.apps.label.app_folder import (
    AppSettings,
    BundleSource,
    find_bundles,
    prepare_app_folder,
    read_app_settings,
)
from monai_semgan.apps.label.command import add_parser, run
from monai_semgan.apps.label.server import check_address, server_environment
from monai_semgan.utils import InputError
from tests.bundle_command import BUNDLES, REPOSITORY

EXTRA = ['fastapi>=0.1; extra == "label"', 'no-such-package>=3; extra == "label"', "torch>=2.4"]


def parse(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    add_parser(parser.add_subparsers())
    return parser.parse_args(["label-app", *words])


def test_what_is_missing_is_named_with_the_command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(requirements.metadata, "requires", lambda name: EXTRA)
    found = {finding.what: finding for finding in requirements.examine_label()}
    assert found["no-such-package"].level == "missing"
    assert "torch" not in found
    assert {"monailabel", "pydicom-seg"} <= set(found)
    assert run(parse("--check")) == 1
    assert requirements.INSTALL_LABEL in capsys.readouterr().out
    with pytest.raises(InputError, match="no-such-package"):
        run(parse("--studies", "x"))


def test_the_doctor_names_the_command_too(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(doctor.metadata, "requires", lambda name: EXTRA)
    (finding,) = [finding for finding in doctor.examine(tmp_path) if finding.what == "MONAI Label"]
    assert finding.level == "note"
    assert requirements.INSTALL_LABEL in finding.advice


@pytest.mark.skipif(sys.version_info < (3, 11), reason="reads pyproject.toml with tomllib")
def test_a_checkout_that_is_not_installed_reads_the_extra_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    def requires(name: str) -> list[str]:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(requirements.metadata, "requires", requires)
    names = {finding.what for finding in requirements.examine_label()}
    assert {"fastapi", "pydicom", "monailabel"} <= names
    assert "torch" not in names


def test_those_installed_alone_are_pinned() -> None:
    pins = [Requirement(line) for line in (REPOSITORY / "constraints.txt").read_text().splitlines() if "==" in line]
    versions = {pin.name.lower(): str(pin.specifier) for pin in pins}
    for name, version in requirements.WITHOUT_DEPENDENCIES.items():
        assert versions[name] == f"=={version}"


def test_bundles_may_be_named_together_or_one_by_one() -> None:
    assert parse("--bundle", "a", "b=w.pt").bundle == ["a", "b=w.pt"]
    assert parse("--bundle", "a", "--bundle", "b=w.pt").bundle == ["a", "b=w.pt"]
    assert parse().bundle == []


def test_all_bundles_or_those_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    everything = [source.name for source in find_bundles()]
    assert everything == sorted(path.parents[1].name for path in BUNDLES.glob("*/configs/inference.json"))
    monkeypatch.chdir(tmp_path)
    one, other = find_bundles(["ct_liver", f"{BUNDLES / 'ct_liver_supervised'}=own/model.pt"])
    assert one == BundleSource("ct_liver", str(BUNDLES / "ct_liver"))
    assert other.weights == str(tmp_path / "own" / "model.pt")
    for wanted in (["nothing"], ["ct_liver", "ct_liver"]):
        with pytest.raises(InputError, match="bundle"):
            find_bundles(wanted)


def test_the_app_folder_keeps_what_was_asked_for(tmp_path: Path) -> None:
    settings = AppSettings((BundleSource("a", "/x/a"),), "cpu", 5.0, 7, False)
    folder = prepare_app_folder(tmp_path / "app", settings)
    assert read_app_settings(folder) == settings
    assert "SemganLabelApp" in (folder / "main.py").read_text()
    (folder / "label_app.json").write_text("{")
    with pytest.raises(InputError, match=r"label_app\.json"):
        read_app_settings(folder)


def test_only_loopback_unless_others_have_to_log_in() -> None:
    check_address("127.0.0.1", 0, public=False, authenticated=False)
    with pytest.raises(InputError, match="--public"):
        check_address("0.0.0.0", 0, public=False, authenticated=True)
    with pytest.raises(InputError, match="authentication"):
        check_address("0.0.0.0", 0, public=True, authenticated=False)
    check_address("0.0.0.0", 0, public=True, authenticated=True)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(InputError, match="port"):
            check_address("127.0.0.1", taken.getsockname()[1], public=False, authenticated=False)


def test_no_model_is_looked_up_in_the_network(tmp_path: Path) -> None:
    environment = server_environment(tmp_path, str(tmp_path), 8000)
    assert environment["MONAI_ZOO_SOURCE"] == "local"
    assert "MONAI_LABEL_CORS_ORIGINS" not in environment  # a training process could not print it, and would end
