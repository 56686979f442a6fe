"""Adversarial losses pixel by pixel, with pixels that do not count; AdvSemiSeg (Hung et al. 2018, 1802.07934).

The paper sums over pixels; here, as in its published code, everything is a mean, and its weights belong to means.
MONAI's PatchAdversarialLoss has no mask, and takes a sigmoid before the logarithm, which loses far-off logits.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F

from .masked_cross_entropy import masked_mean


def masked_bce_with_logits(
    logits: torch.Tensor, target: float | torch.Tensor, mask: torch.Tensor | None = None
) -> torch.Tensor:
    """Binary cross-entropy ``-t log s(z) - (1 - t) log(1 - s(z))``, mean over the pixels of ``mask``.

    Args:
        logits: ``(B, 1, ...)``.
        target: one number in 0..1 for all pixels, or a tensor that broadcasts to the logits.
        mask: ``(B, 1, ...)``, pixels that count, or their weights; None: all. With none left the loss is 0, and so is
            every gradient.
    """
    target = torch.as_tensor(target, dtype=logits.dtype, device=logits.device).expand_as(logits)
    return masked_mean(F.binary_cross_entropy_with_logits(logits, target, reduction="none"), mask)


def confidence_adversarial_loss(fake: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
    """L_adv, ``-log s(D(P))`` per pixel: small where a prediction is taken for a reference mask.

    Args:
        fake: logits ``(B, 1, ...)`` of predictions, with a graph to the segmenter.
        mask: see :func:`masked_bce_with_logits`.
    """
    return masked_bce_with_logits(fake, 1.0, mask)


def confidence_discriminator_loss(
    real: torch.Tensor,
    fake: torch.Tensor,
    real_mask: torch.Tensor | None = None,
    fake_mask: torch.Tensor | None = None,
    real_target: float = 1.0,
) -> tuple[torch.Tensor, torch.Tensor]:
    """L_D as its two halves, ``-log s(D(Y)) / 2`` and ``-log(1 - s(D(P))) / 2`` per pixel; the loss is their sum.

    Args:
        real: logits ``(B, 1, ...)`` of one-hot reference masks.
        fake: logits ``(B, 1, ...)`` of predictions.
        real_mask, fake_mask: see :func:`masked_bce_with_logits`.
        real_target: below 1 for one-sided label smoothing.

    Returns:
        the half of the references and the half of the predictions.
    """
    return (
        0.5 * masked_bce_with_logits(real, real_target, real_mask),
        0.5 * masked_bce_with_logits(fake, 0.0, fake_mask),
    )
