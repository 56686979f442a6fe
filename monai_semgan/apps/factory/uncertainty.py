"""How sure a source is of a mask: the same sample drawn again with disturbed styles."""

from __future__ import annotations

import math

import torch

__all__ = ["score_uncertainty"]


def score_uncertainty(probabilities: torch.Tensor) -> dict[str, float]:
    """Entropy and agreement of several views of one sample.

    Args:
        probabilities: ``(V, D, K, S, S)``; the first view is the sample itself.

    Returns:
        ``entropy``: of the mean over views, 0 (sure) to 1 (nothing known), averaged over the pixels that any view
        calls an organ, or over all pixels when none does. ``agreement``: mean Dice of the other views' organs with
        the first one's, 1 when neither has any.
    """
    labels = probabilities.argmax(dim=2)
    mean = probabilities.mean(dim=0).clamp_min(1e-8)
    entropy = -(mean * mean.log()).sum(dim=1) / math.log(probabilities.shape[2])
    organ = (labels > 0).any(dim=0)
    agreements = [_dice(labels[0], other, probabilities.shape[2]) for other in labels[1:]]
    return {
        "entropy": float(entropy[organ].mean() if organ.any() else entropy.mean()),
        "agreement": sum(agreements) / len(agreements) if agreements else 1.0,
    }


def _dice(first: torch.Tensor, second: torch.Tensor, classes: int) -> float:
    scores = []
    for index in range(1, classes):
        a, b = first == index, second == index
        if (total := int(a.sum() + b.sum())) > 0:
            scores.append(2 * int((a & b).sum()) / total)
    return sum(scores) / len(scores) if scores else 1.0
