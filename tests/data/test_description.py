"""Descriptions by which another process knows the same preprocessing."""

from __future__ import annotations

import functools
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from monai.transforms import Compose, RandFlipd, ScaleIntensityd

from monai_semgan.data.description import UndescribableError, describe_value
from tests.scans import AFFINES, make_scan, make_transforms, write_scan

ROOT = Path(__file__).resolve().parents[2]
OTHER_PROCESS = """
import json
from monai_semgan.data.description import describe_value
from tests.scans import make_transforms
print(json.dumps(describe_value(make_transforms(32)[0])))
"""


class Part:
    """Something with attributes, one of which leads back to it."""

    def __init__(self, **values: Any) -> None:
        self.me = self
        vars(self).update(values)

    def method(self) -> None:
        """Do nothing."""


def test_the_same_in_another_process_and_after_use(tmp_path: Path) -> None:
    preprocessing, _ = make_transforms(32)
    before = json.dumps(describe_value(preprocessing))
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONHASHSEED": "11", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", OTHER_PROCESS]
    other = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True).stdout
    assert json.loads(other) == json.loads(before)
    volume, _ = make_scan(AFFINES["LAS"])
    write_scan(tmp_path / "a.nii.gz", volume, AFFINES["LAS"])
    preprocessing({"image": str(tmp_path / "a.nii.gz")})
    assert json.dumps(describe_value(preprocessing)) == before
    assert "0x" not in before


def _enclosing(value: Any) -> Any:
    return lambda: value


DIFFERENT = [
    None, True, 1.0, 2, "1", b"1", [1], [[1]], {1: 2}, {"1": 2}, {1, 2}, torch.float16, torch.float32, torch.zeros(2),
    torch.device("cpu"), Path("a"), torch.zeros(3), torch.ones(2), np.zeros(2), np.dtype("uint8"), Part(a=1), Part(a=2),
    Part(b=1), Part(a=Part(a=1)), Part, Part.method, Part(a=1).method, make_scan, make_transforms, len, slice(1),
    functools.partial(max, 1), functools.partial(max, 2), lambda: 1, lambda: 2, _enclosing(1), _enclosing(2), slice(2),
    np.log, np.exp, np.vectorize(abs), torch.abs, torch.exp, torch.Tensor.abs, torch.Tensor.exp, str.lower, json, os,
    functools.partial, range(3), Compose([ScaleIntensityd("image")]), Compose([ScaleIntensityd("label")]), Compose([]),
]  # fmt: skip


def test_what_differs_is_described_differently() -> None:
    texts = [json.dumps(describe_value(value), sort_keys=True) for value in DIFFERENT]
    assert len(set(texts)) == len(texts)
    assert texts == [json.dumps(describe_value(value), sort_keys=True) for value in DIFFERENT]


def test_order_that_means_nothing_does_not_count() -> None:
    assert describe_value({"a": 1, "b": 2}) == describe_value({"b": 2, "a": 1})
    assert describe_value({"x", "y", "z"}) == describe_value({"z", "y", "x"})
    assert describe_value(_enclosing(1)) == describe_value(_enclosing(1))


@pytest.mark.parametrize(
    "value",
    [object(), iter([1]), re.compile("a"), np.array([object()]), Compose([RandFlipd("image")]), RandFlipd("image")],
)
def test_what_cannot_be_known_again(value: Any) -> None:
    with pytest.raises(UndescribableError):
        describe_value(value)
