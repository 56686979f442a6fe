"""The doctor finds what is there, names what is not, and says what to do."""

from __future__ import annotations

import argparse
from importlib import metadata
from pathlib import Path

import pytest
import torch

from monai_semgan.apps import doctor


def by_name(folder: Path) -> dict[str, doctor.Finding]:
    return {finding.what: finding for finding in doctor.examine(folder)}


def test_versions_are_the_installed_ones(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(doctor.metadata, "requires", lambda name: ["torch>=2.4", "monai>=1.6.1"])
    findings = by_name(tmp_path)
    assert findings["torch"] == doctor.Finding("ok", "torch", torch.__version__)
    assert findings["monai"].found == metadata.version("monai")
    assert findings["python"].level == "ok"


def test_missing_and_old_packages_are_named_with_what_to_do(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(doctor.metadata, "requires", lambda name: ["no-such-package>=3", "torch>=1000"])
    findings = by_name(tmp_path)
    for name in ("no-such-package", "torch"):
        assert findings[name].level == "missing"
        assert findings[name].advice == doctor.INSTALL
    assert doctor.run(argparse.Namespace(out=tmp_path)) == 1
    assert "2 missing" in capsys.readouterr().out


def test_extras_are_not_required(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(doctor.metadata, "requires", lambda name: ['no-such-package>=3; extra == "test"'])
    assert "no-such-package" not in by_name(tmp_path)


def test_a_checkout_that_is_not_installed_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def requires(name: str) -> list[str]:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(doctor.metadata, "requires", requires)
    assert by_name(tmp_path)[doctor.DISTRIBUTION].advice == doctor.INSTALL


def test_output_folder_is_left_as_it_was(tmp_path: Path) -> None:
    assert by_name(tmp_path)["output folder"].level in {"ok", "note"}
    assert list(tmp_path.iterdir()) == []


def test_output_folder_that_is_not_there(tmp_path: Path) -> None:
    finding = by_name(tmp_path / "absent")["output folder"]
    assert finding.level == "missing"
    assert "absent" in finding.found
    assert not (tmp_path / "absent").exists()


def test_output_folder_that_refuses_writing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    # Permissions do not stop an administrator, who runs many CI machines: the refusal is played instead.
    def refuse(**options):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(doctor.tempfile, "TemporaryFile", refuse)
    finding = by_name(tmp_path)["output folder"]
    assert finding.level == "missing"
    assert "Permission denied" in finding.found


def test_no_gpu_is_a_note_not_a_fault(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert by_name(tmp_path)["gpu"].level == "note"


@pytest.mark.parametrize(("supported", "level"), [(True, "ok"), (False, "note")])
def test_a_gpu_is_described(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, supported: bool, level: str) -> None:
    properties = argparse.Namespace(name="A card", total_memory=8 * 2**30)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda index: properties)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: supported)
    findings = by_name(tmp_path)
    assert "A card, 8 GiB" in findings["gpu 0"].found
    assert findings["gpu bf16"].level == level
