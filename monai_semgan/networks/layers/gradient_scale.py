"""Identity in the forward pass, a scaled gradient in the backward pass."""

from __future__ import annotations

import torch


def scale_gradient(x: torch.Tensor, scale: float) -> torch.Tensor:
    """Return ``x`` with its gradient multiplied by ``scale`` (0 blocks it, 1 leaves it)."""
    if scale == 1.0:
        return x
    if scale == 0.0:
        return x.detach()
    return x * scale + x.detach() * (1.0 - scale)
