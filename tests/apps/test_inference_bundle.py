"""The configurations of inference and evaluation, run with a stand-in network, from both working folders."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.bundle import ConfigWorkflow

from monai_semgan.utils import InputError, write_model_settings
from tests.scans import AFFINES, BrightnessNetwork, make_scan, write_scan

STAND_INS = {
    "network_def": {"_target_": "tests.scans.BrightnessNetwork"},
    "inferer": {"_target_": "tests.scans.ReportingInferer"},
    "student_inferer": {"_target_": "tests.scans.ReportingInferer"},
    "encoder_inferer": {"_target_": "tests.scans.ReportingInferer", "offset": -3.0},
    "device": "$torch.device('cpu')",
    "modality": "ct",
}


@pytest.fixture
def scans(tmp_path):
    torch.save(BrightnessNetwork().state_dict(), tmp_path / "model.pt")
    write_model_settings({"image_size": 64, "fov_mm": 352.0}, tmp_path / "model.pt")
    names = []
    for number, orientation in enumerate(("LAS", "oblique", "LPI")):
        volume, liver = make_scan(AFFINES[orientation])
        names.append(f"case{number}")
        for kind, array in (("images", volume), ("labels", liver)):
            write_scan(tmp_path / "data" / "ct" / kind / f"case{number}.nii.gz", array, AFFINES[orientation])
    splits = {"ct_train": names[:1], "ct_val": names[1:], "labelled": {"1": names[:1]}}
    (tmp_path / "data" / "splits.json").write_text(json.dumps(splits))
    return tmp_path


def workflow(repository: Path, files, scans, **overrides):
    configs = repository / "bundles" / "ct_liver" / "configs"
    values = {
        **STAND_INS,
        "dataset_dir": str(scans / "data"),
        "output_dir": str(scans / "out"),
        "checkpoint": str(scans / "model.pt"),
        **overrides,
    }
    return ConfigWorkflow(
        config_file=[str(configs / name) for name in files],
        meta_file=str(configs / "metadata.json"),
        logging_file=False,
        workflow_type="infer",
        **values,
    )


def run(flow):
    flow.initialize()
    try:
        return flow.run()
    finally:
        flow.finalize()


def test_inference_has_what_monai_asks_for(repository, scans):
    flow = workflow(repository, ["inference.json"], scans)
    flow.initialize()
    assert not flow.check_properties()


@pytest.mark.parametrize("folder", [".", "bundles/ct_liver"])
def test_the_bundle_is_found_from_both_folders(repository, scans, monkeypatch, folder):
    monkeypatch.chdir(repository / folder)
    flow = workflow(repository, ["inference.json"], scans)
    flow.initialize()
    root = Path(flow.parser.get_parsed_content("bundle_root"))
    assert (root / "configs" / "inference.json").is_file()


def test_every_scan_of_a_folder_is_written_and_a_bad_one_ends_the_run_with_an_error(repository, scans):
    broken = scans / "data" / "ct" / "images" / "broken.nii.gz"
    broken.write_bytes(b"not a scan")
    with pytest.raises(RuntimeError, match="raise_failures") as caught:  # MONAI's, around ours
        run(workflow(repository, ["inference.json"], scans))
    assert isinstance(caught.value.__cause__, InputError)
    assert "broken" in str(caught.value.__cause__)
    for number, orientation in enumerate(("LAS", "oblique", "LPI")):
        mask = nib.load(scans / "out" / f"case{number}_seg.nii.gz")
        liver = make_scan(AFFINES[orientation])[1]
        assert np.allclose(mask.affine, AFFINES[orientation], atol=1e-4)
        found = np.asarray(mask.dataobj)
        assert 2 * (found & liver).sum() / (found.sum() + liver.sum()) > 0.85


def test_evaluation(repository, scans, capsys):
    flow = workflow(
        repository,
        ["evaluate.json"],
        scans,
        labelled=1,
        experiment=None,
        run=["$@evaluation.run()", "$@evaluation.raise_failures()"],
    )
    summary = run(flow)[0]
    assert summary["domains"]["ct"]["dice"]["n"] == 2
    assert summary["domains"]["ct"]["dice"]["mean"] > 0.85
    assert summary["encoder"]["ct"]["dice"]["mean"] == 0.0
    assert json.loads((scans / "out" / "summary.json").read_text()) == summary
