"""Energy distance between two samples: a match of distributions without a critic."""

from __future__ import annotations

import torch


def energy_distance(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """``2 E|a-b| - E|a-a'| - E|b-b'|`` of two samples (Szekely and Rizzo 2013), zero iff equal laws.

    Ties the encoder's latents to the mapping network's during the autoencoder warm start, so that
    the prior already covers the training images when the adversarial game begins.

    Shape: ``a (N, D)``, ``b (M, D)`` to a scalar; unbiased over pairs of different members.
    """
    n, m = a.shape[0], b.shape[0]
    # above 25 rows cdist multiplies matrices, many times faster; it loses digits far from the origin only
    centre = b.detach().mean(dim=0)
    a, b = a - centre, b - centre
    cross = torch.cdist(a, b).mean()
    within_a = torch.cdist(a, a).sum() / max(1, n * (n - 1))
    within_b = torch.cdist(b, b).sum() / max(1, m * (m - 1))
    return 2 * cross - within_a - within_b
