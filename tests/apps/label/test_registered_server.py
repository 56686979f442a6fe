"""A real server with a registered version of MLflow: the champion of the moment it was started, also without MLflow."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch

from monai_semgan.apps import BundleSegmenter, log_bundle_model
from monai_semgan.handlers import ExperimentRun
from monai_semgan.utils import load_checkpoint, save_checkpoint

pytestmark = [
    pytest.mark.label,
    pytest.mark.slow,
    pytest.mark.timeout(3000),
    pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::UserWarning"),
]
METRIC = "student/validation_dice_ct"


def register(folder: Path, bundle: Path, uri: str, seed: int, dice: float) -> None:
    """Log ``tiny_liver`` with other weights as the next version of ``liver``; they stay in ``folder``."""
    shutil.copytree(bundle, folder)
    weights = folder / "models" / "model.pt"
    torch.manual_seed(seed)
    state = {key: value + 0.3 * torch.randn_like(value) for key, value in load_checkpoint(weights).items()}
    save_checkpoint(state, weights)
    run = ExperimentRun(folder.with_name(f"{folder.name}_out"), "tiny_liver", tracking_uri=uri, datalist={"l": ["a"]})
    run.log_metrics({METRIC: dice}, 1)
    assert log_bundle_model(run, folder, weights, "liver", METRIC) is not None
    run.finish()


def test_the_champion_is_served(make_studies: Any, tiny_bundle: Path, tmp_path: Path, monkeypatch: Any) -> None:
    from tests.apps.label.server_process import LabelServer

    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    data_base = tmp_path / "mlruns.db"
    uri = f"sqlite:///{data_base.as_posix()}"
    for number, dice in ((1, 0.8), (2, 0.7)):
        register(tmp_path / f"v{number}", tiny_bundle, uri, number, dice)
    studies = make_studies("registered")
    masks = {n: BundleSegmenter(tmp_path / f"v{n}", "cpu")(studies / "ct1.nii.gz") for n in (1, 2)}
    own = BundleSegmenter(tiny_bundle, "cpu")(studies / "ct1.nii.gz")
    assert not np.array_equal(masks[1], masks[2])
    assert not np.array_equal(masks[1], own)

    server = LabelServer(studies, "--bundle", f"{tiny_bundle}=models:/liver@champion", "--registry", uri).start()
    try:
        info = server.get("info/")
        assert info["bundles"]["tiny_liver"]["registered"] == "models:/liver/1"
        assert info["models"]["tiny_liver"]["registered"] == "models:/liver/1"
        assert "registered" not in info["models"]["tiny_liver_careful"]
        mask, params = server.segment("tiny_liver", "ct1")
        assert np.array_equal(mask, masks[1])
        assert params["registered"] == "models:/liver/1"
        # a request names a model that is served, and nothing else
        wish = dict.fromkeys(("weights", "checkpoint", "registered", "bundle", "model_uri"), "models:/liver/2")
        mask, params = server.segment("tiny_liver", "ct1", **wish)
        assert np.array_equal(mask, masks[1])
        assert params["registered"] == "models:/liver/1"
        for model in ("models:/liver/2", "models%3A%2Fliver%2F2", "liver"):
            answer = server.ask("POST", f"infer/{model}?image=ct1")
            assert answer.status_code in (400, 404), answer.text
        # a training starts from it, and says so
        label = tmp_path / "liver.nii.gz"
        image = nib.load(studies / "ct0.nii.gz")
        nib.save(nib.Nifti1Image((np.asarray(image.dataobj) > 100).astype(np.uint8), image.affine), label)
        assert server.save_label("ct0", label).ok
        assert server.train("tiny_liver", iterations=2)["status"] == "DONE"
        _, params = server.segment("tiny_liver", "ct1")
        assert params["version"] == 1
        assert "registered" not in params
        app = studies / ".monai_semgan" / "model" / "tiny_liver"
        (app / "served.json").write_text(json.dumps({"version": 0}))

        # the alias moves: it counts from the next start
        register(tmp_path / "v3", tiny_bundle, uri, 3, 0.9)
        assert server.segment("tiny_liver", "ct1")[1]["registered"] == "models:/liver/1"
        server.stop()
        server.start()
        mask, params = server.segment("tiny_liver", "ct1")
        assert params["registered"] == "models:/liver/3"
        assert np.array_equal(mask, BundleSegmenter(tmp_path / "v3", "cpu")(studies / "ct1.nii.gz"))

        # without MLflow
        server.stop()
        data_base.rename(tmp_path / "away.db")
        server.start()
        assert np.array_equal(server.segment("tiny_liver", "ct1")[0], mask)
        assert "models:/liver/3, fetched earlier, is served" in server.log.read_text()
    finally:
        server.stop()
    server.options = ("--bundle", f"{tiny_bundle}=models:/liver/2", "--registry", uri)
    with pytest.raises(AssertionError, match="was never fetched"):
        server.start()
