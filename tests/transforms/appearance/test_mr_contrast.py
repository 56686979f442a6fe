"""A CT drawn as MRI: the order of tissues is one that scanners make, edges stay edges, air stays air."""

from __future__ import annotations

import pytest
import torch

from monai_semgan.transforms.appearance import RandBatchAppearance, random_mr_contrast

HOUNSFIELD = {"fat": -90, "muscle": 52, "organ": 105, "vessel": 190, "fluid": 12}


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def bands(batch: int, organ: float = 105) -> tuple[torch.Tensor, dict[str, slice], torch.Tensor]:
    """A body of broad bands, one a tissue, with air around it; the organ is labelled."""
    image = torch.full((batch, 1, 24, 44), -1.0)
    label = torch.zeros(image.shape, dtype=torch.uint8)
    where = {}
    for i, (name, value) in enumerate(HOUNSFIELD.items()):
        columns = slice(2 + 8 * i, 10 + 8 * i)
        image[:, :, 2:22, columns] = ((organ if name == "organ" else value) + 125) / 200 - 1
        where[name] = slice(4 + 8 * i, 8 + 8 * i)
    label[:, :, 2:22, 2 + 8 * 2 : 10 + 8 * 2] = 1
    return image, where, label


def signals(image: torch.Tensor, where: dict[str, slice]) -> dict[str, torch.Tensor]:
    return {name: image[:, 0, 10, columns].mean(dim=1) for name, columns in where.items()}


def test_t2_weighted() -> None:
    image, where, label = bands(300)
    drawn = signals(random_mr_contrast(image, label, seeded(), t2_probability=1.0), where)
    assert (drawn["fluid"] > drawn["organ"]).float().mean() > 0.95
    assert (drawn["fluid"] > drawn["muscle"]).all()
    assert (drawn["vessel"] > drawn["muscle"]).all()
    assert 0.6 < (drawn["fat"] < drawn["muscle"]).float().mean() < 1  # suppressed in most
    dark = (drawn["organ"] < drawn["muscle"]).float().mean()
    assert 0.05 < dark < 0.4, "a liver with iron, in some"


def test_t1_weighted() -> None:
    image, where, label = bands(300)
    drawn = signals(random_mr_contrast(image, label, seeded(), t2_probability=0.0), where)
    assert (drawn["fluid"] <= drawn["muscle"] + 1e-3).all()
    assert (drawn["organ"] > drawn["fluid"]).all()
    bright = (drawn["fat"] > drawn["organ"]).float().mean()
    assert 0.3 < bright < 0.7, "fat is suppressed in half of the samples"


def test_both_weightings_come_up() -> None:
    image, where, label = bands(400)
    drawn = signals(random_mr_contrast(image, label, seeded()), where)
    assert 0.5 < (drawn["fluid"] > drawn["muscle"]).float().mean() < 0.7


def test_an_edge_between_fat_and_organ_is_not_drawn_as_fluid() -> None:
    """A pixel half fat, half organ has the grey value of fluid, and is none."""
    image = torch.full((64, 1, 20, 20), -1.0)
    image[:, :, 2:18, 2:18] = (-90 + 125) / 200 - 1
    image[:, :, 2:18, 10:18] = (105 + 125) / 200 - 1
    image[:, :, 2:18, 9] = 0.5 * (image[:, :, 2:18, 8] + image[:, :, 2:18, 10])  # 8 HU
    drawn = random_mr_contrast(image, None, seeded(), t2_probability=1.0)[:, 0, 10]
    low = torch.minimum(drawn[:, 6], drawn[:, 13])
    high = torch.maximum(drawn[:, 6], drawn[:, 13])
    between = (drawn[:, 9] >= low - 0.02) & (drawn[:, 9] <= high + 0.02)
    assert between.float().mean() > 0.9


def test_the_labelled_organ_tells_where_its_grey_value_lies() -> None:
    """A liver of 140 HU is drawn as liver when it is labelled, and as a vessel when it is not."""
    image, where, label = bands(200, organ=140)
    with_label = signals(random_mr_contrast(image, label, seeded(), t2_probability=1.0), where)["organ"]
    usual, where, label = bands(200)
    as_usual = signals(random_mr_contrast(usual, label, seeded(), t2_probability=1.0), where)["organ"]
    without = signals(random_mr_contrast(image, None, seeded(), t2_probability=1.0), where)["organ"]
    assert (with_label.mean() - as_usual.mean()).abs() < 0.1
    assert without.mean() > as_usual.mean() + 0.2


def test_noise_does_not_make_spleen_of_liver() -> None:
    image, where, label = bands(60)
    body = image > -1
    image = torch.where(body, image + 0.03 * torch.randn(image.shape, generator=seeded(1)), image).clamp(-1, 1)
    drawn = random_mr_contrast(image, label, seeded(), t2_probability=1.0)
    spread = drawn[:, 0, 6:18, where["organ"]].flatten(1).std(dim=1)
    assert spread.median() < 0.1


def test_part_of_a_batch_is_drawn_as_mri() -> None:
    image, _, label = bands(400)
    torch.manual_seed(0)
    plain = RandBatchAppearance(0.02, mild_fraction=1.0)(image, label)  # next to nothing
    torch.manual_seed(0)
    mixed = RandBatchAppearance(0.02, mild_fraction=1.0, mr_fraction=0.4)(image, label)
    far = [(changed - image).abs().flatten(1).mean(dim=1) > 0.08 for changed in (plain, mixed)]
    assert far[0].float().mean() < 0.05
    assert 0.3 < far[1].float().mean() < 0.5
    assert (mixed[:, 0, 0] < -0.99).all()  # air has noise and nothing else


def test_without_a_share_the_draws_are_those_without_the_option() -> None:
    image, _, label = bands(6)
    changed = []
    for options in ({}, {"mr_fraction": 0.0}):
        torch.manual_seed(3)
        changed.append(RandBatchAppearance(1.0, **options)(image, label))
    assert torch.equal(*changed)


@pytest.mark.parametrize("share", [-0.1, 1.5])
def test_a_share_out_of_range_is_refused(share: float) -> None:
    with pytest.raises(ValueError, match="mr_fraction"):
        RandBatchAppearance(1.0, mr_fraction=share)
