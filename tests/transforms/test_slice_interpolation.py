"""Interpolated slices: found where they are, nowhere else, and brought back; answers go to the slices of the file."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from monai.transforms import Compose, Invertd, Orientationd

from monai_semgan.handlers.segmentation_writer import _by_file_slice
from monai_semgan.transforms import (
    SliceInterpolation,
    UndoSliceInterpolation,
    UndoSliceInterpolationd,
    file_slices,
    find_slice_interpolation,
    slices_in_file,
)
from monai_semgan.utils import InputError

CASES = [
    (27, 9 / 7.7, "first"), (27, 9 / 7.7, "last"), (40, 1.6, "first"), (60, 1.25, "last"), (30, 1.3, "centres"),
    (60, 1.7, "centres"),
]  # fmt: skip


def anatomy(slices: int, seed: int = 0, smooth: int = 0) -> torch.Tensor:
    """``(1, 24, 24, slices)``, whole numbers: slices that belong together, with noise of their own."""
    draw = torch.Generator().manual_seed(seed)
    walk = torch.randn(1, 24, 24, slices, generator=draw).cumsum(dim=-1) * 40
    volume = walk + torch.randn(1, 24, 24, slices, generator=draw) * 20
    if smooth:  # as reconstructions that overlap
        weight = torch.hann_window(2 * smooth + 3)[1:-1]
        kernel = (weight / weight.sum())[None, None]
        lines = torch.nn.functional.pad(volume.reshape(-1, 1, slices), (smooth, smooth), mode="replicate")
        volume = torch.nn.functional.conv1d(lines, kernel).reshape(volume.shape)
    return volume.round()


def blended(slices: int, ratio: float, anchor: str, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """A scan, and the same on another grid, written by numpy's own interpolation."""
    scan = anatomy(slices, seed)
    count = {"first": math.floor((slices - 1) * ratio) + 1, "centres": round(slices * ratio)}
    wanted = count.get(anchor, count["first"])
    if anchor == "centres":
        places = (np.arange(wanted) + 0.5) / (wanted / slices) - 0.5
    else:
        places = np.arange(wanted) / ratio
        places = places + (slices - 1 - places[-1]) if anchor == "last" else places
    lines = scan.reshape(-1, slices).numpy()
    made = np.stack([np.interp(places, np.arange(slices), line) for line in lines])
    return scan, torch.from_numpy(made).float().reshape(1, 24, 24, wanted).round()


@pytest.mark.parametrize(("slices", "ratio", "anchor"), CASES)
def test_interpolated_slices_are_found_and_brought_back(slices, ratio, anchor):
    scan, file = blended(slices, ratio, anchor)
    found = find_slice_interpolation(file)
    assert found is not None
    assert found.anchor == anchor
    assert found.ratio == pytest.approx(file.shape[-1] / slices if anchor == "centres" else ratio, abs=2e-3)
    out = UndoSliceInterpolation()(file)
    assert out.shape[-1] in (slices, slices - 1)  # a last slice that hardly counts is left out
    first = slices - out.shape[-1] if anchor == "last" else 0
    inner = out[..., 1:-1]
    error = (inner - scan[..., 1 + first : 1 + first + inner.shape[-1]]).abs()
    assert float(error.mean()) < 2.0  # rounding; neighbouring slices differ by 40


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("smooth", [0, 1, 2, 4])
def test_scans_as_they_were_taken_pass(seed, smooth):
    scan = anatomy(24 + 7 * seed, seed, smooth)
    assert find_slice_interpolation(scan) is None
    assert torch.equal(UndoSliceInterpolation()(scan), scan)


@pytest.mark.parametrize("anchor", ["first", "centres"])
@pytest.mark.parametrize("ratio", [2.2, 2.5, 3.0, 4.0, 5.0])
def test_thin_slices_made_of_thick_ones_pass(ratio, anchor):
    """They lie in the space of ratios that divide the right one as well."""
    _, file = blended(16, ratio, anchor)
    assert find_slice_interpolation(file) is None


@pytest.mark.parametrize("where", ["before", "behind"])
@pytest.mark.parametrize("slices", [3, 60])
def test_air_at_an_end_does_not_matter(where, slices):
    _, file = blended(27, 9 / 7.7, "first")
    air = torch.full((1, 24, 24, slices), float(file.min()))
    found = find_slice_interpolation(torch.cat([air, file] if where == "before" else [file, air], dim=-1))
    if where == "behind":
        assert found.ratio == pytest.approx(9 / 7.7, abs=2e-3)
    else:  # the grids meet somewhere inside: not recognised, and nothing else is either
        assert found is None or found.ratio == pytest.approx(9 / 7.7, abs=2e-3)


@pytest.mark.parametrize(
    "scan",
    [
        torch.zeros(1, 8, 8, 30),
        torch.full((1, 8, 8, 30), float("nan")),
        torch.rand(1, 8, 8, 1),
        torch.rand(1, 8, 8, 11),
        torch.arange(30.0).expand(1, 8, 8, 30),
    ],
    ids=["empty", "not finite", "one slice", "few slices", "a ramp"],
)
def test_nothing_is_found_where_nothing_can_be_told(scan):
    assert find_slice_interpolation(scan) is None


