"""Random slice motion: image and label map move as one, labels stay labels."""

from __future__ import annotations

import pytest
import torch

from monai_semgan.transforms.slice_affine import RandSliceAffine, random_slice_affine


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def organ(batch: int = 6) -> tuple[torch.Tensor, torch.Tensor]:
    label = torch.zeros(batch, 1, 32, 32, dtype=torch.uint8)
    label[:, :, 8:20, 6:20] = 3
    label[:, :, 20:28, 20:30] = 7
    image = torch.full((batch, 1, 32, 32), -1.0)
    image[label == 3] = 1.0
    return image, label


@pytest.mark.parametrize("mode", ["nearest", "linear"])
def test_label_moves_with_the_image_and_keeps_its_values(mode):
    image, label = organ()
    moved, moved_label = random_slice_affine(image, label, seeded(), label_mode=mode)
    assert moved_label.dtype == label.dtype
    assert set(moved_label.unique().tolist()) <= {0, 3, 7}
    assert not torch.equal(moved, image)
    agree = ((moved > 0) == (moved_label == 3)).float().mean()
    assert agree > 0.985


def test_no_motion_is_the_identity():
    image, label = organ()
    still = RandSliceAffine(rotation=0, scale=(1.0, 1.0), shift=0, deformation=0)
    moved, moved_label = still(image, label, seeded())
    torch.testing.assert_close(moved, image, atol=1e-4, rtol=0)
    assert torch.equal(moved_label, label)


def test_new_ground_is_air_and_background():
    image, label = torch.ones(8, 1, 16, 16), torch.ones(8, 1, 16, 16, dtype=torch.long)
    for mode in ("nearest", "linear"):
        moved, moved_label = random_slice_affine(image, label, seeded(), shift=0.5, label_mode=mode)
        empty = moved < -0.999
        assert empty.any()
        assert (moved_label[empty] == 0).all()


def test_the_generator_alone_decides_and_sides_are_kept():
    image, label = organ(32)
    state = torch.get_rng_state()
    first, second = (random_slice_affine(image, label, seeded(1))[1] for _ in range(2))
    assert torch.equal(first, second)
    assert torch.equal(torch.get_rng_state(), state)
    columns = torch.arange(32.0)
    for value in first:
        left = ((value[0] == 3).sum(dim=0) * columns).sum() / (value[0] == 3).sum()
        right = ((value[0] == 7).sum(dim=0) * columns).sum() / (value[0] == 7).sum()
        assert left < right, "a flip: anatomy has sides"


def test_unlabelled_and_wrong_input():
    image, label = organ(2)
    assert random_slice_affine(image, None, seeded())[1] is None
    with pytest.raises(ValueError, match="label_mode: got 'cubic'"):
        random_slice_affine(image, label, label_mode="cubic")
    with pytest.raises(ValueError, match="label: got shape"):
        random_slice_affine(image, label[:1])
