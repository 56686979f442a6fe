"""Random volume motion: image and label map move as one, slices stay slices, labels stay labels."""

from __future__ import annotations

import pytest
import torch

from monai_semgan.transforms import RandVolumeAffine, random_volume_affine

STILL = {"rotation": 0.0, "scale": (1.0, 1.0), "shift": 0.0, "deformation": 0.0, "thick_probability": 0.0}


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def organs(batch: int = 3, classes: int = 2) -> tuple[torch.Tensor, torch.Tensor]:
    """A bright organ (3) on one side of a volume (B, 1, 24, 32, 12), a dark one (7) on the other if asked for."""
    label = torch.zeros(batch, 1, 24, 32, 12, dtype=torch.uint8)
    label[:, :, 6:15, 5:15, 3:9] = 3
    if classes > 2:
        label[:, :, 14:20, 20:29, 2:8] = 7
    image = torch.full(label.shape, -1.0)
    image[label == 3] = 1.0
    return image, label


def centre(mask: torch.Tensor) -> torch.Tensor:
    """Centre of mass (B, 3) of masks (B, 1, H, W, D), in voxels."""
    axes = torch.meshgrid(*[torch.arange(float(n)) for n in mask.shape[2:]], indexing="ij")
    mask = mask[:, 0].float()
    return torch.stack([(mask * axis).sum(dim=(1, 2, 3)) / mask.sum(dim=(1, 2, 3)) for axis in axes], dim=1)


@pytest.mark.parametrize("classes", [2, 3])
def test_label_moves_with_the_image_and_keeps_its_values(classes):
    image, label = organs(6, classes)
    before = image.clone(), label.clone()
    moved, moved_label = random_volume_affine(image, label, seeded(), thick_probability=0.0)
    assert moved.shape == image.shape
    assert moved.dtype == image.dtype
    assert moved_label.dtype == label.dtype
    assert set(moved_label.unique().tolist()) == ({0, 3} if classes == 2 else {0, 3, 7})
    assert not torch.equal(moved_label, label)
    assert ((moved > 0) == (moved_label == 3)).float().mean() > 0.995
    assert torch.equal(image, before[0])
    assert torch.equal(label, before[1])


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int64, torch.float32])
def test_one_organ_moves_as_it_does_among_others(dtype):
    image, both = organs(2, 3)
    alone = torch.where(both == 3, both, torch.zeros_like(both)).to(dtype)
    moved = random_volume_affine(image, alone, seeded())[1]
    assert moved.dtype == dtype
    assert torch.equal(moved == 3, random_volume_affine(image, both, seeded())[1] == 3)


@pytest.mark.parametrize("value", [0, 4])
def test_labels_of_one_value(value):
    image = torch.ones(2, 1, 12, 12, 6)
    label = torch.full(image.shape, value, dtype=torch.uint8)
    moved, moved_label = random_volume_affine(image, label, seeded(), shift=0.4, thick_probability=0.0)
    assert set(moved_label.unique().tolist()) <= {0, value}
    assert (moved < -0.999).any()
    assert (moved_label[moved < -0.999] == 0).all(), "new ground is background"
    assert (moved_label[moved > 0.999] == value).all()


@pytest.mark.parametrize("shape", [(2, 1, 9, 13, 5), (1, 1, 8, 8, 1)])
def test_no_motion_is_the_identity(shape):
    image = 2 * torch.rand(shape, generator=seeded()) - 1
    label = (image > 0).to(torch.uint8)
    moved, moved_label = RandVolumeAffine(**STILL)(image, label, seeded())
    torch.testing.assert_close(moved, image, atol=1e-4, rtol=0)
    assert torch.equal(moved_label, label)


def test_turns_are_in_the_axial_plane():
    image, label = organs(8)
    _, turned = random_volume_affine(image, label, seeded(), **{**STILL, "rotation": 30.0})
    assert torch.equal(turned.flatten(2, 3).any(dim=2), label.flatten(2, 3).any(dim=2)), "it left its slices"
    assert not torch.equal(turned, label)
    middle = torch.tensor([11.5, 15.5])
    distance = [(centre(x == 3)[:, :2] - middle).norm(dim=1) for x in (label, turned)]
    torch.testing.assert_close(distance[1], distance[0], atol=0.5, rtol=0)  # also where the plane is no square
    volume = [(x == 3).sum(dim=(1, 2, 3, 4)).float() for x in (label, turned)]
    torch.testing.assert_close(volume[1], volume[0], atol=0, rtol=0.08)


