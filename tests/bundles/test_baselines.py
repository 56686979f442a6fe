"""The baselines from scans to masks: they train, are scored, and write masks on the scans' own grids."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.bundle import ConfigWorkflow
from monai.data import MetaTensor
from monai.inferers import SliceInferer
from monai.networks.nets import UNet

from monai_semgan.methods import METHODS
from tests.scans import AFFINES, make_scan, write_scan

CASES = {"case0": "LAS", "case1": "RAS", "case2": "oblique", "case3": "LPI"}


def run(repository: Path, bundle: str, name: str, **values: Any) -> list[Any]:
    configs = repository / "bundles" / bundle / "configs"
    flow = ConfigWorkflow(
        config_file=str(configs / f"{name}.json"),
        meta_file=str(configs / "metadata.json"),
        logging_file=False,
        workflow_type="train" if name == "train" else "infer",
        device="$torch.device('cpu')",
        modality="ct",
        **values,
    )
    flow.initialize()
    return flow.run()


@pytest.fixture
def data(tmp_path: Path) -> Path:
    for name, orientation in CASES.items():
        for kind, array in zip(("images", "labels"), make_scan(AFFINES[orientation]), strict=True):
            write_scan(tmp_path / "data" / "ct" / kind / f"{name}.nii.gz", array, AFFINES[orientation])
    names = list(CASES)
    splits = {"ct_train": names[:2], "ct_val": names[2:], "labelled": {"2": names[:2]}}
    (tmp_path / "data" / "splits.json").write_text(json.dumps(splits), encoding="utf-8")
    return tmp_path / "data"


@pytest.mark.parametrize("method", ["supervised", "mean_teacher"])
def test_from_training_to_masks(method: str, repository: Path, data: Path, tmp_path: Path, capsys) -> None:
    bundle = METHODS[method].bundle
    trained = run(
        repository,
        bundle,
        "train",
        dataset_dir=str(data),
        output_dir=str(tmp_path / "run"),
        labelled=2,
        randomise_strength=0.0,
        image_size=32,
        unet_channels=[8, 16, 16],
        unet_strides=[2, 2],
        iterations=100,
        batch_size=4,
        learning_rate=0.02,
        experiment=None,
        **{"train#handlers": ["$@quick_look"], "validate_every": 30, "network_ema#half_life_images": 20},
        quick_look={
            "_target_": "monai_semgan.handlers.SliceValidation",
            "network": "$@network_ema.average",
            "banks": {"ct": "@banks#validation"},
            "every": "@validate_every",
        },
        run=["$@train#trainer.run()", "$@evaluation.run()", "$@train#trainer.state.metrics"],
    )
    summary, metrics = trained[1:]
    assert metrics["validation_dice_ct"] > 0.8
    assert summary["domains"]["ct"]["dice"]["n"] == 2
    assert summary["domains"]["ct"]["dice"]["mean"] > 0.8
    weights = str(tmp_path / "run" / method / "model.pt")

    again = run(
        repository,
        bundle,
        "evaluate",
        dataset_dir=str(data),
        output_dir=str(tmp_path / "eval"),
        checkpoint=weights,
        labelled=2,
        experiment=None,
        run=["$@evaluation.run()"],
    )
    assert again[0]["domains"] == summary["domains"]  # the weights on disk are those that were scored

    out = tmp_path / "out"
    run(repository, bundle, "inference", dataset_dir=str(data), output_dir=str(out), checkpoint=weights)
    for name in ("case2", "case3"):
        mask, liver = nib.load(out / f"{name}_seg.nii.gz"), make_scan(AFFINES[CASES[name]])[1]
        found = np.asarray(mask.dataobj)
        assert np.allclose(mask.affine, AFFINES[CASES[name]], atol=1e-4)
        assert 2 * (found & liver).sum() / (found.sum() + liver.sum()) > 0.8
    rows = list(csv.DictReader((out / "report.csv").read_text(encoding="utf-8").splitlines()))
    assert len(rows) == len(CASES) * liver.shape[2]
    assert {row["reconstruction_error"] for row in rows} == {""}
    assert any(int(row["liver_pixels"]) for row in rows)


def test_the_inferer_sees_each_slice_alone_and_keeps_the_meta_data() -> None:
    torch.manual_seed(0)
    network = UNet(2, 1, 2, [4, 8], [2], norm="INSTANCE").eval()
    inferer = SliceInferer(spatial_dim=2, roi_size=[16, 16], sw_batch_size=3, overlap=0.0)
    affine = torch.diag(torch.tensor([2.0, 2.0, 5.0, 1.0]))
    volume = MetaTensor(torch.randn(1, 1, 16, 16, 7), affine=affine)
    with torch.no_grad():
        logits = inferer(volume, network)
        alone = torch.stack([network(volume.as_tensor()[..., k]) for k in range(7)], dim=-1)
    assert isinstance(logits, MetaTensor)
    assert torch.equal(logits.affine, volume.affine)
    torch.testing.assert_close(logits.as_tensor(), alone)
