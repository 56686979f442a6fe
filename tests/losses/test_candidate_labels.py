"""Losses of partly labelled pixels: the usual ones where all is known, and honest where it is not."""

from __future__ import annotations

import pytest
import torch
from monai.losses import DiceCELoss

from monai_semgan.losses import CandidateSegmentationLoss, candidate_cross_entropy, candidate_dice_loss

UNKNOWN = 255


@pytest.fixture
def logits() -> torch.Tensor:
    return torch.randn(2, 4, 6, 6, generator=torch.Generator().manual_seed(0), requires_grad=True)


@pytest.fixture
def label() -> torch.Tensor:
    return torch.randint(0, 4, (2, 1, 6, 6), generator=torch.Generator().manual_seed(1))


def test_where_all_is_known_it_is_the_usual_loss(logits: torch.Tensor, label: torch.Tensor) -> None:
    usual = DiceCELoss(include_background=False, to_onehot_y=True, softmax=True, batch=True)(logits, label)
    for candidates in (torch.ones(2, 4) > 0, torch.eye(4)[:2] > 0):
        torch.testing.assert_close(CandidateSegmentationLoss()(logits, label, candidates), usual, rtol=1e-5, atol=1e-5)


def test_an_unknown_pixel_costs_what_all_its_candidates_leave(logits: torch.Tensor) -> None:
    label = torch.full((2, 1, 6, 6), UNKNOWN)
    candidates = torch.tensor([[True, True, False, False], [True, False, False, True]])
    p = logits.softmax(1)
    wanted = -torch.stack([(p[0, 0] + p[0, 1]).log(), (p[1, 0] + p[1, 3]).log()]).mean()
    torch.testing.assert_close(candidate_cross_entropy(logits, label, candidates), wanted)


def test_background_alone_as_candidate_is_background(logits: torch.Tensor, label: torch.Tensor) -> None:
    alone = torch.tensor([[True, False, False, False]] * 2)
    hidden = torch.where(label == 0, torch.full_like(label, UNKNOWN), label)
    torch.testing.assert_close(
        candidate_cross_entropy(logits, hidden, alone), candidate_cross_entropy(logits, label, alone)
    )


def test_pixels_that_may_be_anything_do_not_count(logits: torch.Tensor, label: torch.Tensor) -> None:
    anything = torch.ones(2, 4) > 0
    half = label.clone()
    half[..., 3:] = UNKNOWN
    part = candidate_cross_entropy(logits[..., :3], label[..., :3], anything)
    torch.testing.assert_close(candidate_cross_entropy(logits, half, anything), part)
    none = torch.full_like(label, UNKNOWN)
    loss = CandidateSegmentationLoss()(logits, none, anything)
    (gradient,) = torch.autograd.grad(loss, logits)
    assert loss == 0
    assert (gradient == 0).all()


def test_a_candidate_is_not_pushed_down_and_others_are(logits: torch.Tensor) -> None:
    label = torch.full((2, 1, 6, 6), UNKNOWN)
    candidates = torch.tensor([[True, True, False, False]] * 2)
    (gradient,) = torch.autograd.grad(candidate_cross_entropy(logits, label, candidates), logits)
    assert (gradient[:, :2] <= 0).all()
    assert (gradient[:, 2:] >= 0).all()


def test_far_off_logits_stay_finite() -> None:
    logits = torch.tensor([-200.0, -200.0, 200.0]).reshape(1, 3, 1, 1).requires_grad_()
    label, candidates = torch.full((1, 1, 1, 1), UNKNOWN), torch.tensor([[True, True, False]])
    loss = candidate_cross_entropy(logits, label, candidates)
    (gradient,) = torch.autograd.grad(loss, logits)
    assert loss.item() == pytest.approx(400 - 0.6931, abs=1e-2)
    assert gradient.isfinite().all()


def test_dice_of_a_candidate_leaves_unknown_pixels_out(logits: torch.Tensor, label: torch.Tensor) -> None:
    candidates = torch.tensor([[True, True, False, False]] * 2)
    half = label.clone()
    half[..., 3:] = UNKNOWN
    loss = candidate_dice_loss(logits, half, candidates)
    (gradient,) = torch.autograd.grad(loss, logits)
    # organs 2 and 3 are known not to be there, organ 1 may be
    p = logits.softmax(1)[:, 1:]
    truth = torch.cat([half == c for c in (1, 2, 3)], 1).float()
    known = torch.ones_like(p)
    known[:, 0, :, 3:] = 0
    dice = 2 * (p * truth).sum((0, 2, 3)) / ((p * known).sum((0, 2, 3)) + truth.sum((0, 2, 3)))
    torch.testing.assert_close(loss, (1 - dice).mean(), rtol=1e-4, atol=1e-4)
    assert gradient[..., 3:].abs().sum() > 0


def test_organs_that_nobody_shows_have_no_dice(logits: torch.Tensor) -> None:
    label = torch.zeros(2, 1, 6, 6, dtype=torch.long)
    assert candidate_dice_loss(logits, label, torch.ones(2, 4) > 0) == 0
    label[0, 0, :3] = 2
    one = candidate_dice_loss(logits, label, torch.ones(2, 4) > 0)
    p = logits.softmax(1)[:, 2]
    dice = 2 * p[0, :3].sum() / (p.sum() + 18)
    torch.testing.assert_close(one, 1 - dice, rtol=1e-4, atol=1e-4)


def test_three_dimensions() -> None:
    logits, label = torch.randn(1, 3, 4, 4, 4), torch.randint(0, 3, (1, 1, 4, 4, 4))
    assert CandidateSegmentationLoss()(logits, label, torch.ones(1, 3) > 0).isfinite()
