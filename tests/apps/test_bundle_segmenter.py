"""One call for a scan: grids of arrays, and wrong input."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest

from monai_semgan.apps import BundleSegmenter
from monai_semgan.apps.bundle_segmenter import _affine
from monai_semgan.utils import InputError


@pytest.mark.parametrize("axcodes", ["RAS", "LPS", "PIR", "asl"])
def test_the_grid_of_an_array_is_what_was_said(axcodes):
    affine = _affine(np.array([0.8, 1.5, 5.0]), axcodes)
    assert "".join(nib.aff2axcodes(affine)) == axcodes.upper()
    assert nib.affines.voxel_sizes(affine).tolist() == [0.8, 1.5, 5.0]


@pytest.mark.parametrize("axcodes", ["RA", "RAL", "XYZ", "", "RASS"])
def test_directions_that_are_none(axcodes):
    with pytest.raises(InputError, match="axcodes"):
        _affine(np.ones(3), axcodes)


def test_wrong_input_is_told_before_anything_is_loaded(tmp_path):
    segment = BundleSegmenter(tmp_path / "no_bundle", "cpu")
    with pytest.raises(InputError, match="no such file"):
        segment(tmp_path / "none.nii.gz")
    with pytest.raises(InputError, match=r"\(H, W, D\)"):
        segment(np.zeros((4, 4)))
    with pytest.raises(InputError, match="spacing_mm"):
        segment(np.zeros((4, 4, 4)), spacing_mm=(1.0, 0.0, 1.0))
