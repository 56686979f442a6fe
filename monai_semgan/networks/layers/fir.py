"""Low-pass filtering and resampling with the binomial filter [1, 3, 3, 1].

StyleGAN2 (Karras et al. 2020, 1912.04958) filters before every down- and after every up-sampling,
so that neither aliases. Depthwise convolutions are the fastest form in plain PyTorch on a CPU.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import nn


def binomial_kernel(gain: float = 1.0) -> torch.Tensor:
    """Outer product of [1, 3, 3, 1] with itself, normalised to sum ``gain``; shape ``(4, 4)``."""
    taps = torch.tensor([1.0, 3.0, 3.0, 1.0])
    kernel = torch.outer(taps, taps)
    return kernel * (gain / kernel.sum())


class _Fir2d(nn.Module):
    """Holds the kernel as a buffer that is not part of the checkpoint (it is a constant)."""

    kernel: torch.Tensor

    def __init__(self, gain: float) -> None:
        super().__init__()
        self.register_buffer("kernel", binomial_kernel(gain)[None, None], persistent=False)

    def apply_filter(self, x: torch.Tensor, stride: int, padding: int, transposed: bool = False) -> torch.Tensor:
        if torch.is_grad_enabled() and x.requires_grad and not torch.jit.is_tracing():
            return _Filter.apply(x, self.kernel, stride, padding, transposed)
        return _filter(x, self.kernel, stride, padding, transposed)


def _filter(
    x: torch.Tensor, kernel: torch.Tensor, stride: int, padding: int, transposed: bool, extra: tuple[int, int] = (0, 0)
) -> torch.Tensor:
    depthwise, groups = kernel.to(x.dtype).expand(x.shape[1], 1, 4, 4), x.shape[1]
    if transposed:
        return F.conv_transpose2d(x, depthwise, None, stride, padding, extra, groups)
    return F.conv2d(x, depthwise, None, stride, padding, 1, groups)


class _Filter(torch.autograd.Function):
    """The filter as a linear map that keeps nothing for its backward pass, which is its transpose.

    Autograd's convolution keeps its input for a gradient of the kernel, which is a constant. The transpose is again
    such a filter (the kernel is symmetric), so it can be differentiated any number of times.
    """

    @staticmethod
    def forward(
        ctx: Any,
        x: torch.Tensor,
        kernel: torch.Tensor,
        stride: int,
        padding: int,
        transposed: bool,
        extra: tuple[int, int] = (0, 0),
    ) -> torch.Tensor:
        ctx.kernel, ctx.dtype = kernel, x.dtype
        made = _filter(x, kernel, stride, padding, transposed, extra)
        back = (0, 0)
        if not transposed:  # rows and columns at the end that the stride has left out
            back = tuple(
                a - ((b - 1) * stride + 4 - 2 * padding) for a, b in zip(x.shape[2:], made.shape[2:], strict=True)
            )
        ctx.transpose = (stride, padding, not transposed, back)
        return made

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        return _Filter.apply(gradient, ctx.kernel, *ctx.transpose).to(ctx.dtype), None, None, None, None, None


class FirBlur2d(_Fir2d):
    """Filter without resampling; ``padding`` zeros on every side, so the size grows by 2 p - 3."""

    def __init__(self, padding: int = 1, gain: float = 1.0) -> None:
        super().__init__(gain)
        self.padding = padding

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.apply_filter(x, stride=1, padding=self.padding)


class FirUpsample2d(_Fir2d):
    """Zero insertion by two, then the filter with gain 4: ``(B, C, H, W)`` to ``(B, C, 2H, 2W)``."""

    def __init__(self) -> None:
        super().__init__(gain=4.0)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        # a transposed convolution with stride 2 is zero insertion and filtering in one
        return self.apply_filter(x, stride=2, padding=1, transposed=True)


class FirDownsample2d(_Fir2d):
    """The filter, then every second pixel: ``(B, C, H, W)`` to ``(B, C, H/2, W/2)``."""

    def __init__(self) -> None:
        super().__init__(gain=1.0)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        # stride 2 computes only the pixels that are kept
        return self.apply_filter(x, stride=2, padding=1)
