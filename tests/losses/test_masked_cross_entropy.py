"""Cross-entropy of chosen pixels; with Dice, and with labels that are not known."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from monai.losses import DiceCELoss

from monai_semgan.losses import MaskedSegmentationLoss, masked_cross_entropy


def example(classes: int = 3, size: tuple[int, ...] = (6, 5)) -> tuple[torch.Tensor, torch.Tensor]:
    draw = torch.Generator().manual_seed(0)
    logits = torch.randn(2, classes, *size, generator=draw).requires_grad_()
    return logits, torch.randint(0, classes, (2, 1, *size), generator=draw)


@pytest.mark.parametrize("size", [(6, 5), (4, 3, 2)])
def test_it_is_the_mean_over_the_mask(size: tuple[int, ...]) -> None:
    logits, target = example(size=size)
    each = F.cross_entropy(logits, target[:, 0], reduction="none")
    mask = torch.rand(target.shape) < 0.5
    torch.testing.assert_close(masked_cross_entropy(logits, target, mask), each[mask[:, 0]].mean())
    torch.testing.assert_close(masked_cross_entropy(logits, target), each.mean())
    weight = mask * 2.0
    torch.testing.assert_close(masked_cross_entropy(logits, target, weight), each[mask[:, 0]].mean())


def test_nothing_outside_of_the_mask_matters() -> None:
    logits, target = example()
    mask = torch.rand(target.shape) < 0.5
    loss = masked_cross_entropy(logits, target, mask)
    spoilt = torch.where(mask, logits, torch.full_like(logits, 1e4))
    assert torch.equal(masked_cross_entropy(spoilt, torch.where(mask, target, 255), mask), loss)
    loss.backward()
    assert (logits.grad[(~mask).expand_as(logits)] == 0).all()


def test_an_empty_mask_gives_zero_and_no_gradient() -> None:
    logits, target = example()
    loss = masked_cross_entropy(logits, target, torch.zeros_like(target))
    loss.backward()
    assert loss.item() == 0.0
    assert (logits.grad == 0).all()


def test_cross_entropy_alone_by_default() -> None:
    logits, target = example()
    target[0, 0, :2] = 255
    torch.testing.assert_close(
        MaskedSegmentationLoss()(logits, target), F.cross_entropy(logits, target[:, 0], ignore_index=255)
    )


@pytest.mark.parametrize("ignore", [255, None])
def test_with_dice_it_is_monais(ignore: int | None) -> None:
    logits, target = example()
    theirs = DiceCELoss(include_background=False, to_onehot_y=True, softmax=True, batch=True)
    ours = MaskedSegmentationLoss(dice_weight=1.0, ignore_index=ignore)
    torch.testing.assert_close(ours(logits, target), theirs(logits, target))


@pytest.mark.parametrize("dice_weight", [0.0, 1.0])
def test_pixels_without_a_class_teach_nothing(dice_weight: float) -> None:
    logits, target = example()
    target[:, :, 3:] = 255
    loss = MaskedSegmentationLoss(dice_weight=dice_weight)
    value = loss(logits, target)
    cut = loss(logits[:, :, :3], target[:, :, :3])
    torch.testing.assert_close(value, cut)
    value.backward()
    assert (logits.grad[:, :, 3:] == 0).all()
    assert (logits.grad[:, :, :3] != 0).any()


@pytest.mark.parametrize("dice_weight", [0.0, 1.0])
def test_slices_without_any_class_do_no_harm(dice_weight: float) -> None:
    logits, target = example()
    value = MaskedSegmentationLoss(dice_weight=dice_weight)(logits, torch.full_like(target, 255))
    value.backward()
    assert torch.isfinite(value)
    assert (logits.grad == 0).all()
