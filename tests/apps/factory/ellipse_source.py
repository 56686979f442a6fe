"""A source without a network: a body, an organ of a random place and size, and noise."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from monai_semgan.apps.factory import Latents
from monai_semgan.utils import InputError


class EllipseSource:
    """Latents are (row, column, radius, brightness); what ``stop_after`` calls of ``synthesise`` do is up to a test."""

    def __init__(
        self, image_size: int = 32, critic: bool = False, empty: float = 0.0, slice_spacing_mm: float = 6.0
    ) -> None:
        self.image_size, self.num_classes, self.fov_mm, self.name = image_size, 2, 352.0, "ellipses"
        self.slice_spacing_mm, self.critic, self.empty = slice_spacing_mm, critic, empty
        self.seen: list[int] = []
        self.calls = 0

    def learn(self, scans: Sequence[torch.Tensor], depth: int) -> None:
        self.seen = [len(scan) for scan in scans]

    def sample_latents(self, generator: torch.Generator, truncation: float, depth: int) -> Latents:
        if depth > 3:
            raise InputError("stacks", got=depth, wanted="at most 3 slices")
        z = torch.randn(4, generator=generator) * truncation
        if torch.rand(1, generator=generator) < self.empty:
            z[2] = -100.0
        steps = torch.arange(depth)[:, None, None] * torch.tensor([0.05, 0.0, 0.0, 0.0])
        return Latents(z[None, None] + steps, float(z.norm()))

    def synthesise(
        self, latents: Latents, generator: torch.Generator, style_noise: float = 0.0
    ) -> tuple[torch.Tensor, torch.Tensor]:
        self.calls += 1
        size, depth = self.image_size, len(latents.styles)
        ticks = torch.linspace(-1, 1, size)
        row, column, radius, light = latents.styles[:, 0].T[:, :, None, None]
        wobble = style_noise * 0.02 * torch.randn(1, generator=generator)
        rows, columns = ticks[None, :, None], ticks[None, None]
        body = (rows**2 / 0.5 + columns**2 / 0.75) < 1
        place = (rows - 0.06 * row) ** 2 + (columns + 0.35 - 0.04 * column) ** 2
        organ = (0.28 + 0.03 * radius + wobble).clamp_min(0) ** 2 - place
        noise = 0.02 * torch.randn(depth, size, size, generator=generator)
        image = torch.where(body, torch.where(organ > 0, 0.3 + 0.03 * light, torch.tensor(-0.1)) + noise, -1.0)
        inside = torch.sigmoid(organ * 200)
        return image[:, None].clamp(-1, 1), torch.stack([1 - inside, inside], dim=1)

    def features(self, images: torch.Tensor) -> torch.Tensor | None:
        return images.flatten(2).mean(dim=2)

    def reconstruct(self, images: torch.Tensor) -> torch.Tensor | None:
        return images

    def critic_score(self, images: torch.Tensor) -> float | None:
        return float(images.mean()) if self.critic else None
