"""Random texture: structure where there was none, where it is wanted, of the agreed height and size."""

from __future__ import annotations

import pytest
import torch

from monai_semgan.transforms.appearance import RandTextured, random_texture


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def flat(batch: int = 16, size: int = 32, *depth: int) -> tuple[torch.Tensor, torch.Tensor]:
    """A flat body of 0.2 in air with a square organ of the same grey value."""
    image = torch.full((batch, 1, size, size, *depth), -1.0)
    label = torch.zeros(image.shape, dtype=torch.uint8)
    edge = size // 8
    image[:, :, edge:-edge, edge:-edge] = 0.2
    label[:, :, size // 4 : size // 2, size // 4 : size // 2] = 1
    return image, label


def contrast(image: torch.Tensor, region: torch.Tensor) -> torch.Tensor:
    """Standard deviation (B,) of each sample inside a region that is the same in all samples."""
    return image[:, region[0]].std(dim=1)


@pytest.mark.parametrize("depth", [(), (6,)], ids=["slices", "volumes"])
def test_flat_organs_get_structure(depth):
    image, label = flat(16, 32, *depth)
    body = image > -1
    changed = random_texture(image, label, seeded(), organ_probability=1.0)
    assert (contrast(changed, label > 0) > 0.02).float().mean() > 0.8
    assert contrast(changed, label > 0).mean() > 1.5 * contrast(changed, body & (label == 0)).mean()


@pytest.mark.parametrize("depth", [(), (6,)], ids=["slices", "volumes"])
def test_organs_are_left_alone_on_request(depth):
    image, label = flat(64, 32, *depth)
    with_label = random_texture(image, label, seeded(), organ_probability=0.0)
    inside, outside = contrast(with_label, label > 0), contrast(with_label, (image > -1) & (label == 0))
    assert inside.mean() < 1.3 * outside.mean()
    assert (inside > 1e-3).any(), "other changes do not stop at an organ's border"


def test_a_share_of_the_organs_is_chosen():
    image, label = flat(400, 16)
    # What is outside of organs would blur the count.
    image[label == 0] = -1.0
    for share in (0.2, 0.8):
        with_vessels = random_texture(image, label, seeded(), organ_probability=share)
        without = random_texture(image, label, seeded(), organ_probability=0.0)
        changed = (with_vessels - without).abs().flatten(1).amax(dim=1) > 1e-4
        assert changed.float().mean().item() == pytest.approx(share, abs=0.08)


def test_labels_are_seen_as_organ_or_not():
    image, label = flat()
    assert torch.equal(random_texture(image, 7 * label, seeded()), random_texture(image, label, seeded()))
    empty = random_texture(image, torch.zeros_like(label), seeded(), organ_probability=1.0)
    assert torch.equal(empty, random_texture(image, torch.zeros_like(label), seeded(), organ_probability=0.0))


def test_vessels_of_organs_are_no_higher_than_asked_for():
    image, label = flat(64)
    image[label == 0] = -1.0
    low, high = (random_texture(image, label, seeded(), organ_probability=1.0, height=h) for h in (0.05, 0.4))
    none = random_texture(image, label, seeded(), organ_probability=0.0, height=0.05)
    # Height is a share of the range, which is 2 wide; dots may reach 1.2 of it.
    assert (low - none).abs().max() <= 2 * 1.2 * 0.05 + 0.05
    assert (high - image).abs().amax(dim=(1, 2, 3)).mean() > 2 * (low - image).abs().amax(dim=(1, 2, 3)).mean()


def test_most_vessels_are_bright():
    image, label = flat(200)
    image[label == 0] = -1.0
    change = (random_texture(image, label, seeded(), organ_probability=1.0) - image)[:, label[0] > 0]
    brighter = change.amax(dim=1) > -change.amin(dim=1)
    assert 0.6 < brighter.float().mean() < 0.9


def test_means_hardly_move():
    image, label = flat(200, 64)
    change = (random_texture(image, label, seeded(), organ_probability=1.0) - image)[:, label[0] > 0].mean(dim=1)
    assert change.abs().max() < 0.2
    assert change.abs().mean() < 0.06


def test_strength_scales_the_change():
    image, label = flat()
    full, half = (random_texture(image, label, seeded(), strength=s) for s in (1.0, 0.5))
    unclipped = full.abs() < 1
    torch.testing.assert_close((half - image)[unclipped], 0.5 * (full - image)[unclipped], atol=1e-5, rtol=0)
    assert (full - image).abs().max() > 0.1


def test_the_own_detail_of_an_image_is_amplified_weakened_and_turned():
    """Fine mottle of the image is found again in it, with factors on both sides of one and of zero."""
    mottle = 0.02 * torch.randn(1, 1, 64, 64, generator=seeded(1))
    image = (0.1 + mottle).expand(100, -1, -1, -1)
    changed = random_texture(image, None, seeded())
    factor = (changed * mottle).flatten(1).sum(dim=1) / mottle.square().sum()
    assert (factor > 1.5).sum() > 5
    assert (factor < 0.7).sum() > 2
    assert (factor < 0.0).sum() > 1
    assert factor.min() > -2.5
    assert factor.max() < 5.5


def test_edges_between_tissues_stay_where_they_are():
    """Detail is cut where it is an edge: nothing overshoots by more than five times the limit."""
    image = torch.full((100, 1, 32, 32), -0.4)
    image[..., 16:] = 0.4
    changed = random_texture(image, None, seeded())
    assert (changed[..., 18:].flatten(1).mean(dim=1) - changed[..., :14].flatten(1).mean(dim=1)).min() > 0.5


@pytest.mark.parametrize("size", [32, 64])
def test_the_size_of_vessels_is_a_share_of_the_width(size):
    """About the same share of the organ is brighter, whatever the resolution."""
    image, label = flat(64, size)
    image[label == 0] = -1.0
    change = (random_texture(image, label, seeded(), organ_probability=1.0) - image)[:, label[0] > 0]
    share = (change.abs() > 0.5 * change.abs().amax(dim=1, keepdim=True)).float().mean()
    assert 0.08 < share < 0.4


def test_dictionary_transform_hands_the_label_on():
    image, label = flat(1)
    item = {"image": image[0], "label": label[0]}
    transform = RandTextured(keys="image", label_key="label", organ_probability=1.0)
    changed = transform.set_random_state(3)(item)["image"]
    del item["label"]
    assert not torch.equal(transform.set_random_state(3)(item)["image"], changed)
