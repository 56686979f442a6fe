"""A generator that labels what it makes, and the network that reads scans with it.

Self-supervised one-shot segmentation of StyleGAN images (Manerikar and Kak 2023, 2303.05639).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from .hidden_feature_projector import HiddenFeatureProjector
from .semantic_gan_segmenter import SemanticGANSegmenter
from .semantic_style_generator import SemanticStyleGenerator

__all__ = ["OneShotGenerator", "OneShotSegmenter"]


class OneShotGenerator(nn.Module):
    """A style generator of images alone, its hidden features projected, and a head that names them.

    It stands in for a :class:`SemanticStyleGenerator` with mask heads wherever one is used (inversion, students, the
    making of annotated data): same calls, same attributes; the mask is logits of K classes, background first.

    Args:
        generator: of images; mask heads, if it has any, are not used.
        projector: a :class:`HiddenFeatureProjector` for it.
        head: projected features to logits, e.g. a :class:`OneShotHead`.

    Shapes: ``forward(latents (B, D) or (B, L, D))`` to ``image (B, C, S, S)`` and ``logits (B, K, S, S)``.

    Raises:
        InputError: the projector was made for a generator of other sizes.
    """

    def __init__(self, generator: SemanticStyleGenerator, projector: HiddenFeatureProjector, head: nn.Module) -> None:
        super().__init__()
        projector.check(generator.feature_channels, generator.feature_resolutions)
        self.generator = generator
        self.projector = projector
        self.head = head

    # a trace must not compile these
    __jit_unused_properties__ = (
        "constant", "image_size", "image_channels", "label_channels", "latent_dim", "num_latents", "spatial_channels",
        "spatial_resolution",
    )  # fmt: skip
    constant = property(lambda self: self.generator.constant)
    image_size = property(lambda self: self.generator.image_size)
    image_channels = property(lambda self: self.generator.image_channels)
    label_channels = property(lambda self: self.head.num_classes)
    latent_dim = property(lambda self: self.generator.latent_dim)
    num_latents = property(lambda self: self.generator.num_latents)
    spatial_channels = property(lambda self: self.generator.spatial_channels)
    spatial_resolution = property(lambda self: self.generator.spatial_resolution)

    def mapping(self, z: torch.Tensor) -> torch.Tensor:
        """See :meth:`SemanticStyleGenerator.mapping`."""
        return self.generator.mapping(z)

    def mean_latent(self, num_samples: int = 4096, generator: torch.Generator | None = None) -> torch.Tensor:
        """See :meth:`SemanticStyleGenerator.mean_latent`."""
        return self.generator.mean_latent(num_samples, generator)

    def sample_latents(
        self,
        batch_size: int,
        mixing_probability: float = 0.0,
        truncation: float = 1.0,
        mean_latent: torch.Tensor | None = None,
        generator: torch.Generator | None = None,
    ) -> torch.Tensor:
        """See :meth:`SemanticStyleGenerator.sample_latents`."""
        return self.generator.sample_latents(batch_size, mixing_probability, truncation, mean_latent, generator)

    def make_noise(
        self,
        batch_size: int,
        mode: str | Sequence[torch.Tensor] = "random",
        generator: torch.Generator | None = None,
    ) -> list[torch.Tensor]:
        """See :meth:`SemanticStyleGenerator.make_noise`."""
        return self.generator.make_noise(batch_size, mode, generator)

    def project(
        self,
        latents: torch.Tensor,
        noise: str | Sequence[torch.Tensor] = "fixed",
        spatial: torch.Tensor | None = None,
        generator: torch.Generator | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The image and its projected features ``(B, d, S, S)``, as the head takes them."""
        image, features = self.generator.hidden_features(latents, noise, spatial, generator)
        return image, self.projector(features)

    def forward(
        self,
        latents: torch.Tensor,
        noise: str | Sequence[torch.Tensor] = "random",
        spatial: torch.Tensor | None = None,
        generator: torch.Generator | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        image, projected = self.project(latents, noise, spatial, generator)
        return image, self.head(projected)

    @torch.no_grad()
    def sample(
        self,
        count: int = 1,
        seed: int = 0,
        truncation: float = 0.7,
        latents: torch.Tensor | None = None,
        spatial: torch.Tensor | None = None,
        noise: str | Sequence[torch.Tensor] = "fixed",
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Annotated images on the fly: ``(N, C, S, S)`` in [-1, 1] and class probabilities ``(N, K, S, S)``.

        Args:
            count, seed, truncation: of latents drawn here; the same three give the same images.
            latents: ``(N, L, D)`` or ``(N, D)`` to use instead.
        """
        if latents is None:
            draw = torch.Generator().manual_seed(int(seed))
            latents = self.sample_latents(count, truncation=truncation, generator=draw)
        image, logits = self(latents.to(self.generator.constant.device), noise, spatial)
        return image.clamp(-1, 1), logits.float().softmax(dim=1)


class OneShotSegmenter(SemanticGANSegmenter):
    """Encode a scan's slice to latents, and name the hidden features of its reconstruction.

    Args:
        encoder: image to ``(w+, spatial or None)``.
        generator: a :class:`OneShotGenerator`.
        temperature: the head's outputs are divided by it; 1 leaves them as they were trained.

    Shape: ``(B, C, S, S)`` in [-1, 1] to logits ``(B, K, S, S)``, background first.
    """

    def __init__(self, encoder: nn.Module, generator: OneShotGenerator, temperature: float = 1.0) -> None:
        super().__init__(encoder, generator, temperature)
