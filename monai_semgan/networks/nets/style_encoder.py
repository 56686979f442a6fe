"""Light encoder from an image to W+ and, on request, to spatial features (F/W+)."""

from __future__ import annotations

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import nn

from ..blocks import ResidualGroupNormBlock
from .semantic_style_generator import _check_size, num_latents


class StyleEncoder(nn.Module):
    """Residual network down to 4x4, one linear layer to all latents, a top-down path to spatial features.

    About 30 times fewer parameters than the paper's pyramid (:class:`StylePyramidEncoder`), whose
    fourteen convolutional heads hold 85 % of its weights. Two coordinate channels tell it where in the
    body it looks. Latents are offsets from a mean that training may set (``mean_latent``).

    Args:
        image_size: height and width of the input.
        in_channels: channels of the image.
        latent_dim: size of one latent.
        channels: widths from full resolution downwards; the last is repeated down to 4x4.
        spatial_channels, spatial_resolution: of the features for the generator (0: none).

    Shape: ``(B, C, S, S)`` to ``w+ (B, L, D)`` and ``spatial (B, C_f, f, f)`` or None.
    """

    def __init__(
        self,
        image_size: int = 64,
        in_channels: int = 1,
        latent_dim: int = 512,
        channels: tuple[int, ...] = (16, 32, 64, 128),
        spatial_channels: int = 0,
        spatial_resolution: int = 0,
    ) -> None:
        super().__init__()
        _check_size(image_size)
        self.image_size = image_size
        self.num_latents = num_latents(image_size)
        self.latent_dim = latent_dim
        self.spatial_resolution = spatial_resolution
        sizes = [image_size]
        while sizes[-1] > 4:
            sizes.append(sizes[-1] // 2)
        widths = [channels[min(i, len(channels) - 1)] for i in range(len(sizes))]
        self.stem = nn.Conv2d(in_channels + 2, widths[0], 3, padding=1)
        self.stages = nn.ModuleList(ResidualGroupNormBlock(a, b, stride=2) for a, b in pairwise(widths))
        self.to_latents = nn.Linear(widths[-1] * 16, self.num_latents * latent_dim)
        nn.init.normal_(self.to_latents.weight, std=0.01)
        nn.init.zeros_(self.to_latents.bias)
        self.register_buffer("mean_latent", torch.zeros(latent_dim))
        ticks = torch.linspace(-1, 1, image_size)
        grid = torch.stack(torch.meshgrid(ticks, ticks, indexing="ij"))[None]
        self.register_buffer("coordinates", grid, persistent=False)
        self.lateral = nn.ModuleList()
        self.merge = nn.ModuleList()
        self.to_spatial: nn.Module = nn.Identity()
        if spatial_resolution:
            levels = [i for i, s in enumerate(sizes) if spatial_resolution <= s < sizes[0]] or [0]
            self.spatial_levels = len(sizes) - 1 - levels[-1]
            for i in range(len(sizes) - 2, levels[-1] - 1, -1):
                self.lateral.append(nn.Conv2d(widths[i + 1], widths[i], 1))
                self.merge.append(ResidualGroupNormBlock(widths[i], widths[i]))
            self.to_spatial = nn.Conv2d(widths[levels[-1]], spatial_channels, 1)
            nn.init.zeros_(self.to_spatial.weight)  # starts as the plain W+ encoder
            nn.init.zeros_(self.to_spatial.bias)

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None]:
        x = image
        if x.shape[-2:] != (self.image_size, self.image_size):
            raise ValueError(
                f"encoder: got an image of shape {tuple(x.shape)}; wanted (B, C, {self.image_size}, "
                f"{self.image_size}). Set the size of the field-of-view transform to the network's."
            )
        x = torch.cat([x, self.coordinates.to(x.dtype).expand(x.shape[0], -1, -1, -1)], dim=1)
        x = self.stem(x.contiguous(memory_format=torch.channels_last))
        skips = [x]
        for stage in self.stages:
            x = stage(x)
            skips.append(x)
        latents = self.to_latents(x.contiguous().flatten(1)).float()
        latents = latents.view(-1, self.num_latents, self.latent_dim) + self.mean_latent
        if not self.spatial_resolution:
            return latents, None
        for i, (lateral, merge) in enumerate(zip(self.lateral, self.merge, strict=True)):
            x = F.interpolate(lateral(x), scale_factor=2.0, mode="nearest")
            x = merge(x + skips[len(skips) - 2 - i])
        return latents, self.to_spatial(x).float()
