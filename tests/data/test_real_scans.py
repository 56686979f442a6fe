"""The whole way from real CT and MRI to slices, where the scans are at hand."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from monai.transforms import Compose, Invertd, Orientationd

from monai_semgan.data import build_slice_bank, load_datalist
from monai_semgan.transforms import (
    LoadScan,
    LoadScand,
    MapLabelsd,
    NormalizeFieldOfViewd,
    ScaleScanIntensityd,
    detect_modality,
)

FOLDER = os.environ.get("MONAI_SEMGAN_ABDOMEN", "")
pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(not Path(FOLDER, "splits.json").is_file(), reason="MONAI_SEMGAN_ABDOMEN names no scans"),
]
KEYS = ["image", "label"]


def _preprocessing(size: int) -> Compose:
    return Compose(
        [
            LoadScand(KEYS, allow_missing_keys=True),
            Orientationd(KEYS, axcodes="PLS", labels=None, allow_missing_keys=True),
            MapLabelsd("label", {1: 1}, allow_missing_keys=True),
            ScaleScanIntensityd("image"),
            NormalizeFieldOfViewd(KEYS, size=size, allow_missing_keys=True),
        ]
    )


@pytest.mark.parametrize("domain", ["ct", "mr_t2spir"])
def test_liver_comes_through_and_back(domain: str) -> None:
    item = load_datalist(FOLDER)["test"][domain][0]
    preprocessing = _preprocessing(128)
    data = preprocessing(dict(item))
    assert data["image"].meta["modality"] == domain[:2]
    assert float(data["image"].min()) == -1
    assert float(data["image"].max()) <= 1
    original = LoadScan(label=True)(item["label"])
    liver = original[0].numpy() == 1
    ratio = float(
        torch.linalg.det(data["label"].affine[:3, :3]).abs() / torch.linalg.det(original.affine[:3, :3]).abs()
    )
    assert float(data["label"].sum()) * ratio == pytest.approx(liver.sum(), rel=0.01)
    # The liver lies on the left of the picture (the patient's right), and clear of the frame.
    rows, columns = np.nonzero(data["label"][0].sum(-1).numpy())
    assert rows.min() > 0 and rows.max() < 127 and columns.min() > 0  # noqa: PT018
    assert columns.mean() < 64
    data["pred"] = MetaTensor(data["label"].float().as_tensor())
    back = Invertd("pred", transform=preprocessing, orig_keys="image", nearest_interp=False)(data)["pred"]
    np.testing.assert_allclose(back.affine.numpy(), original.affine.numpy(), atol=1e-6)
    restored = back[0].numpy() > 0.5
    assert 2 * (restored & liver).sum() / (restored.sum() + liver.sum()) > 0.97


def test_modality_of_every_test_scan() -> None:
    for domain, items in load_datalist(FOLDER)["test"].items():
        for item in items:
            assert detect_modality(LoadScan()(item["image"])) == domain[:2], item["name"]


def test_bank_of_one_scan() -> None:
    lists = load_datalist(FOLDER, labelled=1)
    bank = build_slice_bank(lists["labelled"], _preprocessing(64))
    assert bank.labels.amax() == 1
    assert set(bank.cases) == {lists["labelled"][0]["name"]}
    assert not build_slice_bank(lists["unlabelled"][:1], _preprocessing(64)).labelled
