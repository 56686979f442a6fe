"""Cross-entropy of a grid of codes, where a mask may not say everything (GSS, 2303.11316)."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from .masked_cross_entropy import masked_cross_entropy

__all__ = ["labelled_cells", "token_cross_entropy"]


def labelled_cells(known: torch.Tensor, stride: int) -> torch.Tensor:
    """Places of the grid that count: those with any known pixel, ``(B, 1, h, w[, d])`` bool.

    Args:
        known: ``(B, 1, H, W[, D])``, whether a pixel has a label.
        stride: pixels of a place.
    """
    pool = F.max_pool2d if known.ndim == 4 else F.max_pool3d
    return pool(known.float(), stride) > 0


def token_cross_entropy(logits: torch.Tensor, codes: torch.Tensor, known: torch.Tensor | None = None) -> torch.Tensor:
    """``-log p(code)``, mean over the places that count.

    Args:
        logits: ``(B, N, h, w[, d])``.
        codes: indices ``(B, h, w[, d])``.
        known: of :func:`labelled_cells`; None: all. With none left it is 0, and so is every gradient.
    """
    return masked_cross_entropy(logits, codes[:, None], known)
