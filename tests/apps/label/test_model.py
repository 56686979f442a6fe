"""Every bundle with a plain segmentation network can be served and trained, whatever its networks look like."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch

from monai_semgan.apps.label.fine_tuning import FineTuningSettings, can_fine_tune, fine_tune
from monai_semgan.apps.label.model import ServedModel
from monai_semgan.handlers import ExperimentRun
from monai_semgan.utils import InputError
from tests.bundle_command import BUNDLES
from tests.served_model import make_served

ON_SLICES = ("ct_liver_supervised", "ct_liver_mean_teacher", "ct_liver_adversarial_semi", "ct_abdomen_transfer")


@pytest.fixture
def scan(tmp_path: Path) -> dict[str, str]:
    """A bright box in a box of soft tissue, oblique and anisotropic, with its mask."""
    array = np.full((40, 36, 12), -1000, np.int16)
    array[4:36, 4:32] = 40
    array[10:20, 8:20, 3:9] = 110
    affine = np.array([[0, -7.0, 0.5, 30], [7, 0, 0, -50], [0, 0.4, -9, 200], [0, 0, 0, 1]])
    nib.save(nib.Nifti1Image(array, affine), tmp_path / "scan.nii.gz")
    nib.save(nib.Nifti1Image((array == 110).astype(np.uint8), affine), tmp_path / "mask.nii.gz")
    return {"image": str(tmp_path / "scan.nii.gz"), "label": str(tmp_path / "mask.nii.gz"), "name": "scan"}


@pytest.mark.parametrize("bundle", ON_SLICES)
def test_bundle_answers_on_the_scans_own_grid(bundle: str, scan: dict[str, str], tmp_path: Path) -> None:
    model = make_served(tmp_path, bundle, 5 if bundle == "ct_abdomen_transfer" else 2)
    made = model.segment(scan["image"], tmp_path / "out")
    mask, image = nib.load(made.path), nib.load(scan["image"])
    assert mask.shape == image.shape
    assert np.array_equal(mask.affine, image.affine)
    assert set(np.unique(mask.dataobj)) <= {0, *model.labels.values()}
    assert len(made.quality["predicted_dice"]) == len(model.labels)
    assert can_fine_tune(model)


def test_fine_tuning_makes_other_weights_and_leaves_the_served_ones(scan: dict[str, str], tmp_path: Path) -> None:
    model = make_served(tmp_path, "ct_liver_mean_teacher", 2)
    before = {name: value.clone() for name, value in model.load()[0].state_dict().items()}
    number, folder = model.versions.start()
    run = ExperimentRun(tmp_path / "tracking", "label", enabled=False)
    settings = FineTuningSettings(iterations=3, batch_size=2, learning_rate=0.01)
    others = [{"image": scan["image"], "name": "other"}]
    fine_tune(model, None, [scan], others, settings, folder, run)
    assert all(torch.equal(value, before[name]) for name, value in model.load()[0].state_dict().items())
    model.versions.publish(number, {})
    network, version = model.load()
    assert version == 1
    assert any(not torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert model.segment(scan["image"], tmp_path / "out").version == 1


def test_what_cannot_be_served_or_trained_is_told(scan: dict[str, str], tmp_path: Path) -> None:
    model = make_served(tmp_path, "ct_liver_supervised", 2)
    Path(scan["image"]).write_bytes(b"no scan")
    with pytest.raises(InputError, match="patient 7") as told:
        model.segment(scan["image"], tmp_path / "out", "patient 7")
    assert str(tmp_path) not in str(told.value)
    with pytest.raises(InputError, match="no labelled scan"):
        fine_tune(model, None, [], [], FineTuningSettings(), tmp_path, ExperimentRun(tmp_path, "label", enabled=False))
    with pytest.raises(InputError, match="iterations"):
        FineTuningSettings(iterations=0)
    with pytest.raises(InputError, match="configs/nothing"):
        ServedModel(BUNDLES / "ct_liver", "nothing.json")
