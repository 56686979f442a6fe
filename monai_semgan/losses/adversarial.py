"""Adversarial losses: non-saturating logistic for images, hinge for image-and-mask pairs.

MONAI's PatchAdversarialLoss has no softplus form and applies tanh before its hinge, so both are here.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F


def _mean_over_scales(values: list[torch.Tensor]) -> torch.Tensor:
    return torch.stack(values).mean()


def logistic_critic_loss(real: torch.Tensor | None = None, fake: torch.Tensor | None = None) -> torch.Tensor:
    """``softplus(-D(real)) + softplus(D(fake))``, mean over the batch; or the one term whose scores are given."""
    scores = [s for s in (None if real is None else -real, fake) if s is not None]
    return torch.stack([F.softplus(s).mean() for s in scores]).sum()


def logistic_generator_loss(fake: torch.Tensor) -> torch.Tensor:
    """Non-saturating ``softplus(-D(fake))``, mean over the batch."""
    return F.softplus(-fake).mean()


def hinge_critic_loss(
    real: Sequence[torch.Tensor] | None = None, fake: Sequence[torch.Tensor] | None = None
) -> torch.Tensor:
    """``(relu(1 - D(real)) + relu(1 + D(fake))) / 2``, mean over patches, then over scales; or the one term given."""
    margins = [[sign * s for s in scores] for sign, scores in ((-1, real), (1, fake)) if scores is not None]
    return _mean_over_scales([0.5 * sum(F.relu(1 + m).mean() for m in pair) for pair in zip(*margins, strict=True)])


def hinge_generator_loss(fake: Sequence[torch.Tensor]) -> torch.Tensor:
    """``-D(fake)``, mean over patches, then over scales."""
    return _mean_over_scales([-f.mean() for f in fake])


def feature_matching_loss(
    real: Sequence[Sequence[torch.Tensor]], fake: Sequence[Sequence[torch.Tensor]]
) -> torch.Tensor:
    """Mean absolute difference of the critic's hidden features, summed over layers, mean over scales.

    Real and fake are not paired, so this is a rough matching of feature moments.
    The last entry of each scale (the logits) is left out; the real features are constants.
    """
    scales = []
    for real_maps, fake_maps in zip(real, fake, strict=True):
        layers = [F.l1_loss(f, r.detach()) for r, f in zip(real_maps[:-1], fake_maps[:-1], strict=True)]
        scales.append(torch.stack(layers).sum())
    return _mean_over_scales(scales)
