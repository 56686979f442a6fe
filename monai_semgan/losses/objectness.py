"""What is an object, whichever: targets and loss of the label transfer network (Xiao et al. 2018, 1711.06828)."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from .confidence import masked_bce_with_logits


def objectness_target(
    label: torch.Tensor, image: torch.Tensor, ring: int = 2, air: float = -0.95, unknown: int = 255
) -> tuple[torch.Tensor, torch.Tensor]:
    """Merge all organs into one foreground, and say of which pixels it is known.

    An unknown pixel may be a weak organ. Called background, it would teach that such organs are no objects, which is
    the opposite of what is to be transferred. It counts as background only in air, and within ``ring`` pixels of a
    masked organ, where an outline has to end.

    Args:
        label: ``(B, 1, H, W)`` classes or ``unknown``.
        image: ``(B, 1, H, W)`` in [-1, 1].
        ring: pixels.
        air: grey value up to which there is no tissue.
        unknown: the value in ``label`` that is no class.

    Returns:
        foreground, and the pixels of which it is known; both ``(B, 1, H, W)`` float.
    """
    hidden = label == unknown
    target = ((label > 0) & ~hidden).float()
    near = F.max_pool2d(target, 2 * ring + 1, stride=1, padding=ring) if ring > 0 else target
    return target, (~hidden | (near > 0) | (image <= air)).float()


def objectness_loss(logits: torch.Tensor, target: torch.Tensor, valid: torch.Tensor) -> torch.Tensor:
    """L_L: binary cross-entropy plus one minus soft Dice, over the pixels of ``valid``.

    Args:
        logits: ``(B, 1, ...)``.
        target, valid: see :func:`objectness_target`. Without a valid foreground pixel, Dice is left out.
    """
    share = torch.sigmoid(logits) * valid
    truth = target * valid
    dice = (2 * (share * truth).sum() + 1e-5) / (share.sum() + truth.sum() + 1e-5)
    return masked_bce_with_logits(logits, target, valid) + (1 - dice) * (truth.sum() > 0)
