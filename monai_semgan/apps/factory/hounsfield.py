"""The networks' range and the files' units."""

from __future__ import annotations

import numpy as np
import torch

__all__ = ["from_hounsfield", "to_hounsfield"]

CT_WINDOW = (-125.0, 275.0)
"""The window of ``ScaleScanIntensity``: read back through it, a file has the values that were judged."""


def to_hounsfield(image: torch.Tensor) -> np.ndarray:
    """[-1, 1] to whole HU, int16."""
    low, high = CT_WINDOW
    return np.rint((image.double().cpu().numpy() + 1) / 2 * (high - low) + low).astype(np.int16)


def from_hounsfield(values: np.ndarray) -> torch.Tensor:
    """Undo :func:`to_hounsfield`, but for the rounding."""
    low, high = CT_WINDOW
    return torch.from_numpy((values - low) / (high - low) * 2 - 1).float()
