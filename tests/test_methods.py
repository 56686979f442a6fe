"""Every registered method has what its row says."""

from __future__ import annotations

import importlib
import json
from pathlib import Path

import pytest

from monai_semgan.engines import PhaseTrainer
from monai_semgan.methods import METHODS

ROOT = Path(__file__).resolve().parents[1]


def resolve(name: str) -> type:
    module, _, attribute = name.rpartition(".")
    return getattr(importlib.import_module(module), attribute)


@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
def test_row_resolves(method) -> None:
    for stage in method.stages:
        assert issubclass(resolve(stage), PhaseTrainer)
    assert callable(resolve(method.network))
    assert callable(resolve(method.inferer))


@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
def test_bundle_uses_the_row(method) -> None:
    configs = ROOT / "bundles" / method.bundle / "configs"
    text = (configs / "train.json").read_text(encoding="utf-8")
    for stage in method.stages:
        assert stage in text
    for name in ("train", "inference", "evaluate", "metadata"):
        assert json.loads((configs / f"{name}.json").read_text(encoding="utf-8"))


def test_registry_and_bundles_agree() -> None:
    assert {m.bundle for m in METHODS.values()} == {p.name for p in (ROOT / "bundles").iterdir() if p.is_dir()}
