"""Swapped prediction of cluster assignments between two views (Caron et al. 2020, 2006.09882; 2303.05639)."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import nn

from ..utils import InputError

__all__ = ["SwappedPredictionLoss", "sinkhorn_assignment"]


@torch.no_grad()
def sinkhorn_assignment(
    scores: torch.Tensor, epsilon: float = 0.05, iterations: int = 5, domain: str = "log"
) -> torch.Tensor:
    """Soft assignment of samples to prototypes, all prototypes used alike (Sinkhorn and Knopp).

    Args:
        scores: ``(N, P)`` similarities, in about [-1, 1].
        epsilon: of the entropy: small makes hard assignments.
        iterations: of the two normalisations.
        domain: ``"log"`` is finite for any epsilon. ``"exp"``, as in the released code, overflows in float32 as soon
            as a score exceeds 88 epsilon.

    Returns:
        ``(N, P)``: each row sums to 1, each column to about N / P.
    """
    count, prototypes = scores.shape
    if domain == "exp":
        q = torch.exp(scores.float() / epsilon)
        q = q / q.sum()
        for _ in range(iterations):
            q = q / (q.sum(dim=0, keepdim=True) * prototypes)
            q = q / (q.sum(dim=1, keepdim=True) * count)
        return q * count
    q = scores.float() / epsilon
    for _ in range(iterations):
        q = q - torch.logsumexp(q, dim=0, keepdim=True) - math.log(prototypes)
        q = q - torch.logsumexp(q, dim=1, keepdim=True) - math.log(count)
    return torch.exp(q + math.log(count))


class SwappedPredictionLoss(nn.Module):
    """Each view's assignment is predicted from the other's scores; assignments carry no gradient.

    ``-1/2 [mean_n sum_k Q_s log softmax(S_t / T) + mean_n sum_k Q_t log softmax(S_s / T)]``

    Args:
        temperature: T. The released .01 lets the loss explode for unit vectors; .1 is SwAV's.
        epsilon, iterations, domain: see :func:`sinkhorn_assignment`.

    Shape: two ``(N, P)`` scores of the same pixels to a scalar; log P for scores that say nothing.
    """

    def __init__(
        self, temperature: float = 0.1, epsilon: float = 0.05, iterations: int = 5, domain: str = "log"
    ) -> None:
        super().__init__()
        if not temperature > 0 or not epsilon > 0 or iterations < 1:
            raise InputError(
                "swapped prediction", got=f"temperature {temperature}, epsilon {epsilon}, iterations {iterations}",
                wanted="temperature and epsilon above 0, 1 iteration or more",
            )  # fmt: skip
        if domain not in ("log", "exp"):
            raise InputError("option sinkhorn_domain", got=repr(domain), wanted="'log' or 'exp'")
        self.temperature, self.epsilon, self.iterations, self.domain = temperature, epsilon, iterations, domain

    def forward(self, first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
        assigned = [sinkhorn_assignment(s, self.epsilon, self.iterations, self.domain) for s in (first, second)]
        predicted = [F.log_softmax(s.float() / self.temperature, dim=1) for s in (first, second)]
        one = (assigned[0] * predicted[1]).sum(dim=1).mean()
        other = (assigned[1] * predicted[0]).sum(dim=1).mean()
        return -0.5 * (one + other)