def test_shifts_are_in_the_plane_and_shares_of_its_length():
    image, label = organs(40)
    _, moved = random_volume_affine(image, label, seeded(), **{**STILL, "shift": 0.15})
    offset = (centre(moved == 3) - centre(label == 3)).abs()
    assert (offset[:, 2] < 1e-4).all()
    assert (offset[:, 0] <= 0.15 * 24 + 0.6).all()
    assert (offset[:, 1] <= 0.15 * 32 + 0.6).all()
    assert offset[:, 0].max() > 2
    assert offset[:, 1].max() > 3


def test_zoom_stays_within_its_limits():
    image, label = organs(40)
    _, larger = random_volume_affine(image, label, seeded(), **{**STILL, "scale": (1.3, 1.5)})
    growth = (larger == 3).sum(dim=(1, 2, 3, 4)) / (label == 3).sum(dim=(1, 2, 3, 4))
    assert (growth > 1.2**3).all()
    assert (growth < 1.6**3).all()
    assert growth.std() > 0.05


def test_deformation_bends():
    image = organs(4)[0]
    moved = random_volume_affine(image, None, seeded(), **{**STILL, "deformation": 0.04})[0]
    assert (moved - image).abs().mean() > 0.01
    still = random_volume_affine(image, None, seeded(), **STILL)[0]
    torch.testing.assert_close(still, image, atol=1e-4, rtol=0)


def test_thick_slices_blur_the_image_across_slices_alone():
    image = 2 * torch.rand(1, 1, 8, 8, 24, generator=seeded(1)) - 1
    label = (image > 0).to(torch.uint8)
    thick = {**STILL, "thick_probability": 1.0, "thickness": 3.0}
    moved, moved_label = random_volume_affine(image, label, seeded(), **thick)
    assert torch.equal(moved_label, label)
    assert moved.diff(dim=4).abs().mean() < 0.8 * image.diff(dim=4).abs().mean()
    in_plane = image.mean(dim=4, keepdim=True).expand_as(image).contiguous()
    torch.testing.assert_close(random_volume_affine(in_plane, None, seeded(), **thick)[0], in_plane, atol=1e-4, rtol=0)


def test_a_share_of_the_batches_is_thick():
    image = 2 * torch.rand(1, 1, 4, 4, 12, generator=seeded(1)) - 1
    options = {**STILL, "thick_probability": 0.3, "thickness": 4.0}
    moved = [random_volume_affine(image, None, seeded(s), **options)[0] for s in range(200)]
    share = sum(float((m - image).abs().max()) > 1e-3 for m in moved) / 200
    assert share == pytest.approx(0.3, abs=0.1)


def test_the_generator_alone_decides_and_sides_are_kept():
    image, label = organs(16, 3)
    state = torch.get_rng_state()
    first, second = (random_volume_affine(image, label, seeded(1)) for _ in range(2))
    assert torch.equal(first[0], second[0])
    assert torch.equal(first[1], second[1])
    assert torch.equal(torch.get_rng_state(), state)
    assert not torch.equal(random_volume_affine(image, label, seeded(2))[1], first[1])
    left, right = centre(first[1] == 3), centre(first[1] == 7)
    assert (left[:, 1] < right[:, 1]).all(), "a flip: anatomy has sides"
    assert (first[1][0] != first[1][1]).any(), "each volume has a motion of its own"


def test_without_a_generator_it_follows_torchs_seed():
    image, label = organs(2)
    outcomes = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        outcomes.append(RandVolumeAffine()(image, label)[0])
    assert torch.equal(outcomes[0], outcomes[1])
    assert not torch.equal(outcomes[0], outcomes[2])


def test_unlabelled_and_wrong_input():
    image, label = organs(2)
    moved, nothing = random_volume_affine(image, None, seeded())
    assert nothing is None
    assert torch.equal(moved, random_volume_affine(image, label, seeded())[0])
    with pytest.raises(ValueError, match=r"image: got shape \(2, 1, 24, 32\); wanted \(B, 1, H, W, D\)"):
        random_volume_affine(image[..., 0])
    with pytest.raises(ValueError, match=r"label: got shape \(1, 1, 24, 32, 12\); wanted \(2, 1, 24, 32, 12\)"):
        random_volume_affine(image, label[:1])
