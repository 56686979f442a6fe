"""Every bundle looks for interpolated slices in the grey values of the file, and can be told not to."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from monai.bundle import ConfigParser

from monai_semgan.transforms import SliceInterpolation

ROOT = Path(__file__).parents[2]
CONFIGS = [
    path for path in sorted(ROOT.glob("bundles/*/configs/*.json")) if "preprocessing" in json.loads(path.read_text())
]


def short(path: Path) -> str:
    return f"{path.parents[1].name}-{path.stem}"


@pytest.mark.parametrize("path", CONFIGS, ids=short)
def test_it_comes_between_orientation_and_grey_values(path):
    config = json.loads(path.read_text())
    steps = config["preprocessing"]["transforms"]
    names = [step["_target_"].rsplit(".", 1)[-1] for step in steps]
    where = names.index("UndoSliceInterpolationd")
    assert names[:where] == ["LoadScand", "Orientationd"]
    assert names[where + 1] == "ScaleScanIntensityd"
    assert steps[where]["keys"] == steps[where - 1]["keys"]
    assert config["undo_slice_interpolation"] is True


def test_all_bundles_are_covered():
    covered = {path.parents[1].name for path in CONFIGS if path.stem in ("inference", "evaluate", "train")}
    assert covered == {path.parent.name for path in ROOT.glob("bundles/*/configs")}


@pytest.mark.parametrize("path", [path for path in CONFIGS if path.stem == "inference"], ids=short)
def test_it_can_be_switched_off(path, tmp_path):
    made = SliceInterpolation(16, 1.2, "first")
    grid = np.stack(np.meshgrid(*[np.linspace(-1, 1, 64)] * 2, indexing="ij"))
    body = (np.hypot(*grid) < 0.7)[..., None] * 200.0
    draw = np.random.default_rng(0)
    slices = body + draw.normal(0, 40, (64, 64, made.matrix.shape[1])).cumsum(axis=-1) * (body > 0)
    scan = nib.Nifti1Image((slices @ made.matrix.T).astype(np.int16), np.diag([5.0, 5.0, 7.5, 1.0]))
    nib.save(scan, tmp_path / "scan.nii.gz")
    for enabled, depth in ((True, made.matrix.shape[1]), (False, 16)):
        parser = ConfigParser()
        parser.read_config(str(path))
        parser["bundle_root"] = str(path.parents[1])
        parser["undo_slice_interpolation"] = enabled
        parser["network_settings"] = {"image_size": 64, "fov_mm": 352.0}
        item = parser.get_parsed_content("preprocessing")({"image": str(tmp_path / "scan.nii.gz")})
        assert item["image"].shape[-1] == depth
