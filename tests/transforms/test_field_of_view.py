"""One field of view for all scans: centre, scale, masks, and the way back to the file's grid."""

from __future__ import annotations

import time
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.data import MetaTensor, decollate_batch, list_data_collate
from monai.transforms import Compose, Invertd, Orientationd

from monai_semgan.transforms import (
    LoadScand,
    NormalizeFieldOfView,
    NormalizeFieldOfViewd,
    ScaleScanIntensityd,
)
from monai_semgan.utils import InputError

SHAPE = (150, 140, 7)
CENTRE, RADII = (80, 62), (45, 52)


def _body(shape=SHAPE, centre=CENTRE, radii=RADII) -> tuple[np.ndarray, np.ndarray]:
    """HU volume in RAS-like axes (x, y, z) and an organ mask."""
    i, j, k = np.meshgrid(*(np.arange(n) for n in shape), indexing="ij")
    volume = np.where(((i - centre[0]) / radii[0]) ** 2 + ((j - centre[1]) / radii[1]) ** 2 <= 1, 50.0, -1000.0)
    organ = ((i - centre[0] - 14) / 18) ** 2 + ((j - centre[1] + 9) / 24) ** 2 + ((k - 3) / 2.6) ** 2 <= 1
    volume[organ] = 130
    return volume.astype(np.float32), organ.astype(np.uint8)


def _affine(codes: str, spacing: tuple[float, float, float], tilt: float = 0.0) -> np.ndarray:
    """Affine of an array in ``codes`` order with ``spacing`` along x, y, z of the patient, tilted about x."""
    rotation = np.eye(3)
    rotation[1:, 1:] = [[np.cos(tilt), -np.sin(tilt)], [np.sin(tilt), np.cos(tilt)]]
    affine = np.eye(4)
    affine[:3, :3] = rotation * spacing
    affine[:3, 3] = (-70, 33, 120)
    return affine, nib.orientations.axcodes2ornt(codes)


def _stored(array: np.ndarray, codes: str, spacing, tilt=0.0) -> tuple[np.ndarray, np.ndarray]:
    """Store a RAS array in another axis order, as scanners do; returns array and its affine."""
    affine, target = _affine(codes, spacing, tilt)
    change = nib.orientations.ornt_transform(nib.orientations.axcodes2ornt("RAS"), target)
    stored = nib.orientations.apply_orientation(array, change)
    return stored, affine @ nib.orientations.inv_ornt_aff(change, array.shape)


def _preprocessing(size: int = 128, **kwargs) -> Compose:
    keys = ["image", "label"]
    return Compose(
        [
            LoadScand(keys, allow_missing_keys=True),
            Orientationd(keys, axcodes="PLS", labels=None, allow_missing_keys=True),
            ScaleScanIntensityd("image"),
            NormalizeFieldOfViewd(keys, size=size, allow_missing_keys=True, **kwargs),
        ]
    )


def _dice(a: np.ndarray, b: np.ndarray) -> float:
    return 2 * float((a & b).sum()) / float(a.sum() + b.sum())


@pytest.mark.parametrize(
    ("codes", "spacing", "tilt"),
    [
        ("LAS", (2.4, 2.4, 5.0), 0.0),
        ("RAS", (2.4, 2.4, 5.0), 0.0),
        ("SLP", (2.4, 2.4, 5.0), 0.25),
        ("AIR", (2.0, 2.7, 6.0), -0.2),
        ("LPS", (1.9, 2.6, 3.0), 0.0),
    ],
)
def test_predictions_return_to_the_file_grid(tmp_path: Path, codes, spacing, tilt) -> None:
    volume, organ = _body()
    stored, affine = _stored(volume, codes, spacing, tilt)
    stored_organ, _ = _stored(organ, codes, spacing, tilt)
    nib.save(nib.Nifti1Image(stored, affine), tmp_path / "a.nii.gz")
    nib.save(nib.Nifti1Image(stored_organ, affine), tmp_path / "m.nii.gz")
    preprocessing = _preprocessing()
    data = preprocessing({"image": str(tmp_path / "a.nii.gz"), "label": str(tmp_path / "m.nii.gz")})
    assert data["image"].shape == data["label"].shape == (1, 128, 128, SHAPE[2])
    assert nib.aff2axcodes(data["image"].affine.numpy()) == ("P", "L", "S")
    # Whoever predicts works on batches, and gives results that know nothing of the steps before.
    batch = list_data_collate([data])
    batch["pred"] = MetaTensor(torch.cat([1 - batch["label"].float(), batch["label"].float()], dim=1).as_tensor())
    item = decollate_batch(batch)[0]
    item = Invertd("pred", transform=preprocessing, orig_keys="image", nearest_interp=False, to_tensor=True)(item)
    pred = item["pred"]
    assert tuple(pred.shape) == (2, *stored.shape)
    np.testing.assert_allclose(pred.affine.numpy(), affine, atol=1e-6)
    assert _dice(pred[1].numpy() > 0.5, stored_organ > 0) > 0.97


