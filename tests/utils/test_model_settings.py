"""Settings beside weights."""

from __future__ import annotations

from pathlib import Path

import pytest

from monai_semgan.utils import InputError
from monai_semgan.utils.model_settings import read_model_settings, settings_path, write_model_settings


def test_round_trip(tmp_path: Path) -> None:
    weights = tmp_path / "model.pt"
    weights.touch()
    write_model_settings({"image_size": 64, "channels": [8, 16]}, weights)
    assert settings_path(weights) == tmp_path / "model.json"
    assert read_model_settings(str(weights)) == {"image_size": 64, "channels": [8, 16]}


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    weights = tmp_path / "model.pt"
    with pytest.raises(InputError, match=r"Weights .*model\.pt: got no such file.*train first"):
        read_model_settings(weights)
    weights.touch()
    with pytest.raises(InputError, match=r"Settings .*model\.json: got no such file.*copy model\.json"):
        read_model_settings(weights)


@pytest.mark.parametrize(("text", "message"), [("{", "no valid JSON"), ("[1]", "wanted a JSON object"), ("", "JSON")])
def test_damaged_settings_are_named(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "model.pt").touch()
    (tmp_path / "model.json").write_text(text)
    with pytest.raises(InputError, match=message):
        read_model_settings(tmp_path / "model.pt")


def test_a_missing_entry_is_told_when_it_is_asked_for(tmp_path: Path) -> None:
    weights = tmp_path / "model.pt"
    weights.touch()
    write_model_settings({"image_size": 64}, weights)
    settings = read_model_settings(weights)
    assert settings.get("fov_mm") is None
    with pytest.raises(InputError, match=r"model\.json: got no entry 'fov_mm'"):
        settings["fov_mm"]
