"""SemanticGAN as a source of pairs: its mask heads, on codes like those of real slices or on its prior."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import nn

from ...utils.checkpoint import load_checkpoint, load_weights
from ...utils.errors import InputError
from .code_distribution import CodeDistribution
from .source import Latents

__all__ = ["SemanticGANSource", "load_image_critic"]

LATENTS = ("auto", "codes", "prior")
NOISES = ("random", "fixed", "zero")
_BATCH = 32


class SemanticGANSource:
    """Pairs of a :class:`SemanticGANSegmenter`, or of a :class:`OneShotSegmenter`, which has the same parts.

    Latents come either from the ``prior`` (the mapping network; spatial features are zero), or from the ``codes`` of
    the training scans: a :class:`CodeDistribution` over w+ and spatial features together. A generator that was
    trained mostly as an autoencoder draws far better slices from the second.

    Args:
        network: the segmenter, with its weights.
        fov_mm: width of a slice in mm.
        slice_spacing_mm: distance of the slices of a stack in mm, and thickness of a single one.
        latents: ``"codes"``, ``"prior"``, or ``"auto"``: codes when scans are given.
        components: see :class:`CodeDistribution`.
        critic: image critic, slices to scores, or None.
        num_classes: of the masks; None: from the generator.
        noise: noise maps of a sample: drawn with it (``"random"``), the generator's own (``"fixed"``) or none
            (``"zero"``); disturbed views draw theirs.

    Raises:
        InputError: another value of ``latents`` or ``noise``.
    """

    def __init__(
        self,
        network: nn.Module,
        fov_mm: float,
        slice_spacing_mm: float = 6.0,
        latents: str = "auto",
        components: int = 80,
        critic: Callable[[torch.Tensor], torch.Tensor] | None = None,
        num_classes: int | None = None,
        noise: str = "random",
    ) -> None:
        for name, value, known in (("latents", latents, LATENTS), ("noise", noise, NOISES)):
            if value not in known:
                raise InputError(f"option {name}", got=repr(value), wanted=", ".join(known))
        self.network = network.eval().requires_grad_(False)
        self.generator, self.encoder = network.generator, network.encoder
        self.image_size = int(self.generator.image_size)
        self.num_classes = num_classes or max(2, int(self.generator.label_channels))
        self.fov_mm, self.slice_spacing_mm = float(fov_mm), float(slice_spacing_mm)
        self.latents, self.components, self.critic, self.noise = latents, int(components), critic, noise
        self.codes: CodeDistribution | None = None
        self._shapes: tuple[torch.Size, torch.Size | None] | None = None
        self._mean: torch.Tensor | None = None
        self._spread: torch.Tensor | None = None

    @property
    def name(self) -> str:
        """``codes`` or ``prior``."""
        if self.latents != "auto":
            return self.latents
        return "prior" if self.codes is None else "codes"

    @property
    def device(self) -> torch.device:
        """Where the network is."""
        return self.generator.constant.device

    def learn(self, scans: Sequence[torch.Tensor], depth: int) -> None:
        """Fit the distribution of codes; with the prior too, since distances are taken among codes."""
        self.codes = CodeDistribution(self.components).fit(scans, self._encode, 1 if self.latents == "prior" else depth)

    @torch.no_grad()
    def sample_latents(self, generator: torch.Generator, truncation: float, depth: int) -> Latents:
        """Norm: standard deviations of the components (codes), or the distance from the mean w (prior)."""
        if self.name == "codes":
            if self.codes is None:
                raise InputError(
                    "latents like the codes of scans", got="no scans", wanted="the data set of the training",
                    fix="give --dataset_dir, or --latents prior",
                )  # fmt: skip
            codes, norm = self.codes.sample(generator, truncation)
            return self._split(codes, norm)
        if depth > 1:
            raise InputError(
                "stacks of slices from the prior", got=f"depth {depth}", wanted="1: the prior knows no neighbours",
                fix="give --dataset_dir and --latents codes",
            )  # fmt: skip
        if self._mean is None:
            self._mean = self.generator.mean_latent()
        # the truncation is applied here, so that the norm can be told
        styles = self.generator.sample_latents(1, generator=generator)
        styles = self._mean + truncation * (styles - self._mean)
        return Latents(styles, float((styles[0, 0] - self._mean).norm()))

    @torch.no_grad()
    def synthesise(
        self, latents: Latents, generator: torch.Generator, style_noise: float = 0.0
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Slices of a stack share their noise maps; ``style_noise`` moves the finer half of the styles."""
        styles = latents.styles
        if style_noise:
            step = torch.randn(styles.shape[1:], generator=generator).to(styles) * self._style_spread() * style_noise
            step[: styles.shape[1] // 2] = 0  # the coarse half says where things are
            styles = styles + step
        noise = self.generator.make_noise(1, "random" if style_noise else self.noise, generator=generator)
        image, raw = self.generator(styles, noise=noise, spatial=latents.spatial)
        return image.float().clamp(-1, 1), self.network.logits(raw.float()).softmax(dim=1)

    @torch.no_grad()
    def features(self, images: torch.Tensor) -> torch.Tensor | None:
        """Components of the codes; None before scans were seen."""
        return None if self.codes is None else self.codes.project(self._encode(images))

    @torch.no_grad()
    def reconstruct(self, images: torch.Tensor) -> torch.Tensor:
        """Encoded and drawn again."""
        return torch.cat(
            [self.network.reconstruct(part.to(self.device))[0].clamp(-1, 1).cpu() for part in images.split(_BATCH)]
        )

    @torch.no_grad()
    def critic_score(self, images: torch.Tensor) -> float | None:
        """Mean over the slices, each scored alone: the critic also looks at how far a batch spreads."""
        if self.critic is None:
            return None
        return float(torch.stack([self.critic(image[None].to(self.device)).mean() for image in images]).mean())

    @torch.no_grad()
    def _encode(self, images: torch.Tensor) -> torch.Tensor:
        """Codes ``(N, F)``: w+ and spatial features, flattened."""
        rows = []
        for part in images.split(_BATCH):
            styles, spatial = self.encoder(part.to(self.device, torch.float32))
            self._shapes = (styles.shape[1:], None if spatial is None else spatial.shape[1:])
            rows.append(styles.flatten(1) if spatial is None else torch.cat([styles.flatten(1), spatial.flatten(1)], 1))
        return torch.cat(rows)

    def _split(self, codes: torch.Tensor, norm: float) -> Latents:
        shape, spatial_shape = self._shapes
        number = shape.numel()
        spatial = None if spatial_shape is None else codes[:, number:].unflatten(1, tuple(spatial_shape))
        return Latents(codes[:, :number].unflatten(1, tuple(shape)), norm, spatial)

    def _style_spread(self) -> torch.Tensor:
        """Deviation of the styles ``(L, C)`` over real slices, or over the prior."""
        if self._spread is None:
            if self.name == "codes":
                shape, _ = self._shapes
                self._spread = self.codes.spread[: shape.numel()].view(shape)
            else:
                generator = torch.Generator().manual_seed(0)
                self._spread = self.generator.sample_latents(512, generator=generator).std(dim=0)
        return self._spread


def load_image_critic(
    critic: nn.Module, path: str | os.PathLike | None, device: torch.device | str = "cpu"
) -> nn.Module | None:
    """Give an image critic its weights; None where there is no such file: shipped models come without one.

    Args:
        critic: of the architecture that was trained.
        path: ``gan/generator.pt`` of a training, which holds the generator's averages and the image critic.
        device: where the critic goes.

    Raises:
        InputError: the file holds no image critic, or one of another architecture.
    """
    if path is None or not Path(path).is_file():
        return None
    state = load_checkpoint(path)
    if not isinstance(state, dict) or not isinstance(state.get("image_critic"), dict):
        raise InputError(
            f"critic {path}", got="no entry image_critic", wanted="gan/generator.pt of a training",
            fix="give that file as --critic, or leave the option away",
        )  # fmt: skip
    load_weights(critic, state["image_critic"], f"critic {path}")
    return critic.to(device).eval().requires_grad_(False)
