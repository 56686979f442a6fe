"""Segmentation loss for a single annotated image, where an organ may be a few pixels."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from monai.losses import DiceLoss
from monai.networks.utils import one_hot
from torch import nn

__all__ = ["ClassWeightedLoss"]


class ClassWeightedLoss(nn.Module):
    """Cross-entropy with classes weighted by ``1 / sqrt(their share of the pixels)``, plus Dice of the organs.

    Args:
        dice_weight: of the second term.
        weighted: weight the classes; without it and with ``dice_weight`` 0 it is plain cross-entropy.

    Shape: logits ``(B, K, ...)``, index map ``(B, 1, ...)`` to a scalar.
    """

    def __init__(self, dice_weight: float = 1.0, weighted: bool = True) -> None:
        super().__init__()
        self.dice_weight, self.weighted = dice_weight, weighted
        self.dice = DiceLoss(include_background=False, softmax=True, batch=True)

    def forward(self, logits: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
        target, classes = label[:, 0].long(), logits.shape[1]
        weight = None
        if self.weighted:
            share = torch.bincount(target.flatten(), minlength=classes).to(logits.dtype) / target.numel()
            weight = torch.where(share > 0, share.clamp(min=1e-8).rsqrt(), torch.zeros_like(share))
        total = F.cross_entropy(logits, target, weight=weight)
        if self.dice_weight:
            reference = one_hot(label.long(), classes, dtype=logits.dtype)
            total = total + self.dice_weight * self.dice(logits, reference)
        return total
