"""A name can never lead out of the output folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from monai_semgan.utils.names import safe_name


@pytest.mark.parametrize(
    "name",
    [
        "../../etc/passwd",
        "/abs/scan",
        "..",
        ".",
        "",
        "a\\b",
        "C:\\x",
        "a\0b",
        "x" * 500,
        "\u00e4" * 300,
        "~/a",
    ],
)
def test_any_name_is_one_part_inside_the_folder(name, tmp_path):
    plain = safe_name(name)
    path = (tmp_path / f"{plain}_seg.nii.gz").resolve()
    assert path.parent == tmp_path.resolve()
    assert plain not in ("", ".", "..")
    assert Path(plain).name == plain
    assert len(path.name.encode()) < 255
    path.touch()


def test_ordinary_names_stay_as_they_are():
    assert safe_name("liver_CT-03.b \u00fc") == "liver_CT-03.b \u00fc"
