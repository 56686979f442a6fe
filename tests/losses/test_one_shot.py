"""Sinkhorn assignments and swapped prediction."""

from __future__ import annotations

import math

import pytest
import torch

from monai_semgan.losses import SwappedPredictionLoss, sinkhorn_assignment
from monai_semgan.utils import InputError


def scores(count: int = 400, prototypes: int = 20, seed: int = 0) -> torch.Tensor:
    draw = torch.Generator().manual_seed(seed)
    a, b = torch.randn(count, 8, generator=draw), torch.randn(prototypes, 8, generator=draw)
    return torch.nn.functional.normalize(a, dim=1) @ torch.nn.functional.normalize(b, dim=1).t()


def test_rows_sum_to_one_and_prototypes_are_used_alike() -> None:
    q = sinkhorn_assignment(scores(), epsilon=0.05, iterations=30)
    torch.testing.assert_close(q.sum(dim=1), torch.ones(400))
    share = q.sum(dim=0) / 400 * 20
    assert float((share - 1).abs().max()) < 0.05


@pytest.mark.parametrize("epsilon", [0.05, 0.005, 0.001])
def test_log_domain_is_finite_where_the_released_code_is_not(epsilon: float) -> None:
    sharp = torch.cat([scores(), torch.ones(1, 20)])  # a cosine of 1, exp(1 / .005) overflows
    assert torch.isfinite(sinkhorn_assignment(sharp, epsilon)).all()
    if epsilon < 0.01:
        assert not torch.isfinite(sinkhorn_assignment(sharp, epsilon, domain="exp")).all()


def test_both_domains_agree_where_both_can() -> None:
    one, other = (sinkhorn_assignment(scores(), 0.1, 5, domain) for domain in ("log", "exp"))
    torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)


def test_scores_that_say_nothing_cost_log_p() -> None:
    flat = torch.zeros(50, 20)
    assert float(SwappedPredictionLoss()(flat, flat)) == pytest.approx(math.log(20), rel=1e-5)


def test_it_is_symmetric_and_lower_for_views_that_agree() -> None:
    loss = SwappedPredictionLoss()
    one, other = scores(), scores(seed=1)
    torch.testing.assert_close(loss(one, other), loss(other, one))
    assert float(loss(one, one)) < float(loss(one, other))


def test_assignments_carry_no_gradient() -> None:
    one, other = scores().requires_grad_(), scores(seed=1)
    SwappedPredictionLoss()(one, other).backward()
    predicted = torch.softmax(one.detach() / 0.1, dim=1)
    wanted = (predicted - sinkhorn_assignment(other)) / (2 * 0.1 * len(one))
    torch.testing.assert_close(one.grad, wanted, rtol=1e-3, atol=1e-6)


def test_options_are_checked() -> None:
    with pytest.raises(InputError, match="temperature 0"):
        SwappedPredictionLoss(temperature=0)
    with pytest.raises(InputError, match="sinkhorn_domain: got 'ln'"):
        SwappedPredictionLoss(domain="ln")
