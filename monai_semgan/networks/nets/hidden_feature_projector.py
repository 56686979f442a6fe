"""Linear projection of a generator's hidden maps, evaluated at their native resolutions.

Self-supervised one-shot segmentation (Manerikar and Kak 2023, 2303.05639), where all maps are brought to the size of
the image and stacked first: the same numbers, at a fraction of memory and time.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import groupby

import torch
import torch.nn.functional as F
from torch import nn

from ...utils import InputError

__all__ = ["HiddenFeatureProjector"]


class HiddenFeatureProjector(nn.Module):
    """``W (f - mean) / std`` of the stack f of all hidden maps, for every pixel.

    A linear map without bias commutes with nearest up-sampling, so W is split by map, each part is a 1x1 convolution
    at the map's own size, and the sums are carried upwards: the stack (5376 channels at 256 px, 1.4 GB an image) never
    exists. Means and standard deviations of :meth:`fit_statistics` are folded into W and one bias.

    Args:
        channels: of each map (``SemanticStyleGenerator.feature_channels``).
        resolutions: height of each map, not falling (``feature_resolutions``).
        dim: d, channels of the result.

    Shape: maps ``(B, C_l, r_l, r_l)`` to ``(B, d, S, S)``, S the largest resolution.

    Raises:
        InputError: maps of other channels or sizes: those of another generator.
    """

    def __init__(self, channels: Sequence[int], resolutions: Sequence[int], dim: int = 64) -> None:
        super().__init__()
        self.channels, self.resolutions, self.dim = list(channels), list(resolutions), int(dim)
        rising = self.resolutions == sorted(self.resolutions)
        if len(self.channels) != len(self.resolutions) or not self.channels or not rising or self.dim < 1:
            raise InputError(
                "feature projector",
                got=f"channels {self.channels}, resolutions {self.resolutions}, dim {dim}",
                wanted="as many channels as resolutions, which do not fall, and dim of at least 1",
            )
        total = sum(self.channels)
        self.weight = nn.Parameter(torch.randn(self.dim, total) / total**0.5)
        self.register_buffer("mean", torch.zeros(total))
        self.register_buffer("std", torch.ones(total))

    @property
    def size(self) -> int:
        """S, height of the result."""
        return self.resolutions[-1]

    def check(self, channels: Sequence[int], resolutions: Sequence[int], what: str = "generator and projector") -> None:
        """Refuse hidden maps that this projector was not made for.

        Raises:
            InputError: as said.
        """
        if list(channels) != self.channels or list(resolutions) != self.resolutions:
            raise InputError(
                f"{what} are of different sizes",
                got=f"hidden maps of {list(channels)} channels at {list(resolutions)} px",
                wanted=f"{self.channels} channels at {self.resolutions} px, for which the projector was made",
                fix="use the generator that the projector was trained on, or train a projector for this one",
            )

    def folded(self) -> tuple[list[torch.Tensor], torch.Tensor]:
        """W / std, split by map ``(d, C_l)``, and the bias ``(d,)`` that stands for the means."""
        weight = self.weight / self.std
        return list(weight.split(self.channels, dim=1)), -(weight @ self.mean)

    def forward(self, features: Sequence[torch.Tensor]) -> torch.Tensor:
        self._check_maps(features)
        weights, bias = self.folded()
        total: torch.Tensor | None = None
        before = self.resolutions[0]
        for resolution, group in groupby(zip(self.resolutions, features, weights, strict=True), key=lambda row: row[0]):
            if total is not None:  # the factor is a plain number, also in a trace
                total = F.interpolate(total, scale_factor=float(resolution // before), mode="nearest")
            before = resolution
            for _, feature, weight in group:
                part = F.conv2d(feature, weight[:, :, None, None].to(feature.dtype))
                total = part if total is None else total + part
        assert total is not None
        return total + bias[None, :, None, None].to(total.dtype)

    def naive(self, features: Sequence[torch.Tensor]) -> torch.Tensor:
        """The same as the paper's code computes it: stack everything at full size, then project."""
        stack = (self.stack(features) - self.mean[:, None, None]) / self.std[:, None, None]
        return torch.einsum("dc,bchw->bdhw", self.weight, stack)

    def stack(self, features: Sequence[torch.Tensor]) -> torch.Tensor:
        """All maps at full size, ``(B, sum C_l, S, S)``, as they are: large."""
        self._check_maps(features)
        return torch.cat([F.interpolate(f, size=(self.size, self.size), mode="nearest") for f in features], dim=1)

    def gather(self, features: Sequence[torch.Tensor], pixels: torch.Tensor) -> torch.Tensor:
        """The projection at some pixels only, ``(B, n, d)``; ``pixels (B, n)`` are row * S + column, -1 for none.

        Where there is no pixel all features are 0, as beyond the frame of a rotated stack.
        """
        self._check_maps(features)
        weights, bias = self.folded()
        inside = (pixels >= 0)[..., None]
        row, column = pixels.clamp(min=0) // self.size, pixels.clamp(min=0) % self.size
        total: torch.Tensor | None = None
        for resolution, feature, weight in zip(self.resolutions, features, weights, strict=True):
            scale = self.size // resolution
            index = (row // scale) * resolution + column // scale
            flat = feature.flatten(2)
            taken = flat.gather(2, index[:, None, :].expand(-1, flat.shape[1], -1)).transpose(1, 2)
            part = torch.where(inside, taken, torch.zeros_like(taken)) @ weight.t()
            total = part if total is None else total + part
        assert total is not None
        return total + bias

    @torch.no_grad()
    def fit_statistics(self, batches: Iterable[Sequence[torch.Tensor]]) -> None:
        """Set mean and standard deviation of every channel from the maps of some images.

        Raises:
            ValueError: there is no batch.
        """
        count, sums, squares = 0, torch.zeros_like(self.mean), torch.zeros_like(self.mean)
        for features in batches:
            self._check_maps(features)
            flat = [f.double() for f in features]
            sums = sums + torch.cat([f.mean(dim=(2, 3)).sum(dim=0) for f in flat])
            squares = squares + torch.cat([f.square().mean(dim=(2, 3)).sum(dim=0) for f in flat])
            count += len(features[0])
        if not count:
            raise ValueError("statistics of no image")
        mean = sums / count
        deviation = (squares / count - mean.square()).clamp(min=0).sqrt()
        self.mean.copy_(mean)
        # a channel that never changes says nothing: it must not be blown up
        self.std.copy_(torch.where(deviation > 1e-4 * deviation.max().clamp(min=1e-8), deviation, 1.0))

    def _check_maps(self, features: Sequence[torch.Tensor]) -> None:
        self.check([f.shape[1] for f in features], [int(f.shape[-1]) for f in features])