def test_it_can_be_switched_off_and_refuses_slices_alone():
    _, file = blended(27, 9 / 7.7, "first")
    assert torch.equal(UndoSliceInterpolation(enabled=False)(file), file)
    with pytest.raises(InputError, match="undo slice interpolation"):
        UndoSliceInterpolation()(file[0])


@pytest.mark.parametrize(("slices", "ratio", "anchor"), CASES)
def test_a_point_keeps_its_place_in_millimetres(slices, ratio, anchor):
    _, file = blended(slices, ratio, anchor)
    affine = torch.diag(torch.tensor([-1.5, 2.0, 7.7, 1.0], dtype=torch.float64))
    affine[:3, 3] = torch.tensor([10.0, 20.0, 30.0])
    out = UndoSliceInterpolation()(MetaTensor(file, affine=affine))
    found = find_slice_interpolation(file)
    middle = len(found.positions) // 2
    new = torch.tensor([3.0, 4.0, found.positions[middle], 1.0], dtype=torch.float64)
    old = torch.tensor([3.0, 4.0, middle, 1.0], dtype=torch.float64)
    assert torch.allclose(out.affine @ new, affine @ old, atol=1e-6)
    assert float(out.pixdim[2]) == pytest.approx(7.7 * found.ratio, rel=1e-6)


@pytest.mark.parametrize(("slices", "ratio", "anchor"), CASES)
@pytest.mark.parametrize("axcodes", ["PLS", "LPI"])
def test_masks_come_back_to_the_slices_of_the_file(slices, ratio, anchor, axcodes):
    """Through MONAI's own Invertd, after a flip, as the bundles do."""
    _, file = blended(slices, ratio, anchor)
    image = MetaTensor(file, affine=torch.diag(torch.tensor([1.0, 1.0, 7.7, 1.0], dtype=torch.float64)))
    forward = Compose([Orientationd("image", axcodes=axcodes, labels=None), UndoSliceInterpolationd("image")])
    data = forward({"image": image})
    assert data["image"].shape[-1] < file.shape[-1]
    number = torch.arange(data["image"].shape[-1]).float().expand(data["image"].shape)
    data["pred"] = MetaTensor(number.clone()).copy_meta_from(data["image"])
    back = Invertd("pred", forward, orig_keys="image", nearest_interp=False)(data)["pred"]
    assert back.shape == file.shape
    assert torch.allclose(back.affine, image.affine)
    found = find_slice_interpolation(image if axcodes == "LPI" else file)
    answers = back[0, 0, 0].tolist()
    wanted = found.positions if sorted(answers) == answers else found.matrix.shape[1] - 1 - found.positions
    assert np.abs(np.array(answers) - wanted).max() < 0.502  # the ratio is found to some 1e-5, on 102 slices
    assert file_slices(data["image"]) == (answers if sorted(answers) == answers else answers[::-1])


def test_masks_go_along_with_their_scan():
    _scan, file = blended(27, 9 / 7.7, "first")
    label = torch.arange(file.shape[-1]).expand(file.shape).to(torch.uint8)
    out = UndoSliceInterpolationd(["image", "label"])({"image": MetaTensor(file), "label": MetaTensor(label)})
    assert out["label"].dtype == torch.uint8
    assert out["label"].shape == out["image"].shape
    assert slices_in_file(out["image"]) == out["label"][0, 0, 0].tolist()
    assert out["label"][0, 0, 0].tolist() == [math.floor(k * 9 / 7.7 + 0.5) for k in range(out["image"].shape[-1])]
    with pytest.raises(InputError, match="not on one grid"):
        UndoSliceInterpolationd(["image", "label"])({"image": file, "label": label[..., 1:]})


@pytest.mark.parametrize("slices", [27, 29])  # the last of 29 is the nearest to no slice of the file
def test_errors_are_reported_for_the_slices_of_the_file(slices):
    _, file = blended(slices, 9 / 7.7, "first")
    image = UndoSliceInterpolation()(MetaTensor(file))
    errors = [float(k) for k in range(image.shape[-1])]
    report = _by_file_slice({"reconstruction_error": errors, "steps": 3}, image)
    assert report["reconstruction_error"] == [float(k) for k in file_slices(image)]
    assert report["steps"] == 3
    assert _by_file_slice({"reconstruction_error": errors}, MetaTensor(file))["reconstruction_error"] == errors
    assert _by_file_slice(None, image) is None
    assert file_slices(torch.zeros(1)) is None


def test_the_found_says_how_the_slices_were_made():
    found = SliceInterpolation(4, 1.5, "first")
    assert found.positions.tolist() == pytest.approx([0.0, 2 / 3, 4 / 3, 2.0])
    assert found.nearest.tolist() == [0, 1, 1, 2]
    assert found.matrix.sum(axis=1).tolist() == pytest.approx([1.0] * 4)
