"""Versions of weights: nothing is overwritten, and one file says which counts."""

from __future__ import annotations

from pathlib import Path

import pytest

from monai_semgan.apps.label.versions import ModelVersions
from monai_semgan.utils import InputError


@pytest.fixture
def versions(tmp_path: Path) -> ModelVersions:
    (tmp_path / "shipped.pt").write_bytes(b"0")
    return ModelVersions(tmp_path / "model", tmp_path / "shipped.pt")


def test_the_shipped_weights_are_version_0(versions: ModelVersions) -> None:
    assert versions.served() == (0, versions.shipped)
    assert versions.numbers() == [0]
    assert versions.history() == []


def test_a_training_is_served_once_published_and_the_earlier_stay(versions: ModelVersions) -> None:
    for wanted in (1, 2):
        number, folder = versions.start()
        assert number == wanted
        (folder / "model.pt").write_bytes(b"new")
        assert versions.served()[0] == wanted - 1
        versions.publish(number, {"dice_after": 0.5})
        assert versions.served() == (wanted, folder / "model.pt")
    assert versions.numbers() == [0, 1, 2]
    assert [row["version"] for row in versions.history()] == [1, 2]
    assert versions.shipped.read_bytes() == b"0"


def test_a_training_that_is_worse_or_has_failed_is_not_served(versions: ModelVersions) -> None:
    number, folder = versions.start()
    (folder / "model.pt").write_bytes(b"worse")
    versions.publish(number, {}, serve=False)
    assert versions.served()[0] == 0
    number, folder = versions.start()
    versions.discard(number)
    assert not folder.exists()
    assert versions.numbers() == [0, 1]


@pytest.mark.parametrize("content", ["", "{}", '{"version": "last"}', '{"version": 7}'])
def test_a_damaged_choice_is_told(versions: ModelVersions, content: str) -> None:
    versions.folder.mkdir()
    (versions.folder / "served.json").write_text(content)
    with pytest.raises(InputError, match=r"served\.json"):
        versions.served()
    assert versions.number() is None
