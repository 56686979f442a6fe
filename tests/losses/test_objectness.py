"""Targets without classes: an unknown organ is never called background."""

from __future__ import annotations

import pytest
import torch

from monai_semgan.losses import objectness_loss, objectness_target

UNKNOWN = 255


def make_label() -> torch.Tensor:
    label = torch.full((1, 1, 12, 12), UNKNOWN)
    label[0, 0, 4:6, 4:6] = 3
    return label


def test_all_organs_are_one_foreground() -> None:
    label = torch.tensor([0, 1, 2, 7]).reshape(1, 1, 2, 2)
    target, valid = objectness_target(label, torch.zeros(1, 1, 2, 2))
    assert target.flatten().tolist() == [0, 1, 1, 1]
    assert valid.all()


@pytest.mark.parametrize(("ring", "pixels"), [(0, 4), (1, 16), (2, 36)])
def test_unknown_pixels_count_in_a_ring_alone(ring: int, pixels: int) -> None:
    target, valid = objectness_target(make_label(), torch.zeros(1, 1, 12, 12), ring)
    assert target.sum() == 4
    assert valid.sum() == pixels


def test_air_is_no_organ() -> None:
    image = torch.zeros(1, 1, 12, 12)
    image[..., :2, :] = -1.0
    valid = objectness_target(make_label(), image, ring=0)[1]
    assert valid[..., :2, :].all()
    assert valid.sum() == 24 + 4


def test_what_is_not_valid_has_no_gradient() -> None:
    target, valid = objectness_target(make_label(), torch.zeros(1, 1, 12, 12), ring=1)
    logits = torch.randn(1, 1, 12, 12, requires_grad=True)
    (gradient,) = torch.autograd.grad(objectness_loss(logits, target, valid), logits)
    assert (gradient[valid == 0] == 0).all()
    assert (gradient[valid > 0] != 0).all()
    assert (gradient[target > 0] < 0).all()


def test_right_answers_cost_little_and_empty_slices_are_fine() -> None:
    target, valid = objectness_target(make_label(), torch.zeros(1, 1, 12, 12))
    assert objectness_loss(20 * (2 * target - 1), target, valid) < 1e-3
    assert objectness_loss(-20 * (2 * target - 1), target, valid) > 5
    none = torch.zeros_like(target)
    assert objectness_loss(torch.full_like(target, -20.0), none, valid) < 1e-3
    assert objectness_loss(torch.zeros_like(target), none, none) == 0
