"""Which version becomes the champion."""

from __future__ import annotations

import pytest

from monai_semgan.handlers import fetch_model_files
from monai_semgan.handlers.model_registry import is_better
from monai_semgan.utils import InputError


def tags(value, name="student/validation_dice_ct", split="s1"):
    return {"key_metric.name": name, "key_metric.value": str(value), "key_metric.split": split}


@pytest.mark.parametrize(
    ("new", "champion", "better"),
    [
        (tags(0.5), None, True),
        (tags(0.5), {}, True),
        (tags(0.9), tags(0.8), True),
        (tags(0.8), tags(0.8), False),
        (tags(0.7), tags(0.8), False),
        (tags("nan"), tags(0.8), False),
        ({}, None, False),
        ({}, tags(0.8), False),
        (tags(0.9, split="s2"), tags(0.8), False),
        (tags(0.9, name="encoder/validation_dice_ct"), tags(0.8), False),
    ],
)
def test_a_higher_number_on_the_same_data_and_nothing_else(new, champion, better):
    assert is_better(new, champion) is better


def test_numbers_that_cannot_be_compared_are_told(caplog):
    is_better(tags(0.9, split="s2"), tags(0.8), "ct_liver")
    assert "ct_liver: the champion's key metric was measured otherwise" in caplog.text


def test_a_model_that_is_not_there(tmp_path):
    with pytest.raises(InputError, match="MLflow model models:/none/1"):
        fetch_model_files("models:/none/1", tmp_path / "x", "http://127.0.0.1:9")
    assert not (tmp_path / "x").exists()
