"""Self-attention within windows of a map, in two or three dimensions, without further packages.

Liu et al., Swin Transformer, ICCV 2021, 2103.14030; MONAI's Swin blocks need einops, which MONAI does not bring along.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from ...utils.errors import InputError

__all__ = ["WindowAttentionBlock"]


class WindowAttentionBlock(nn.Module):
    """Layer norm, attention within windows, layer norm, two-layer perceptron, each added to its input.

    The windows of a shifted block lie half a window beside those of a plain one. The map is padded with zeros to whole
    windows, on both sides of a shifted block, instead of being rolled around; places in a window are told apart by a
    learned vector.

    Args:
        spatial_dims: 2 or 3.
        channels: of the map.
        heads: of the attention.
        window: side of a window.
        shifted: whether the windows are shifted.
        ratio: width of the perceptron over that of the map.

    Raises:
        InputError: channels that the heads cannot share.

    Shape: ``(B, C, H, W[, D])`` to the same.
    """

    def __init__(
        self,
        spatial_dims: int,
        channels: int,
        heads: int = 4,
        window: int = 8,
        shifted: bool = False,
        ratio: float = 2.0,
    ) -> None:
        super().__init__()
        if channels % heads:
            raise InputError(
                "attention", got=f"{channels} channels for {heads} heads", wanted="a multiple of the heads"
            )
        self.spatial_dims, self.channels, self.heads, self.window = spatial_dims, channels, heads, window
        self.before = window // 2 if shifted else 0
        self.tokens = window**spatial_dims
        self.norm1, self.norm2 = nn.LayerNorm(channels), nn.LayerNorm(channels)
        self.place = nn.Parameter(torch.randn(self.tokens, channels) * 0.02)
        self.qkv = nn.Linear(channels, 3 * channels)
        self.out = nn.Linear(channels, channels)
        hidden = int(ratio * channels)
        self.mlp = nn.Sequential(nn.Linear(channels, hidden), nn.GELU(), nn.Linear(hidden, channels))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x.movedim(1, -1)
        x = x + self.attend(self.norm1(x))
        x = x + self.mlp(self.norm2(x))
        return x.movedim(-1, 1).contiguous()

    def attend(self, x: torch.Tensor) -> torch.Tensor:
        """Attention over ``(B, H, W[, D], C)``, channels last."""
        batch, w = x.shape[0], self.window
        pad = [0, 0]
        for dim in range(self.spatial_dims, 0, -1):
            pad += [self.before, (w - (x.shape[dim] + self.before) % w) % w]
        padded = F.pad(x, pad)
        split = [batch]
        for dim in range(1, self.spatial_dims + 1):
            split += [padded.shape[dim] // w, w]
        # (B, n1, w, n2, w, ..., C) -> (B, n1, n2, ..., w, w, ..., C)
        outer = [2 * dim + 1 for dim in range(self.spatial_dims)]
        inner = [2 * dim + 2 for dim in range(self.spatial_dims)]
        last = 2 * self.spatial_dims + 1
        order = [0] + outer + inner + [last]
        windows = padded.reshape(split + [self.channels]).permute(order)
        shape = windows.shape
        tokens = windows.reshape(-1, self.tokens, self.channels) + self.place
        qkv = self.qkv(tokens).reshape(tokens.shape[0], tokens.shape[1], 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(qkv[0], qkv[1], qkv[2])
        tokens = self.out(mixed.transpose(1, 2).reshape(tokens.shape[0], tokens.shape[1], self.channels))
        back = [0] * (last + 1)
        for index, source in enumerate(order):
            back[source] = index
        x_out = tokens.reshape(shape).permute(back).reshape(padded.shape)
        for dim in range(1, self.spatial_dims + 1):
            x_out = x_out.narrow(dim, self.before, x.shape[dim])
        return x_out
