"""The mask loss on raw values: perfect, wrong, and better on the way."""

from __future__ import annotations

import pytest
import torch

from monai_semgan.losses import RawLabelLoss
from monai_semgan.transforms import encode_label


def masks(classes: int) -> torch.Tensor:
    label = torch.zeros(2, 1, 8, 8, dtype=torch.uint8)
    for k in range(1, classes):
        label[0, 0, k : k + 3, k : k + 3] = k
    label[1, 0, :3, :3] = classes - 1
    return label


@pytest.mark.parametrize("classes", [2, 3, 5])
def test_perfect_raw_values_cost_nothing(classes: int) -> None:
    label = masks(classes)
    assert RawLabelLoss()(10 * encode_label(label, classes), label).item() < 1e-3


@pytest.mark.parametrize("classes", [2, 3, 5])
def test_raw_values_of_one_are_already_good(classes: int) -> None:
    """The critics drive raw values to +-1; as plain logits they would be weak."""
    label = masks(classes)
    code = encode_label(label, classes)
    loss = RawLabelLoss()
    good, half, wrong = loss(code, label), loss(0.3 * code, label), loss(-code, label)
    assert good < 0.15
    assert good < half < wrong


@pytest.mark.parametrize("classes", [2, 4])
def test_gradient_points_to_the_mask(classes: int) -> None:
    label = masks(classes)
    raw = torch.zeros(2, 1 if classes == 2 else classes, 8, 8, requires_grad=True)
    RawLabelLoss()(raw, label).backward()
    code = encode_label(label, classes)
    assert (-(raw.grad) * code).sum() > 0
    assert (-(raw.grad) * code >= 0).float().mean() > 0.7


def test_a_slice_without_the_organ_has_a_finite_gradient() -> None:
    raw = torch.full((2, 1, 8, 8), -0.5, requires_grad=True)
    loss = RawLabelLoss()(raw, torch.zeros(2, 1, 8, 8, dtype=torch.uint8))
    loss.backward()
    assert torch.isfinite(loss)
    assert torch.isfinite(raw.grad).all()


def test_dice_is_taken_over_the_batch() -> None:
    """A correct empty slice must not change what a slice with the organ costs."""
    label = masks(2)[:1]
    code = 10 * encode_label(label)
    empty = torch.zeros_like(label)
    dice = RawLabelLoss(ce_weight=0.0)
    pair = dice(torch.cat([-code, -10 * torch.ones_like(code)]), torch.cat([label, empty]))
    assert pair.item() == pytest.approx(dice(-code, label).item(), abs=1e-3)


def test_weights() -> None:
    label = masks(2)
    raw = torch.randn(2, 1, 8, 8)
    ce, dice = RawLabelLoss(1, 0)(raw, label), RawLabelLoss(0, 1)(raw, label)
    torch.testing.assert_close(RawLabelLoss(2.0, 3.0)(raw, label), 2 * ce + 3 * dice)


def test_low_precision_raw_values_are_taken_to_float32() -> None:
    label = masks(2)
    assert RawLabelLoss()(encode_label(label).bfloat16(), label).dtype == torch.float32
