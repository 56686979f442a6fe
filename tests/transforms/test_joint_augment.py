"""Joint augmentation for critics: image and mask move as one, gradients pass, twice where asked."""

from __future__ import annotations

import pytest
import torch

from monai_semgan.transforms.joint_augment import JointDiffAugment


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def blocks(batch: int = 6) -> tuple[torch.Tensor, torch.Tensor]:
    """A square whose image and one-channel mask are the same picture."""
    image = torch.full((batch, 1, 24, 24), -1.0)
    image[:, :, 8:15, 10:17] = 1.0
    return image, image.clone()


def test_image_and_mask_move_together():
    image, mask = blocks()
    moved, moved_mask = JointDiffAugment(brightness=0, contrast=0, cutout=0.3)(image, mask, seeded())
    assert torch.equal(moved, moved_mask)
    assert not torch.equal(moved, image)
    assert moved.min() >= -1 - 1e-5
    assert moved.max() <= 1 + 1e-5


def test_colour_changes_the_image_only():
    image, mask = blocks()
    changed, same = JointDiffAugment(translation=0, scale=0, rotation=0)(image, mask, seeded())
    assert torch.equal(same, mask)
    assert not torch.equal(changed, image)


def test_off_is_the_identity():
    image, mask = blocks()
    nothing = JointDiffAugment(0, 0, 0, 0, 0, 0)
    assert all(torch.equal(a, b) for a, b in zip(nothing(image, mask, seeded()), (image, mask), strict=True))
    assert torch.equal(JointDiffAugment(probability=0.0)(image, mask)[0], image)
    assert JointDiffAugment()(image, None, seeded())[1] is None


def test_the_generator_alone_decides():
    image, mask = blocks()
    augment = JointDiffAugment(cutout=0.2)
    state = torch.get_rng_state()
    first, second = augment(image, mask, seeded(2))[0], augment(image, mask, seeded(2))[0]
    assert torch.equal(first, second)
    assert torch.equal(torch.get_rng_state(), state)
    assert not torch.equal(first, augment(image, mask, seeded(3))[0])


def test_probability_is_per_sample():
    image, mask = blocks(200)
    moved, _ = JointDiffAugment(brightness=0, contrast=0, probability=0.5)(image, mask, seeded())
    kept = (moved == image).flatten(1).all(dim=1).float().mean()
    assert 0.35 < kept < 0.65


def test_new_ground_is_air_and_background():
    image = torch.ones(4, 1, 16, 16)
    one_hot = torch.cat([-torch.ones(4, 2, 16, 16), torch.ones(4, 1, 16, 16)], dim=1)
    augment = JointDiffAugment(translation=0.5, scale=0, rotation=0, brightness=0, contrast=0)
    moved, classes = augment(image, one_hot, seeded(1))
    empty = moved[:, 0] < -0.999
    assert empty.any()
    assert (classes[:, 0][empty] > 0.99).all()
    assert (classes[:, 1:].amax(dim=1)[empty] < -0.99).all()
    torch.testing.assert_close(classes.sum(dim=1), torch.full((4, 16, 16), -1.0), atol=1e-4, rtol=0)


def test_rotation_and_zoom_are_about_the_centre():
    image = torch.full((3, 1, 25, 25), -1.0)
    image[:, :, 12, 12] = 1.0
    moved, _ = JointDiffAugment(translation=0, brightness=0, contrast=0)(image, None, seeded())
    torch.testing.assert_close(moved[:, :, 12, 12], image[:, :, 12, 12], atol=1e-3, rtol=0)


def test_gradient_reaches_image_and_mask_also_twice():
    """R1 of a critic behind the augmentation: first and second derivatives are right."""
    image = torch.randn(2, 1, 8, 8, dtype=torch.float64, requires_grad=True)
    mask = torch.randn(2, 1, 8, 8, dtype=torch.float64, requires_grad=True)
    augment = JointDiffAugment(cutout=0.2)

    def score(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        return torch.cat(augment(a, b, seeded(5)), dim=1).pow(3).sum()

    assert torch.autograd.gradcheck(score, (image, mask))
    assert torch.autograd.gradgradcheck(score, (image, mask))


def test_wrong_input_is_refused():
    with pytest.raises(ValueError, match=r"cutout: got 2"):
        JointDiffAugment(cutout=2)
    with pytest.raises(ValueError, match="label_channels: got shape"):
        JointDiffAugment()(torch.zeros(2, 1, 8, 8), torch.zeros(1, 1, 8, 8))