def test_nearest_and_integer_predictions_stay_masks(tmp_path: Path) -> None:
    volume, organ = _body()
    affine = np.diag([2.4, 2.4, 5.0, 1.0])
    nib.save(nib.Nifti1Image(volume, affine), tmp_path / "a.nii.gz")
    nib.save(nib.Nifti1Image(organ, affine), tmp_path / "m.nii.gz")
    preprocessing = _preprocessing()
    data = preprocessing({"image": str(tmp_path / "a.nii.gz"), "label": str(tmp_path / "m.nii.gz")})
    for nearest, pred in ((True, data["label"].float() * 7), (False, data["label"] * 7)):
        data["pred"] = MetaTensor(pred.as_tensor())
        out = Invertd("pred", transform=preprocessing, orig_keys="image", nearest_interp=nearest)(dict(data))["pred"]
        assert set(out.unique().tolist()) == {0, 7}
        assert _dice(out[0].numpy() > 0, organ > 0) > 0.97


def test_label_key_inverts_itself(tmp_path: Path) -> None:
    volume, organ = _body()
    nib.save(nib.Nifti1Image(volume, np.diag([2.4, 2.4, 5.0, 1.0])), tmp_path / "a.nii.gz")
    nib.save(nib.Nifti1Image(organ, np.diag([2.4, 2.4, 5.0, 1.0])), tmp_path / "m.nii.gz")
    preprocessing = _preprocessing()
    data = preprocessing({"image": str(tmp_path / "a.nii.gz"), "label": str(tmp_path / "m.nii.gz")})
    back = preprocessing.inverse(data)
    assert back["label"].dtype == torch.uint8
    assert back["image"].shape == back["label"].shape == (1, *SHAPE)
    assert _dice(back["label"][0].numpy() > 0, organ > 0) > 0.97
    assert not back["image"].applied_operations


def _meta(volume: np.ndarray, spacing=(2.4, 2.4, 5.0)) -> MetaTensor:
    return MetaTensor(torch.from_numpy(volume)[None], affine=torch.diag(torch.tensor([*spacing, 1.0])))


