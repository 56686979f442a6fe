"""Appearance randomisation changes grey values only, by the generator alone, and each sample on its own."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from monai.data import MetaTensor

from monai_semgan.transforms.appearance import (
    APPEARANCE_PROBABILITIES,
    RandAppearance,
    RandAppearanced,
    RandBiasFieldAppearance,
    RandBlurNoise,
    RandConvAppearance,
    RandGrayCurve,
    RandMRContrast,
    RandRegionContrast,
    RandRegionContrastd,
    RandTexture,
    RandTissueShift,
    random_bias_field,
    random_blur_noise,
    random_convolution,
    random_gray_curve,
    random_mr_contrast,
    random_region_contrast,
    random_texture,
    random_tissue_shift,
    randomise_appearance,
)

FUNCTIONS = [
    random_convolution,
    random_gray_curve,
    random_bias_field,
    random_region_contrast,
    random_blur_noise,
    random_texture,
    random_tissue_shift,
    random_mr_contrast,
    randomise_appearance,
]
KEEPS_AIR = [
    random_convolution,
    random_gray_curve,
    random_bias_field,
    random_region_contrast,
    random_texture,
    random_tissue_shift,
    random_mr_contrast,
]
TAKES_LABEL = [random_mr_contrast, random_region_contrast, random_texture, random_tissue_shift, randomise_appearance]
ARRAYS = [
    RandConvAppearance,
    RandGrayCurve,
    RandBiasFieldAppearance,
    RandRegionContrast,
    RandBlurNoise,
    RandTexture,
    RandTissueShift,
    RandMRContrast,
    RandAppearance,
]
FAT, ORGAN, MUSCLE, BONE = -0.87, 0.2, -0.1, 0.9


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def body() -> tuple[torch.Tensor, torch.Tensor]:
    """A fat ring around muscle, an organ (label 1) and a bone in air: image (8, 1, 32, 32) and label."""
    rows, columns = torch.meshgrid(torch.arange(32.0), torch.arange(32.0), indexing="ij")
    radius = ((rows - 15.5) ** 2 + (columns - 15.5) ** 2).sqrt()
    image = torch.full((32, 32), -1.0)
    image[radius < 14] = FAT
    image[radius < 10] = MUSCLE
    organ = ((rows - 13) ** 2 + (columns - 12) ** 2).sqrt() < 5
    image[organ] = ORGAN
    image[22:25, 15:18] = BONE
    noise = 0.01 * torch.randn(8, 1, 32, 32, generator=seeded(5))
    images = torch.where(image > -1, image + noise, image)
    return images, organ.to(torch.uint8).expand(8, 1, 32, 32).clone()


@pytest.mark.parametrize("function", FUNCTIONS)
def test_zero_strength_is_the_identity(function, body):
    assert torch.equal(function(body[0], generator=seeded(), strength=0.0), body[0])


@pytest.mark.parametrize("function", FUNCTIONS)
@pytest.mark.parametrize("value_range", [(-1.0, 1.0), (0.0, 255.0)])
def test_shape_dtype_and_range_are_kept(function, value_range, body):
    low, high = value_range
    image = (body[0] + 1) / 2 * (high - low) + low
    before = image.clone()
    changed = function(image, generator=seeded(), value_range=value_range)
    assert changed.shape == image.shape
    assert changed.dtype == image.dtype
    assert changed.min() >= low
    assert changed.max() <= high
    assert torch.equal(image, before), "the input was changed in place"
    assert not torch.equal(changed, image)


@pytest.mark.parametrize("function", FUNCTIONS)
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16], ids=str)
def test_other_floating_types_are_kept(function, dtype, body):
    changed = function(body[0].to(dtype), generator=seeded())
    assert changed.dtype == dtype
    assert changed.isfinite().all()


@pytest.mark.parametrize("function", FUNCTIONS)
def test_the_generator_alone_decides(function, body):
    torch.manual_seed(1)
    first = function(body[0], generator=seeded(3))
    torch.manual_seed(2)
    state = torch.get_rng_state()
    assert torch.equal(function(body[0], generator=seeded(3)), first)
    assert torch.equal(torch.get_rng_state(), state), "the global generator was used"
    assert not torch.equal(function(body[0], generator=seeded(4)), first)


@pytest.mark.parametrize("function", FUNCTIONS)
def test_a_sample_does_not_depend_on_its_neighbours(function, body):
    image = body[0]
    others = image.clone()
    others[1:] = 2 * torch.rand(7, 1, 32, 32, generator=seeded(9)) - 1
    torch.testing.assert_close(
        function(image, generator=seeded())[0], function(others, generator=seeded())[0], atol=1e-5, rtol=0
    )


@pytest.mark.parametrize("function", FUNCTIONS)
def test_samples_of_a_batch_get_different_looks(function, body):
    same = body[0][:1].expand(32, -1, -1, -1).contiguous()
    changed = function(same, generator=seeded())
    different = (changed - changed[:1]).abs().flatten(1).amax(dim=1)[1:].gt(1e-3)
    # Texture and tissue shifts leave a share of the samples as they are.
    assert different.float().mean() > (0.25 if function in (random_texture, random_tissue_shift) else 0.7)


@pytest.mark.parametrize("function", KEEPS_AIR)
def test_air_stays_air(function, body):
    changed = function(body[0], generator=seeded())
    # One pixel next to the skin may be partly tissue.
    air = torch.nn.functional.max_pool2d((body[0] > -1).float(), 3, 1, 1) == 0
    torch.testing.assert_close(changed[air], body[0][air], atol=1e-3, rtol=0)


@pytest.mark.parametrize("function", FUNCTIONS)
def test_volumes_odd_sizes_and_empty_images_pass(function):
    volume = 2 * torch.rand(2, 1, 9, 7, 5, generator=seeded()) - 1
    assert function(volume, generator=seeded()).shape == volume.shape
    for image in (torch.full((2, 1, 11, 7), -1.0), torch.full((1, 1, 8, 8), 0.3), torch.zeros(0, 1, 8, 8)):
        changed = function(image, generator=seeded())
        assert changed.shape == image.shape
        assert changed.isfinite().all()


@pytest.mark.parametrize("function", FUNCTIONS)
def test_wrong_input_is_refused_with_what_was_wanted(function):
    with pytest.raises(ValueError, match=r"got shape \(2, 3, 8, 8\); wanted \(B, 1, H, W\)"):
        function(torch.zeros(2, 3, 8, 8))
    with pytest.raises(ValueError, match=r"got 1\.5; wanted a number in 0\.\.1"):
        function(torch.zeros(2, 1, 8, 8), strength=1.5)


def tissue_means(body: tuple[torch.Tensor, torch.Tensor], seeds: int = 12) -> dict[str, torch.Tensor]:
    """Mean grey value of each tissue over many draws of the whole randomisation."""
    image, label = body
    changed = torch.cat([randomise_appearance(image, label, seeded(s)) for s in range(seeds)])
    clean = image[0, 0]
    inner = {"fat": FAT, "organ": ORGAN, "muscle": MUSCLE}
    return {name: changed[:, 0][:, (clean - value).abs() < 0.06].mean(dim=1) for name, value in inner.items()}


def test_fat_becomes_bright_black_and_everything_between(body):
    means = tissue_means(body)
    fat = means["fat"]
    assert (fat > 0.2).float().mean() > 0.1, "fat is hardly ever bright, as in T1-weighted MRI"
    assert (fat < -0.75).float().mean() > 0.1, "fat is hardly ever black, as in fat-suppressed MRI"
    assert fat.std() > 0.3
    # T1: brighter than the organ; CT and SPIR: darker.
    share = (fat > means["organ"]).float().mean()
    assert 0.1 < share < 0.7


def test_organ_and_muscle_swap_order(body):
    means = tissue_means(body)
    share = (means["organ"] > means["muscle"]).float().mean()
    assert 0.4 < share < 0.95


def test_anatomy_stays_visible(body):
    """The organ's border still carries contrast in most draws."""
    means = tissue_means(body)
    visible = ((means["organ"] - means["muscle"]).abs() > 0.04).float().mean()
    assert visible > 0.8


