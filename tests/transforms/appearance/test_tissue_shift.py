"""Tissue shifts: dark tissue is lifted, organs are moved alone, each in its share of the samples."""

from __future__ import annotations

import pytest
import torch

from monai_semgan.transforms.appearance import RandTissueShiftd, random_tissue_shift


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def phantom(batch: int = 16, *depth: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Dark fat (-0.8) with an organ of 0.2 in air."""
    image = torch.full((batch, 1, 16, 16, *depth), -1.0)
    label = torch.zeros(image.shape, dtype=torch.uint8)
    image[:, :, 2:14, 2:14] = -0.8
    label[:, :, 4:10, 4:10] = 1
    image[label > 0] = 0.2
    return image, label


FAT, ORGAN = (slice(None), 0, 12, 5), (slice(None), 0, 6, 6)


@pytest.mark.parametrize("depth", [(), (5,)], ids=["slices", "volumes"])
def test_the_lift_is_part_of_the_way_to_the_top(depth):
    image, label = phantom(200, *depth)
    changed = random_tissue_shift(image, label, seeded(), lift_probability=1.0, organ_probability=0.0)
    unit, was = (changed + 1) / 2, (image + 1) / 2
    way = ((unit - was) / (1 - was))[:, 0, 3:13, 3:13].flatten(1)
    torch.testing.assert_close(way, way[:, :1].expand_as(way), atol=1e-5, rtol=0)
    assert way.min() >= 0
    assert 0.4 < way.max() <= 0.45
    assert (changed[:, 0, :2] == -1).all()
    assert ((changed[ORGAN] - changed[FAT]) < (image[ORGAN] - image[FAT])).all(), "dark tissue comes nearer"
    assert (changed[ORGAN] > changed[FAT]).all(), "the order of tissues stays"


@pytest.mark.parametrize("depth", [(), (5,)], ids=["slices", "volumes"])
def test_the_organ_is_moved_alone(depth):
    image, label = phantom(200, *depth)
    changed = random_tissue_shift(image, label, seeded(), lift_probability=0.0, organ_probability=1.0)
    torch.testing.assert_close(changed[label == 0], image[label == 0])
    factor = ((changed + 1) / (image + 1))[ORGAN]
    assert 0.15 < factor.min() < 0.3
    assert 1.0 < factor.max() < 1.25
    # softer at the border than inside, and on the same side
    moved = (changed - image).abs()
    assert (moved[:, 0, 4, 4] <= moved[:, 0, 6, 6] + 1e-6).all()
    assert (moved[:, 0, 4, 4] > 0).any()


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_shares_of_the_samples(share):
    image, label = phantom(400)
    lifted = random_tissue_shift(image, None, seeded(), lift_probability=share)
    moved = random_tissue_shift(image, label, seeded(), lift_probability=0.0, organ_probability=share)
    for changed in (lifted, moved):
        different = (changed - image).abs().flatten(1).amax(dim=1) > 1e-5
        assert different.float().mean().item() == pytest.approx(share, abs=0.07)


def test_without_a_label_there_is_only_the_lift():
    image, label = phantom()
    without = random_tissue_shift(image, None, seeded(), organ_probability=1.0)
    assert torch.equal(without, random_tissue_shift(image, label, seeded(), organ_probability=0.0))
    nothing = random_tissue_shift(image, None, seeded(), lift_probability=0.0, organ_probability=1.0)
    torch.testing.assert_close(nothing, image)


def test_half_the_strength_is_half_the_move():
    image, label = phantom()
    for options in (
        {"lift_probability": 1.0, "organ_probability": 0.0},
        {"lift_probability": 0.0, "organ_probability": 1.0},
    ):
        full, half = (random_tissue_shift(image, label, seeded(), strength=s, **options) for s in (1.0, 0.5))
        torch.testing.assert_close(half - image, 0.5 * (full - image), atol=1e-5, rtol=0)
        assert not torch.equal(full, image)


def test_dictionary_transform_hands_the_label_on():
    image, label = phantom(1)
    item = {"image": image[0], "label": label[0]}
    shift = RandTissueShiftd(keys="image", label_key="label", lift_probability=0.0, organ_probability=1.0)
    changed = shift.set_random_state(1)(item)
    assert not torch.equal(changed["image"], item["image"])
    assert changed["label"] is item["label"]
    del item["label"]
    torch.testing.assert_close(shift.set_random_state(1)(item)["image"], item["image"])
