"""Cross-entropy of chosen pixels, and cross-entropy with Dice where some pixels have no label.

``torch.nn.functional.cross_entropy`` gives NaN when every pixel is ignored, and MONAI's DiceCELoss stops at a label
that is no class.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from monai.losses import DiceLoss


def masked_mean(values: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
    """Mean of ``values`` over ``mask`` (bool, or weights); 0 with a graph where nothing is chosen."""
    if mask is None:
        return values.mean()
    weight = mask.to(values.dtype).expand_as(values)
    return (values * weight).sum() / weight.sum().clamp(min=1.0)


def masked_cross_entropy(logits: torch.Tensor, target: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
    """``-log softmax(logits)[target]``, mean over the pixels of ``mask``.

    Args:
        logits: ``(B, K, ...)``.
        target: ``(B, 1, ...)`` class indices; outside of the mask they may be anything.
        mask: ``(B, 1, ...)``, pixels that count, or their weights; None: all. With none left the loss is 0, and so is
            every gradient.
    """
    classes = target[:, 0].long()
    if mask is None:
        return F.cross_entropy(logits, classes)
    classes = torch.where(mask[:, 0] > 0, classes, torch.zeros_like(classes))
    return masked_mean(F.cross_entropy(logits, classes, reduction="none"), mask[:, 0])


class MaskedSegmentationLoss(torch.nn.Module):
    """Cross-entropy, on request with soft Dice of the organs, where one label value means "not known".

    Args:
        ce_weight, dice_weight: factors of the two terms; with 1 and 1, and nothing to ignore, it is MONAI's
            ``DiceCELoss(include_background=False, to_onehot_y=True, softmax=True, batch=True)``.
        ignore_index: value of the label whose pixels do not count (None: all count).

    Shape: ``logits (B, K, ...)``, ``label (B, 1, ...)`` class indices; returns a scalar.
    """

    def __init__(self, ce_weight: float = 1.0, dice_weight: float = 0.0, ignore_index: int | None = 255) -> None:
        super().__init__()
        self.ce_weight = ce_weight
        self.dice_weight = dice_weight
        self.ignore_index = ignore_index
        # over the whole batch: a slice without the organ has no Dice of its own
        self.dice = DiceLoss(
            include_background=False, to_onehot_y=True, softmax=True, batch=True, ignore_index=ignore_index
        )

    def forward(self, logits: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
        mask = None if self.ignore_index is None else label != self.ignore_index
        loss = self.ce_weight * masked_cross_entropy(logits, label, mask)
        if self.dice_weight:
            loss = loss + self.dice_weight * self.dice(logits, label.long())
        return loss