def test_label_guides_but_is_never_changed(body):
    image, label = body
    before = label.clone()
    with_label = random_region_contrast(image, label, seeded(), label_probability=1.0)
    without = random_region_contrast(image, None, seeded(), label_probability=1.0)
    assert torch.equal(label, before)
    organ = label.bool()
    assert not torch.allclose(with_label[organ], without[organ], atol=1e-2)
    with pytest.raises(ValueError, match="wanted the image's"):
        random_region_contrast(image, label[:, :, :8])


@pytest.mark.parametrize("function", TAKES_LABEL)
def test_label_is_read_and_never_changed(function, body):
    image, label = body
    before = label.clone()
    changed = function(image, label, seeded())
    assert torch.equal(label, before)
    assert torch.equal(function(image, label.long(), seeded()), changed), "the label's dtype matters"
    assert torch.equal(function(image, label.float(), seeded()), changed), "the label's dtype matters"
    with pytest.raises(ValueError, match=r"label: got shape \(8, 1, 32, 8\); wanted the image's"):
        function(image, label[..., :8])


@pytest.mark.parametrize("function", TAKES_LABEL)
def test_labelled_volumes_pass(function):
    volume = 2 * torch.rand(2, 1, 9, 7, 5, generator=seeded()) - 1
    label = (volume > 0.5).to(torch.uint8)
    assert function(volume, label, seeded()).shape == volume.shape


