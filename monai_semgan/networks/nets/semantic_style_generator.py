"""StyleGAN2 generator that makes an image and its mask together.

SemanticGAN (Li et al. 2021, 2104.05833), on StyleGAN2 with skip connections (1912.04958).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import nn

from ...utils import InputError
from ..blocks import StyledConv2d, StyleHeads, SynthesisBlock
from ..layers import EqualizedLinear


def num_latents(image_size: int) -> int:
    """Number of style inputs of a generator of that size: ``2 log2(size) - 2`` (64: 10, 128: 12)."""
    return 2 * int(math.log2(image_size)) - 2


def style_channels(image_size: int, channel_base: int, channel_max: int) -> dict[int, int]:
    """Feature channels at each resolution: ``min(channel_max, channel_base // resolution)``."""
    return {2**k: min(channel_max, channel_base // 2**k) for k in range(2, int(math.log2(image_size)) + 1)}


def _check_size(image_size: int) -> None:
    if image_size < 8 or image_size & (image_size - 1):
        raise InputError(
            f"image_size: got {image_size}; wanted a power of two from 8 to 1024. Choose 32, 64, 128, 256 or 512."
        )


class SemanticStyleGenerator(nn.Module):
    """Latents in, image and mask out: one trunk, two sets of output heads.

    Args:
        image_size: height and width of the output, a power of two.
        image_channels: channels of the image (1 for CT and MRI).
        label_channels: channels of the mask: 1 for a binary mask, else one per class with background; 0 for a
            generator of images alone, whose masks have no channel.
        latent_dim: size of z and of each w.
        num_mapping_layers: depth of the mapping network.
        mapping_lr_multiplier: learning rate of the mapping relative to the rest (StyleGAN: .01). Short
            trainings need more, or the prior stays where it began.
        channel_base, channel_max: see :func:`style_channels`.
        latent_input: add a linear image of the first latent to the learned constant at 4x4. StyleGAN2 has
            the constant alone (False); short trainings and autoencoding converge far sooner with it.
        spatial_resolution: resolution at which an encoder may add features (0: never). This is the
            F/W+ space of GAN inversion (Kang et al. 2021, 2108.08998): w+ alone cannot say where an
            organ's border runs to the pixel.
        label_trunk_gradient: factor on the gradient that the mask heads send into the trunk.

    Shapes: ``forward(latents (B, D) or (B, L, D))`` to ``image (B, C, S, S)`` in about [-1, 1] and
    ``label (B, K, S, S)``, raw values that training drives to -1 (outside) and +1 (inside).

    Raises:
        ValueError: for a size that is no power of two, or latents or noise of a wrong shape.
    """

    def __init__(
        self,
        image_size: int = 64,
        image_channels: int = 1,
        label_channels: int = 1,
        latent_dim: int = 512,
        num_mapping_layers: int = 8,
        mapping_lr_multiplier: float = 0.01,
        channel_base: int = 16384,
        channel_max: int = 512,
        latent_input: bool = False,
        spatial_resolution: int = 0,
        label_trunk_gradient: float = 1.0,
    ) -> None:
        super().__init__()
        _check_size(image_size)
        self.image_size = image_size
        self.image_channels = image_channels
        self.label_channels = label_channels
        self.latent_dim = latent_dim
        self.num_latents = num_latents(image_size)
        self.channels = style_channels(image_size, channel_base, channel_max)
        if spatial_resolution and spatial_resolution not in self.channels:
            raise InputError(f"spatial_resolution: got {spatial_resolution}; wanted 0 or one of {list(self.channels)}")
        self.spatial_resolution = spatial_resolution
        self.mapping_layers = nn.ModuleList(
            EqualizedLinear(latent_dim, latent_dim, lr_multiplier=mapping_lr_multiplier)
            for _ in range(num_mapping_layers)
        )
        self.constant = nn.Parameter(torch.randn(1, self.channels[4], 4, 4))
        self.input: nn.Module | None = None
        if latent_input:
            self.input = EqualizedLinear(latent_dim, self.channels[4] * 16)
        self.conv = StyledConv2d(self.channels[4], self.channels[4], latent_dim)
        self.heads = StyleHeads(self.channels[4], image_channels, label_channels, latent_dim)
        self.blocks = nn.ModuleList(
            SynthesisBlock(self.channels[r // 2], c, image_channels, label_channels, latent_dim)
            for r, c in self.channels.items()
            if r > 4
        )
        for module in self.modules():
            if isinstance(module, StyleHeads):
                module.label_trunk_gradient = label_trunk_gradient
        for index, size in enumerate(self.noise_sizes):
            noise = torch.randn(1, 1, size, size, generator=torch.Generator().manual_seed(index))
            self.register_buffer(f"noise_{index}", noise)

    @property
    def noise_sizes(self) -> list[int]:
        """Height of each noise map, in the order in which the synthesis network uses them."""
        return [4] + [r for r in self.channels if r > 4 for _ in range(2)]

    @property
    def spatial_channels(self) -> int:
        """Channels of the features an encoder may add, 0 if none."""
        return self.channels[self.spatial_resolution] if self.spatial_resolution else 0

    @property
    def feature_resolutions(self) -> list[int]:
        """Height of each hidden map that :meth:`hidden_features` gives: as those of the noise maps."""
        return self.noise_sizes

    @property
    def feature_channels(self) -> list[int]:
        """Channels of each of them."""
        return [self.channels[r] for r in self.noise_sizes]

    def mapping(self, z: torch.Tensor) -> torch.Tensor:
        """Map ``z (..., D)`` from N(0, I) to style space ``w (..., D)``."""
        # always float32: latents are compared and optimised, and the cost is nothing beside the synthesis
        with torch.autocast(z.device.type, enabled=False):
            x = z.float()
            x = x * torch.rsqrt(x.square().mean(dim=-1, keepdim=True) + 1e-8)
            for layer in self.mapping_layers:
                x = F.leaky_relu(layer(x), 0.2) * math.sqrt(2.0)
        return x

    def mean_latent(self, num_samples: int = 4096, generator: torch.Generator | None = None) -> torch.Tensor:
        """Mean of ``w`` over samples, shape ``(D,)``; deterministic unless a generator is given."""
        generator = generator or torch.Generator().manual_seed(0)
        z = torch.randn(num_samples, self.latent_dim, generator=generator, device=generator.device)
        with torch.no_grad():
            return self.mapping(z.to(self.constant.device)).mean(dim=0)

    def sample_latents(
        self,
        batch_size: int,
        mixing_probability: float = 0.0,
        truncation: float = 1.0,
        mean_latent: torch.Tensor | None = None,
        generator: torch.Generator | None = None,
    ) -> torch.Tensor:
        """Draw ``w+ (B, L, D)`` from the prior.

        Args:
            mixing_probability: chance that a sample takes its styles from two latents, with a
                crossover uniform in 1..L-1 (style mixing; the reference uses .9).
            truncation: psi of the truncation trick; below 1 the samples move towards the mean.
        """
        device = self.constant.device
        draw_on = generator.device if generator is not None else device
        shape = (2, batch_size, self.latent_dim)
        w = self.mapping(torch.randn(shape, generator=generator, device=draw_on).to(device))
        first, second = w[0][:, None, :], w[1][:, None, :]
        mixed = torch.rand(batch_size, 1, generator=generator, device=draw_on) < mixing_probability
        cross = torch.randint(1, self.num_latents, (batch_size, 1), generator=generator, device=draw_on)
        index = torch.arange(self.num_latents, device=draw_on)[None, :]
        use_second = (mixed & (index >= cross)).to(device)[:, :, None]
        latents = torch.where(use_second, second, first)
        if truncation != 1.0:
            mean = self.mean_latent() if mean_latent is None else mean_latent
            latents = mean + truncation * (latents - mean)
        return latents

    def make_noise(
        self,
        batch_size: int,
        mode: str | Sequence[torch.Tensor] = "random",
        generator: torch.Generator | None = None,
    ) -> list[torch.Tensor]:
        """Noise maps for one pass: ``"random"`` (fresh), ``"fixed"`` (stored), ``"zero"`` or a given list."""
        if not isinstance(mode, str):
            maps = list(mode)
            got, sizes = [tuple(m.shape) for m in maps], self.noise_sizes
            wrong_batch = any(g[0] not in (1, batch_size) for g in got)
            if wrong_batch or [g[1:] for g in got] != [(1, s, s) for s in sizes]:
                raise ValueError(f"noise: got maps {got}; wanted one (B or 1, 1, s, s) for s in {sizes}")
            return maps
        if mode == "fixed":
            return [getattr(self, f"noise_{i}") for i in range(len(self.noise_sizes))]
        device = self.constant.device
        if mode == "zero":
            # from the buffers, not from a device: so a trace made on a CPU also runs on a GPU
            return [torch.zeros_like(getattr(self, f"noise_{i}")) for i in range(len(self.noise_sizes))]
        if mode == "random":
            draw_on = generator.device if generator is not None else device
            return [
                torch.randn(batch_size, 1, s, s, generator=generator, device=draw_on).to(device)
                for s in self.noise_sizes
            ]
        raise ValueError(f"noise: got {mode!r}; wanted 'random', 'fixed', 'zero' or a list of tensors")

    def _as_wplus(self, latents: torch.Tensor) -> torch.Tensor:
        if latents.ndim == 2:
            latents = latents[:, None, :].expand(-1, self.num_latents, -1)
        if latents.shape[1:] != (self.num_latents, self.latent_dim):
            raise ValueError(
                f"latents: got shape {tuple(latents.shape)}; wanted (B, {self.latent_dim}) or "
                f"(B, {self.num_latents}, {self.latent_dim})"
            )
        return latents

    def forward(
        self,
        latents: torch.Tensor,
        noise: str | Sequence[torch.Tensor] = "random",
        spatial: torch.Tensor | None = None,
        generator: torch.Generator | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Synthesise from styles; see the class for shapes."""
        image, label, _ = self.synthesise(latents, noise, spatial, generator, keep_features=False)
        return image, label

    def synthesise(
        self,
        latents: torch.Tensor,
        noise: str | Sequence[torch.Tensor] = "random",
        spatial: torch.Tensor | None = None,
        generator: torch.Generator | None = None,
        keep_features: bool = True,
        every_convolution: bool = False,
    ) -> tuple[torch.Tensor, torch.Tensor, list[torch.Tensor]]:
        """As :meth:`forward`, and the hidden features after each resolution, ``(B, C_r, r, r)``.

        Args:
            spatial: features ``(B, C_f, f, f)`` to be added at ``spatial_resolution`` f.
            every_convolution: keep those after each styled convolution: ``2 log2(S) - 3`` maps, of
                ``feature_channels`` and ``feature_resolutions``.
        """
        w = self._as_wplus(latents)
        maps = self.make_noise(w.shape[0], noise, generator)
        x = self.constant.expand(w.shape[0], -1, -1, -1)
        if self.input is not None:
            x = x + self.input(w[:, 0]).view_as(x)
        if torch.is_autocast_enabled(x.device.type):
            x = x.to(torch.get_autocast_dtype(x.device.type))
        x = x.contiguous(memory_format=torch.channels_last)
        x = self._add_spatial(self.conv(x, w[:, 0], maps[0]), spatial)
        image, label = self.heads(x, w[:, 1], None, None)
        features = [x] if keep_features else []
        for b, block in enumerate(self.blocks):
            x = block.conv_up(x, w[:, 1 + 2 * b], maps[1 + 2 * b])
            if keep_features and every_convolution:
                features.append(x)
            x = self._add_spatial(block.conv(x, w[:, 2 + 2 * b], maps[2 + 2 * b]), spatial)
            image, label = block.heads(x, w[:, 3 + 2 * b], image, label)
            if keep_features:
                features.append(x)
        return image, label, features

    def hidden_features(
        self,
        latents: torch.Tensor,
        noise: str | Sequence[torch.Tensor] = "fixed",
        spatial: torch.Tensor | None = None,
        generator: torch.Generator | None = None,
    ) -> tuple[torch.Tensor, list[torch.Tensor]]:
        """The image, and what each styled convolution gave (after noise and activation), coarse to fine."""
        image, _, features = self.synthesise(latents, noise, spatial, generator, every_convolution=True)
        return image, features

    def _add_spatial(self, x: torch.Tensor, spatial: torch.Tensor | None) -> torch.Tensor:
        if spatial is None or x.shape[-1] != self.spatial_resolution:
            return x
        return x + spatial.to(x.dtype)
