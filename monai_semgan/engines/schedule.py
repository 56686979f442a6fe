"""Learning-rate schedules that the engines share: factors on the first or the peak rate."""

from __future__ import annotations

import math


def warmup_cosine(iteration: int, total_iterations: int, warmup: int = 50, floor: float = 0.02) -> float:
    """Factor on the peak rate: linear over ``warmup`` iterations, then a half cosine down to ``floor``."""
    cosine = 0.5 + 0.5 * math.cos(math.pi * min(1.0, iteration / max(1, total_iterations)))
    return min(1.0, (iteration + 1) / warmup) * (floor + (1.0 - floor) * cosine)


def poly_decay(iteration: int, total_iterations: int, power: float = 0.9) -> float:
    """Factor on the first rate: ``(1 - iteration / total_iterations) ** power`` (DeepLab, 1606.00915)."""
    return (1.0 - min(1.0, iteration / max(1, total_iterations))) ** power
