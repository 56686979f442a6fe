"""Segmentation where a pixel's class is one of several: the marginal loss of partly labelled data.

Of an unmasked pixel of a slice in which weak organs are tagged nobody knows whether it is background or one of them;
of a pixel without any label it is known that it is none of the organs that the slice does not show. Such a pixel costs
``-log`` of all that it may be, taken together.
"""

from __future__ import annotations

import torch

from .masked_cross_entropy import masked_mean


def candidate_cross_entropy(
    logits: torch.Tensor, label: torch.Tensor, candidates: torch.Tensor, unknown: int = 255
) -> torch.Tensor:
    """``-log p[label]``, or ``-log sum of p over the candidates`` where the label is ``unknown``; mean over pixels.

    Pixels that may be anything cost nothing and are not counted.

    Args:
        logits: ``(B, K, ...)``.
        label: ``(B, 1, ...)`` classes or ``unknown``.
        candidates: ``(B, K)`` bool, what an unknown pixel of that slice may be.
        unknown: the value in ``label`` that is no class.
    """
    log_p = logits.log_softmax(dim=1)
    hidden = label == unknown
    known = log_p.gather(1, torch.where(hidden, torch.zeros_like(label), label).long())
    allowed = candidates.reshape(*candidates.shape, *[1] * (logits.ndim - 2))
    # a large negative number, not minus infinity: its gradient is 0 and not NaN where nothing else is left
    joint = log_p.masked_fill(~allowed, -1e4).logsumexp(dim=1, keepdim=True)
    says_nothing = hidden & candidates.all(1).reshape(-1, *[1] * (logits.ndim - 1))
    return -masked_mean(torch.where(hidden, joint, known), ~says_nothing)


def candidate_dice_loss(
    logits: torch.Tensor, label: torch.Tensor, candidates: torch.Tensor, unknown: int = 255
) -> torch.Tensor:
    """Mean over organs of ``1 - Dice``, each over the pixels of the batch of which it is known whether they show it.

    An unknown pixel is still known not to show what is no candidate. Organs that no pixel shows are left out.

    Args:
        logits, label, candidates, unknown: see :func:`candidate_cross_entropy`; class 0 is background.
    """
    share = logits.softmax(dim=1)[:, 1:]
    organs = torch.arange(1, logits.shape[1], device=logits.device).reshape(1, -1, *[1] * (logits.ndim - 2))
    truth = (label == organs).to(share.dtype)
    maybe = candidates[:, 1:].reshape(len(logits), -1, *[1] * (logits.ndim - 2))
    known = (~((label == unknown) & maybe)).to(share.dtype)
    over = [0, *range(2, logits.ndim)]
    shown = truth.sum(over)
    dice = (2 * (share * truth).sum(over) + 1e-5) / ((share * known).sum(over) + shown + 1e-5)
    return masked_mean(1 - dice, (shown > 0).to(share.dtype))


class CandidateSegmentationLoss(torch.nn.Module):
    """:func:`candidate_cross_entropy`, on request with :func:`candidate_dice_loss`.

    Where all is known it is cross-entropy and Dice of the organs as usual.

    Args:
        ce_weight, dice_weight: factors of the two terms.
        unknown: the value in a label that is no class.

    Shape: ``logits (B, K, ...)``, ``label (B, 1, ...)``, ``candidates (B, K)`` bool; returns a scalar.
    """

    def __init__(self, ce_weight: float = 1.0, dice_weight: float = 1.0, unknown: int = 255) -> None:
        super().__init__()
        self.ce_weight, self.dice_weight, self.unknown = ce_weight, dice_weight, unknown

    def forward(self, logits: torch.Tensor, label: torch.Tensor, candidates: torch.Tensor) -> torch.Tensor:
        loss = self.ce_weight * candidate_cross_entropy(logits, label, candidates, self.unknown)
        if self.dice_weight:
            loss = loss + self.dice_weight * candidate_dice_loss(logits, label, candidates, self.unknown)
        return loss
