"""Segmentation loss on the generator's raw mask values, as in SemanticGAN's encoder stage (2104.05833)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from monai.losses import DiceLoss
from monai.networks.utils import one_hot


class RawLabelLoss(torch.nn.Module):
    """Cross-entropy plus soft Dice with the temperatures that raw values near +-1 need.

    A raw value of 1 taken as a logit means a probability of only .73, so values are divided by a
    temperature first: .3 for one channel, and .1 (cross-entropy) and .3 (Dice) for several.

    Args:
        ce_weight, dice_weight: factors of the two terms.

    Shape: ``raw (B, 1 or K, H, W)``, ``label (B, 1, H, W)`` class indices; returns a scalar.
    """

    def __init__(self, ce_weight: float = 1.0, dice_weight: float = 1.0) -> None:
        super().__init__()
        self.ce_weight = ce_weight
        self.dice_weight = dice_weight
        # over the whole batch: a slice without the organ has no Dice of its own
        self.dice = DiceLoss(include_background=True, squared_pred=True, batch=True)
        self.class_dice = DiceLoss(include_background=False, squared_pred=True, batch=True)

    def forward(self, raw: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
        raw = raw.float()
        if raw.shape[1] == 1:
            target = (label > 0).to(raw.dtype)
            ce = F.binary_cross_entropy_with_logits(raw / 0.3, target)
            dice = self.dice(torch.sigmoid(raw / 0.3), target)
        else:
            ce = F.cross_entropy(raw / 0.1, label[:, 0].long())
            target = one_hot(label.long(), raw.shape[1], dtype=raw.dtype)
            dice = self.class_dice(torch.sigmoid(raw / 0.3), target)
        return self.ce_weight * ce + self.dice_weight * dice
