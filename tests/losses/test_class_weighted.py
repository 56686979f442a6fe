"""Small organs count as large ones do."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from monai_semgan.losses import ClassWeightedLoss


def test_plain_is_cross_entropy() -> None:
    logits, label = torch.randn(2, 3, 8, 8), torch.randint(3, (2, 1, 8, 8))
    plain = ClassWeightedLoss(dice_weight=0.0, weighted=False)(logits, label)
    torch.testing.assert_close(plain, F.cross_entropy(logits, label[:, 0]))


def test_an_organ_of_a_few_pixels_is_not_lost() -> None:
    label = torch.zeros(1, 1, 16, 16, dtype=torch.long)
    label[..., :2, :2] = 1
    missed = torch.zeros(1, 2, 16, 16)
    missed[:, 0] = 3.0  # background everywhere, rather sure
    found = missed.clone()
    found[:, 1, :2, :2] = 6.0
    weighted, plain = ClassWeightedLoss(dice_weight=0.0), ClassWeightedLoss(dice_weight=0.0, weighted=False)
    gains = [float(loss(missed, label) / loss(found, label)) for loss in (weighted, plain)]
    assert gains[0] > gains[1] > 1
    assert float(ClassWeightedLoss()(missed, label) - ClassWeightedLoss()(found, label)) > 0.5


def test_a_class_that_is_absent_does_no_harm() -> None:
    logits = torch.randn(1, 4, 8, 8, requires_grad=True)
    ClassWeightedLoss()(logits, torch.randint(2, (1, 1, 8, 8))).backward()
    assert torch.isfinite(logits.grad).all()
