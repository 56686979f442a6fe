"""Low-pass filtering and resampling with the binomial filter [1, 3, 3, 1].

StyleGAN2 (Karras et al. 2020, 1912.04958) filters before every down- and after every up-sampling,
so that neither aliases. Depthwise convolutions are the fastest form in plain PyTorch on a CPU.
"""

from __future__ import annotations

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

    def depthwise_kernel(self, x: torch.Tensor) -> torch.Tensor:
        return self.kernel.to(x.dtype).expand(x.shape[1], 1, 4, 4)


class FirBlur2d(_Fir2d):
    """Filter without resampling; ``padding`` zeros on every side, so the size grows by 2 p - 3."""

    def __init__(self, padding: int = 1, gain: float = 1.0) -> None:
        super().__init__(gain)
        self.padding = padding

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.conv2d(x, self.depthwise_kernel(x), padding=self.padding, groups=x.shape[1])


class FirUpsample2d(_Fir2d):
    """Zero insertion by two, then the filter with gain 4: ``(B, C, H, W)`` to ``(B, C, 2H, 2W)``."""

    def __init__(self) -> None:
        super().__init__(gain=4.0)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        # a transposed convolution with stride 2 is zero insertion and filtering in one
        return F.conv_transpose2d(x, self.depthwise_kernel(x), stride=2, padding=1, groups=x.shape[1])


class FirDownsample2d(_Fir2d):
    """The filter, then every second pixel: ``(B, C, H, W)`` to ``(B, C, H/2, W/2)``."""

    def __init__(self) -> None:
        super().__init__(gain=1.0)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        # stride 2 computes only the pixels that are kept
        return F.conv2d(x, self.depthwise_kernel(x), stride=2, padding=1, groups=x.shape[1])
