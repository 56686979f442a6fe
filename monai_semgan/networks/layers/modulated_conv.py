"""Convolution whose weights are scaled by a style (Karras et al. 2020, 1912.04958, section 2.2)."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import nn

from .equalized import EqualizedLinear
from .fir import FirBlur2d


class ModulatedConv2d(nn.Module):
    """Convolution with style modulation and, on request, demodulation and x2 up-sampling.

    Equations 1 and 3 of the paper scale the *weights* per sample. Scaling the input by the style and
    the output by ``1 / sqrt(sum_k (s W)^2)`` is the same algebra, needs no grouped convolution and
    shares one weight for the whole batch. A 1x1 kernel does have weights for each sample, as one matrix product: there
    are few of them, and no scaled copy of the input is kept for the backward pass.

    Args:
        in_channels, out_channels, kernel_size: as for a convolution.
        latent_dim: size of the latent that the style is computed from.
        demodulate: divide by the expected norm (False for the heads that make image and mask).
        upsample: double the size with a transposed convolution followed by the [1, 3, 3, 1] filter.

    Shape: ``x (B, in_channels, H, W)``, ``latent (B, latent_dim)`` to ``(B, out_channels, H', W')``, times ``gain``,
    plus ``shift (out_channels,)``.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        latent_dim: int,
        demodulate: bool = True,
        upsample: bool = False,
    ) -> None:
        super().__init__()
        # transposed convolutions want (in, out, k, k): stored so, since a view would be copied each call
        shape = (in_channels, out_channels) if upsample else (out_channels, in_channels)
        self.weight = nn.Parameter(torch.randn(*shape, kernel_size, kernel_size))
        self.affine = EqualizedLinear(latent_dim, in_channels, bias_init=1.0)
        self.scale = 1.0 / math.sqrt(in_channels * kernel_size**2)
        self.kernel_size = kernel_size
        self.padding = kernel_size // 2
        self.demodulate = demodulate
        self.upsample = upsample
        self.blur = FirBlur2d(padding=1, gain=4.0) if upsample else nn.Identity()

    def forward(
        self, x: torch.Tensor, latent: torch.Tensor, gain: float = 1.0, shift: torch.Tensor | None = None
    ) -> torch.Tensor:
        style = self.affine(latent)
        weight = self.weight * self.scale
        if self.kernel_size == 1 and not self.upsample:
            x = _pointwise(x, weight.flatten(1) * style[:, None, :])
        elif self.upsample:
            x = self.blur(F.conv_transpose2d(x * style.to(x.dtype)[:, :, None, None], weight, stride=2))
        else:
            x = F.conv2d(x * style.to(x.dtype)[:, :, None, None], weight, padding=self.padding)
        factor = self.demodulation(style, weight) * gain if self.demodulate else None
        if shift is not None:
            shift = shift.to(x.dtype)[None, :, None, None]
        if factor is None:
            x = x if gain == 1.0 else x * gain
            return x if shift is None else x + shift
        factor = factor.to(x.dtype)[:, :, None, None]
        return x * factor if shift is None else torch.addcmul(shift, x, factor)

    def demodulation(self, style: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        """``1 / sqrt(sum over inputs and taps of (s W)^2)``, shape ``(B, out_channels)``, in float32."""
        energy = weight.float().square().sum(dim=(2, 3))  # (out, in), or (in, out) when up-sampling
        if not self.upsample:
            energy = energy.t()
        with torch.autocast(style.device.type, enabled=False):  # it would take the product in bfloat16
            return torch.rsqrt(torch.mm(style.float().square(), energy) + 1e-8)


def _pointwise(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """``(B, C, H, W)`` and a matrix ``(B, K, C)`` for each sample to ``(B, K, H, W)``."""
    pixels = x.permute(0, 2, 3, 1)  # a view of maps with channels last
    made = pixels.flatten(1, 2) @ weight.to(x.dtype).transpose(1, 2)
    return made.unflatten(1, pixels.shape[1:3]).permute(0, 3, 1, 2)
