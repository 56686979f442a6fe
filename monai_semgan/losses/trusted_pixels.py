"""Which pixels of a prediction may teach; the indicator I(D >= T_semi) of AdvSemiSeg (Hung et al. 2018, 1802.07934)."""

from __future__ import annotations

from collections.abc import Sequence

import torch


def trusted_pixels(
    confidence: torch.Tensor, predicted: torch.Tensor, threshold: float | Sequence[float] = 0.2
) -> torch.Tensor:
    """Pixels whose confidence ``s(D)`` reaches the threshold; constants, no gradient goes through.

    Args:
        confidence: the discriminator's logits ``(B, 1, ...)``.
        predicted: classes ``(B, 1, ...)`` of the same pixels.
        threshold: of the probability, one number, or one for each class as predicted. 0 trusts everything, more than 1
            nothing.

    Returns:
        bool ``(B, 1, ...)``.

    Raises:
        ValueError: a class is predicted for which there is no threshold.
    """
    probability = torch.sigmoid(confidence.detach().float())
    if isinstance(threshold, (int, float)):
        return probability >= threshold
    if len(threshold) <= int(predicted.max()):
        raise ValueError(f"threshold: got {len(threshold)} values, and class {int(predicted.max())} was predicted")
    table = torch.tensor([float(t) for t in threshold], device=probability.device)
    return probability >= table[predicted.long()]


def cap_background(trusted: torch.Tensor, predicted: torch.Tensor, share: float = 1.0) -> torch.Tensor:
    """Weights of the trusted pixels in which background has at most ``share`` of the whole.

    Most of a slice is background, and easily trusted: left alone, it is most of what self-training sees.

    Args:
        trusted: bool ``(B, 1, ...)``.
        predicted: classes ``(B, 1, ...)``, 0 is background.
        share: 0..1; 1 changes nothing. Without a trusted organ pixel, a lower share leaves nothing.

    Returns:
        weights ``(B, 1, ...)`` in 0..1, float.
    """
    weight = trusted.float()
    if share >= 1.0:
        return weight
    background = trusted & (predicted == 0)
    organs = weight.sum() - background.sum()
    factor = (share / (1.0 - share) * organs / background.sum().clamp(min=1)).clamp(max=1.0)
    return torch.where(background, factor, weight)
