"""Scores against boxes whose distances can be worked out by hand."""

from __future__ import annotations

import math
import time

import numpy as np
import pytest
import torch
from monai.metrics import compute_average_surface_distance, compute_hausdorff_distance

from monai_semgan.metrics import score_volume


def box(shape, *bounds):
    mask = np.zeros(shape, dtype=bool)
    mask[tuple(slice(a, b) for a, b in bounds)] = True
    return mask


def test_identical_boxes_are_perfect():
    mask = box((20, 20, 10), (5, 15), (4, 12), (2, 8))
    scores = score_volume(mask, mask, (0.8, 0.8, 5.0))
    assert scores["dice"] == 1.0
    assert scores["hd95_mm"] == scores["assd_mm"] == scores["volume_error_percent"] == 0.0
    assert scores["volume_ml"] == pytest.approx(10 * 8 * 6 * 0.8 * 0.8 * 5.0 / 1000)
    assert scores["flag"] == ""


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_two_planes_apart_along_one_axis_are_that_many_millimetres_apart(axis):
    spacing = (0.5, 1.25, 7.7)
    bounds = [(2, 12)] * 3
    first, second = list(bounds), list(bounds)
    first[axis], second[axis] = (3, 4), (6, 7)
    scores = score_volume(box((14, 14, 14), *first), box((14, 14, 14), *second), spacing)
    # Every voxel of a one-voxel-thick plate is surface, and its nearest partner is straight across: 3 voxels.
    assert scores["dice"] == 0.0
    assert scores["hd95_mm"] == pytest.approx(3 * spacing[axis])
    assert scores["assd_mm"] == pytest.approx(3 * spacing[axis])


def test_box_longer_by_one_anisotropic_slice():
    spacing = (1.0, 1.0, 5.0)
    reference, longer = (
        box((12, 12, 12), (2, 10), (2, 10), (2, 6)),
        box((12, 12, 12), (2, 10), (2, 10), (2, 7)),
    )
    scores = score_volume(longer, reference, spacing)
    assert scores["dice"] == pytest.approx(2 * 4 / (4 + 5))
    assert scores["volume_error_percent"] == pytest.approx(25.0)
    # Longer -> reference: the new end plate has 64 voxels: its inner 36 and rim of 28 are 5 mm from the old
    # end plate. All other surface voxels are shared (0 mm). Surfaces: 2*64 + rim 28 per inner slice.
    surface_longer, surface_reference = 2 * 64 + 3 * 28, 2 * 64 + 2 * 28
    # Reference -> longer: of the old end plate the rim (28) is still surface, the inner 36 are 1..4 voxels
    # from the sides of the longer box: shells of 6, 4, 2 voxels side have 20, 12, 4 voxels at 1, 2, 3 mm.
    back = 20 * 1 + 12 * 2 + 4 * 3
    expected = (64 * 5.0 + back) / (surface_longer + surface_reference)
    assert scores["assd_mm"] == pytest.approx(expected)
    assert scores["hd95_mm"] == pytest.approx(5.0)  # 64 of 212 distances are 5 mm


def test_scores_equal_those_of_monai_on_random_blobs():
    generator = np.random.default_rng(3)
    from scipy.ndimage import gaussian_filter

    noise = gaussian_filter(generator.normal(size=(30, 28, 14)), 3)
    prediction, reference = noise > 0.01, np.roll(noise, 2, axis=0) > 0.0
    spacing = (0.9, 1.1, 3.0)
    pair = [torch.from_numpy(m)[None, None].float() for m in (prediction, reference)]
    scores = score_volume(prediction, reference, spacing)
    hd95 = compute_hausdorff_distance(*pair, include_background=True, percentile=95, spacing=spacing)
    assd = compute_average_surface_distance(*pair, include_background=True, symmetric=True, spacing=spacing)
    assert scores["hd95_mm"] == pytest.approx(float(hd95), rel=1e-5)
    assert scores["assd_mm"] == pytest.approx(float(assd), rel=1e-5)


def test_distances_do_not_depend_on_which_mask_comes_first():
    a, b = box((16, 16, 8), (2, 9), (3, 9), (1, 6)), box((16, 16, 8), (4, 14), (3, 12), (2, 7))
    one, two = score_volume(a, b, (1, 2, 3)), score_volume(b, a, (1, 2, 3))
    assert all(one[key] == pytest.approx(two[key]) for key in ("dice", "hd95_mm", "assd_mm"))


def test_empty_masks_have_defined_answers():
    empty, full = np.zeros((6, 6, 6)), box((6, 6, 6), (1, 5), (1, 5), (1, 5))
    both = score_volume(empty, empty, (1, 1, 1))
    assert (both["dice"], both["hd95_mm"], both["assd_mm"], both["volume_error_percent"]) == (1, 0, 0, 0)
    assert both["flag"] == "both empty"
    missed = score_volume(empty, full, (1, 1, 1))
    assert missed["dice"] == 0
    assert math.isnan(missed["hd95_mm"])
    assert math.isnan(missed["assd_mm"])
    assert missed["volume_error_percent"] == -100
    assert missed["flag"] == "empty prediction"
    invented = score_volume(full, empty, (1, 1, 1))
    assert invented["dice"] == 0
    assert math.isnan(invented["hd95_mm"])
    assert math.isnan(invented["volume_error_percent"])
    assert invented["flag"] == "empty reference"


def test_tensors_with_a_channel_are_taken_and_bad_input_is_refused():
    mask = box((6, 6, 6), (1, 5), (1, 5), (1, 5))
    assert score_volume(torch.from_numpy(mask)[None].byte(), mask, (1, 1, 1))["dice"] == 1
    with pytest.raises(ValueError, match="shape"):
        score_volume(mask, mask[:5], (1, 1, 1))
    with pytest.raises(ValueError, match="spacing"):
        score_volume(mask, mask, (1, 0, 1))
    with pytest.raises(ValueError, match="one mask"):
        score_volume(np.stack([mask, mask]), np.stack([mask, mask]), (1, 1, 1))


def test_a_whole_ct_volume_takes_less_than_two_seconds():
    grid = np.stack(np.meshgrid(*(np.linspace(-1, 1, n) for n in (257, 257, 100)), indexing="ij"))
    reference = (grid**2).sum(0) < 0.45
    prediction = ((grid - 0.05) ** 2).sum(0) < 0.5
    started = time.perf_counter()
    scores = score_volume(prediction, reference, (1.2, 1.2, 3.0))
    # Process time would not count waiting for other programs, but scores run in this one thread.
    assert time.perf_counter() - started < 8.0  # under 2 s on a free core; slack for busy machines
    assert scores["dice"] > 0.8


def test_pieces_are_counted() -> None:
    wanted, found = np.zeros((6, 6, 6), bool), np.zeros((6, 6, 6), bool)
    wanted[1:3, 1:3, 1:3] = True
    assert score_volume(found, wanted, (1.0, 1.0, 1.0))["pieces"] == 0
    found[1, 1, 1] = found[2, 2, 2] = True  # they touch at a corner
    assert score_volume(found, wanted, (1.0, 1.0, 1.0))["pieces"] == 1
    found[5, 5, 5] = True
    assert score_volume(found, wanted, (1.0, 1.0, 1.0))["pieces"] == 2