def _middle(image: torch.Tensor, above: float = -0.5) -> tuple[float, float]:
    inside = torch.nonzero(image[0, :, :, image.shape[3] // 2] > above).float()
    low, high = inside.min(0).values, inside.max(0).values
    return tuple(((low + high) / 2).tolist())


def _scaled(volume: np.ndarray) -> np.ndarray:
    return np.clip((volume + 125) / 200 - 1, -1, 1).astype(np.float32)


def test_body_is_centred_and_keeps_its_millimetres() -> None:
    volume = _scaled(_body()[0])
    out = NormalizeFieldOfView(size=64, fov_mm=352)(_meta(volume))
    assert _middle(out) == pytest.approx((31.5, 31.5), abs=1.0)
    spacing = torch.linalg.vector_norm(out.affine[:3, :3], dim=0)
    assert spacing.tolist() == pytest.approx([5.5, 5.5, 5.0])
    width = float((out[0, 32, :, 3] > -0.5).sum() * 5.5)
    assert width == pytest.approx(2 * RADII[1] * 2.4, abs=11)


@pytest.mark.parametrize("thing", ["table", "arm", "tube"])
def test_table_and_arms_do_not_move_the_centre(thing: str) -> None:
    volume = _scaled(_body()[0])
    centre = NormalizeFieldOfView(size=64).find_frame(_meta(volume))["centre"]
    if thing == "table":  # touches the body's back
        volume[123:129, 5:135] = 0.2
        volume[140:143, :] = 0.5
    elif thing == "arm":  # beside the body, large enough to outlast the opening
        volume[70:95, 118:139] = 0.3
    else:
        volume[5:9, 5:120, 2:5] = 0.9
    moved = NormalizeFieldOfView(size=64).find_frame(_meta(volume))["centre"]
    assert moved == pytest.approx(centre, abs=2.1)


def test_lungs_and_their_thin_wall_belong_to_the_body() -> None:
    volume = _scaled(_body()[0])
    centre = NormalizeFieldOfView(size=64).find_frame(_meta(volume))["centre"]
    i, j = np.meshgrid(*(np.arange(n) for n in SHAPE[:2]), indexing="ij")
    lung = ((i - CENTRE[0]) / 30) ** 2 + ((j - CENTRE[1] - 24) / 20) ** 2 <= 1
    volume[lung] = -1
    assert NormalizeFieldOfView(size=64).find_frame(_meta(volume))["centre"] == pytest.approx(centre, abs=2.1)


def test_fit_body_fills_the_frame() -> None:
    for radii in ((30, 40), (45, 52)):
        out = NormalizeFieldOfView(size=64, fov_mm=None, fit="body", margin=0.0)(_meta(_scaled(_body(radii=radii)[0])))
        inside = torch.nonzero(out[0, :, :, 3] > -0.5)
        assert int((inside.max(0).values - inside.min(0).values).max()) >= 58


def test_identity_when_nothing_is_to_be_done() -> None:
    """Same pixel size and centre: every voxel is kept."""
    volume = np.full((64, 64, 3), -1.0, np.float32)
    volume[12:52, 12:52] = np.random.default_rng(0).uniform(-0.5, 1, (40, 40, 3))
    frame = {"centre": [31.5, 31.5], "ratio": [1.0, 1.0]}
    transform = NormalizeFieldOfView(size=64)
    image = _meta(volume)
    out = transform(image, frame=frame)
    torch.testing.assert_close(out.as_tensor(), image.as_tensor(), atol=1e-6, rtol=0)
    torch.testing.assert_close(transform.inverse(out).as_tensor(), image.as_tensor(), atol=1e-6, rtol=0)


def test_shrinking_averages_and_masks_follow_the_majority() -> None:
    """A fine chequerboard becomes even grey; a thin mask goes, a thick one keeps its area."""
    board = np.indices((96, 96)).sum(0) % 2 * 2.0 - 1
    frame = {"centre": [47.5, 47.5], "ratio": [4.0, 4.0]}
    transform = NormalizeFieldOfView(size=20)
    out = transform(_meta(board[..., None].astype(np.float32)), frame=frame)
    assert float(out[0, 2:-2, 2:-2].abs().max()) < 0.02
    label = np.zeros((96, 96, 1), np.uint8)
    label[10, :] = 3
    label[40:64, 30:70] = 2
    shrunk = transform(_meta(label), label=True, frame=frame)
    assert shrunk.dtype == torch.uint8
    assert set(shrunk.unique().tolist()) == {0, 2}
    assert int((shrunk == 2).sum()) * 16 == pytest.approx(24 * 40, rel=0.15)


def test_three_way_labels_take_the_largest_share() -> None:
    label = np.zeros((8, 8, 1), np.uint8)
    label[:, :3], label[:, 3:5] = 1, 2  # shares of one big pixel: 3/8, 2/8, background 3/8 less one row below
    label[0, 5:] = 1
    out = NormalizeFieldOfView(size=2)(_meta(label), label=True, frame={"centre": [3.5, 3.5], "ratio": [8.0, 8.0]})
    assert set(out.unique().tolist()) <= {0, 1, 2}
    one = NormalizeFieldOfView(size=3)(_meta(label), label=True, frame={"centre": [3.5, 3.5], "ratio": [8.0, 8.0]})
    assert int(one[0, 1, 1, 0]) == 1  # 27 of 64 voxels, against 21 of background and 16 of the other organ


def test_the_scan_needs_a_body() -> None:
    with pytest.raises(InputError, match="no body"):
        NormalizeFieldOfView()(_meta(np.full((60, 60, 3), -1, np.float32)))
    with pytest.raises(InputError, match="fov_mm"):
        NormalizeFieldOfView(fov_mm=0)
    with pytest.raises(InputError, match="fit"):
        NormalizeFieldOfView(fit="head")


def test_fast_enough() -> None:
    volume = _scaled(_body((257, 257, 60), (130, 125), (80, 110))[0])
    image = _meta(volume, (1.5, 1.5, 3.0))
    NormalizeFieldOfView(size=128)(image)
    start = time.perf_counter()
    NormalizeFieldOfView(size=128)(image)
    assert time.perf_counter() - start < 3  # about 0.15 s; the rest is for busy machines
