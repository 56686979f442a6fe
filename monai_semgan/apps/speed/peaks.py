"""The most that this machine gives: a large convolution, a large matrix product, a large copy."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from .timing import Clock

__all__ = ["measure_peaks"]


def measure_peaks(clock: Clock, rounds: int = 5, large: bool = False) -> dict[str, float]:
    """Best rates of ``rounds`` in the very process whose other figures are held against them.

    The best and not the median: it is a ceiling, and disturbance only lowers it.

    Args:
        clock: how to time, and where.
        rounds: of each.
        large: sizes for a GPU.

    Returns:
        ``conv`` and ``matmul`` in FLOP/s (float32), ``copy`` in bytes a second.
    """
    device = clock.device
    batch, width, size = (64, 256, 64) if large else (8, 256, 32)
    side = 8192 if large else 1536
    with torch.no_grad():
        x = torch.randn(batch, width, size, size, device=device).contiguous(memory_format=torch.channels_last)
        w = torch.randn(width, width, 3, 3, device=device).contiguous(memory_format=torch.channels_last)
        a, b = (torch.randn(side, side, device=device) for _ in range(2))
        source = torch.randn(2**25 if large else 2**23, device=device)
        target = torch.empty_like(source)
        work = {
            "conv": (lambda: F.conv2d(x, w, padding=1), 2.0 * 9 * batch * width * width * size * size),
            "matmul": (lambda: a @ b, 2.0 * side**3),
            "copy": (lambda: target.copy_(source), 2.0 * source.numel() * source.element_size()),
        }
        peaks = {}
        for name, (function, amount) in work.items():
            sample = clock.sample(function, rounds, name, flops=False)
            peaks[name] = amount / min(sample.seconds)
    return peaks
