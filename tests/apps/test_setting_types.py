"""Which values may stand for which."""

from __future__ import annotations

from typing import Any

import pytest

from monai_semgan.apps.setting_types import wanted_instead

COMPONENT = {"_target_": "monai.networks.nets.UNet"}


@pytest.mark.parametrize(
    ("default", "value"),
    [
        (8, 4), (0.5, 1), (0.5, 1e-3), (True, False), ("auto", "ct"), ([16, 32], [8]), ([16, 32], (8, 8)),
        ({"1": 1}, {1: 1, 2: 2}), (None, 0.3), (None, None), ("$@a", 3), ("@a", "x"), (8, "$@a * 2"),
        (8, "@a"), (COMPONENT, "@mine"), (COMPONENT, COMPONENT), ("$bf16()", False), (0, -1), ([COMPONENT], []),
    ],
)  # fmt: skip
def test_these_may(default: Any, value: Any) -> None:
    assert wanted_instead("steps", default, value) is None


@pytest.mark.parametrize(
    ("default", "value", "wanted"),
    [
        (8, "many", "a whole number, e.g. 8"),
        (8, 4.5, "a whole number, e.g. 8"),
        (8, True, "a whole number"),  # what --labelled without a value gives
        (0.5, "big", "a number, e.g. 0.5"),
        (0.5, -0.5, "0 or more"),
        (True, 1, "True or False"),
        ("$bf16()", "true", "True (as Python spells it)"),
        (True, "no", "False (as Python spells it)"),
        ("auto", 3, "text, e.g. 'auto'"),
        ([16, 32], [8, "a"], "a list, e.g. [16, 32]"),
        ([16, 32], 8, "a list, e.g. [16, 32]"),
        ({"1": 1}, 2, "a table, e.g. {'1': 1}"),
        ({"dataset": COMPONENT, "handlers": []}, "x", "a section with dataset, handlers"),
        (COMPONENT, "my/folder", "a component such as monai.networks.nets.UNet"),
    ],
)
def test_these_may_not(default: Any, value: Any, wanted: str) -> None:
    assert wanted in str(wanted_instead("steps", default, value))


def test_paths_are_text() -> None:
    assert wanted_instead("output_dir", "$@bundle_root + '/eval'", "2024-01") is None
    for value in (2024, ("a", "b")):
        assert "./NAME" in str(wanted_instead("output_dir", "$@bundle_root + '/eval'", value))


def test_none_on_the_command_line_would_be_dropped() -> None:
    assert "$None" in str(wanted_instead("experiment", COMPONENT, None))
    assert wanted_instead("experiment", COMPONENT, None, from_file=True) is None