def test_probabilities_switch_changes_off_and_names_are_checked(body):
    never = dict.fromkeys(APPEARANCE_PROBABILITIES, 0.0)
    torch.testing.assert_close(
        randomise_appearance(body[0], generator=seeded(), probabilities=never), body[0], atol=1e-6, rtol=0
    )
    with pytest.raises(ValueError, match="got 'colour'; wanted one of region, curve"):
        randomise_appearance(body[0], probabilities={"colour": 1.0})


def only(*names: str) -> dict[str, float]:
    return {name: float(name in names) for name in APPEARANCE_PROBABILITIES}


@pytest.mark.parametrize("name", APPEARANCE_PROBABILITIES)
def test_every_change_can_be_asked_for_by_name(name, body):
    image, label = body
    changed = randomise_appearance(image, label, seeded(), probabilities=only(name))
    assert not torch.allclose(changed, image, atol=1e-3)


def test_contrast_strength_spares_texture_and_shift(body):
    image, label = body

    def run(names: tuple[str, ...], **strengths: float) -> torch.Tensor:
        return randomise_appearance(image, label, seeded(), probabilities=only(*names), **strengths)

    for name in ("texture", "shift"):
        assert torch.equal(run((name,), contrast_strength=0.0), run((name,)))
    torch.testing.assert_close(run(("region", "curve", "convolution"), contrast_strength=0.0), image)
    for name in ("region", "curve", "convolution"):
        weaker = run((name,), strength=1.0, contrast_strength=0.4)
        assert torch.equal(weaker, run((name,), strength=0.4))
        assert not torch.equal(weaker, run((name,)))
    with pytest.raises(ValueError, match=r"got 1\.5; wanted a number in 0\.\.1"):
        randomise_appearance(image, contrast_strength=1.5)


def test_each_sample_is_guided_by_its_own_label(body):
    """The whole randomisation hands the label of each chosen sample to the change, not that of its neighbour."""
    image = body[0][:1].repeat(8, 1, 1, 1)
    label = torch.zeros_like(image, dtype=torch.uint8)
    label[::2] = body[1][::2]
    changed = randomise_appearance(image, label, seeded(), probabilities={**only("texture", "shift"), "shift": 0.5})
    plain = randomise_appearance(
        image, torch.zeros_like(label), seeded(), probabilities={**only("texture", "shift"), "shift": 0.5}
    )
    different = (changed - plain).abs().flatten(1).amax(dim=1) > 1e-5
    assert different[::2].any()
    assert not different[1::2].any()


@pytest.mark.parametrize("transform_class", ARRAYS)
def test_array_transform_keeps_type_and_metadata_and_is_seeded(transform_class, body):
    image = MetaTensor(body[0][0], affine=torch.diag(torch.tensor([1.5, 1.5, 5.0, 1.0])))
    image.meta["name"] = "scan"
    runs = [transform_class(prob=1.0).set_random_state(4)(image) for _ in range(2)]
    assert isinstance(runs[0], MetaTensor)
    assert runs[0].meta["name"] == "scan"
    assert torch.equal(runs[0].affine, image.affine)
    assert runs[0].shape == image.shape
    assert torch.equal(runs[0], runs[1])
    assert torch.equal(transform_class(prob=0.0)(image), image)
    array = transform_class(prob=1.0)(np.asarray(body[0][0].numpy()))
    assert isinstance(array, np.ndarray)
    assert array.dtype == np.float32


def test_dictionary_transform_changes_its_keys_only(body):
    item = {"image": body[0][0], "label": body[1][0], "name": "scan"}
    transform = RandAppearanced(keys="image", label_key="label", prob=1.0).set_random_state(1)
    changed = transform(item)
    assert not torch.equal(changed["image"], item["image"])
    assert changed["label"] is item["label"]
    assert changed["name"] == "scan"
    # Unlabelled items pass too.
    del item["label"]
    assert RandRegionContrastd(keys="image", label_key="label")(item)["image"].shape == (1, 32, 32)


def test_dictionary_keys_share_their_random_numbers(body):
    item = {"a": body[0][0], "b": body[0][0].clone()}
    changed = RandAppearanced(keys=["a", "b"], prob=1.0).set_random_state(2)(item)
    assert torch.equal(changed["a"], changed["b"])
