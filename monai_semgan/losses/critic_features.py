"""Perceptual distance in the feature space of the package's own image critic.

Needs no downloaded network and knows the modality, unlike VGG features of photographs (LPIPS).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch


def feature_distance(
    prediction: Sequence[torch.Tensor], target: Sequence[torch.Tensor], reduction: str = "mean"
) -> torch.Tensor:
    """Squared distance of channel-normalised features, averaged over positions and summed over layers.

    Args:
        prediction, target: feature maps ``(B, C_l, h_l, w_l)`` of equal shapes.
        reduction: ``"mean"`` or ``"none"`` (one value a sample, ``(B,)``).
    """
    total = torch.zeros(prediction[0].shape[0], device=prediction[0].device)
    for p, t in zip(prediction, target, strict=True):
        p, t = p.float(), t.float()
        p = p * torch.rsqrt(p.square().sum(dim=1, keepdim=True) + 1e-8)
        t = t * torch.rsqrt(t.square().sum(dim=1, keepdim=True) + 1e-8)
        total = total + (p - t).square().sum(dim=1).mean(dim=(1, 2))
    return total if reduction == "none" else total.mean()
