"""A mask as a small grid of codes, and back: the posterior and the decoder of GSS (2303.11316)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from monai.networks.nets import VQVAE
from torch import nn

from ...utils.errors import InputError
from ..blocks import MaskigeCNN, MaskigeWindowTransformer
from ..layers import Maskige, RestartingQuantizer, class_adjacency

__all__ = ["MASKIGE_VARIANTS", "MaskTokenizer", "MaskigeVariant"]


@dataclass(frozen=True)
class MaskigeVariant:
    """What a variant of the paper learns beside the tokenizer.

    Args:
        random: colours drawn at random.
        learns_palette: X is learned.
        inverse: X^-1 is learned: ``"cnn"`` or ``"transformer"``; "" for the nearest colour.
    """

    random: bool = False
    learns_palette: bool = False
    inverse: str = ""


MASKIGE_VARIANTS: dict[str, MaskigeVariant] = {
    "FF": MaskigeVariant(),
    "FF-R": MaskigeVariant(random=True),
    "FT": MaskigeVariant(inverse="cnn"),
    "FT-W": MaskigeVariant(inverse="transformer"),
    "TF": MaskigeVariant(learns_palette=True),
    "TT": MaskigeVariant(learns_palette=True, inverse="cnn"),
}
"""The paper's names: is X trained, is X^-1; R: random colours, W: a window transformer."""


class MaskTokenizer(nn.Module):
    """Maskige, MONAI's ``VQVAE`` on it, and the way back to classes.

    A mask is coloured (X), encoded to a grid of indices into a codebook (E), decoded to colours (D), and these are
    given classes (X^-1). Encoder and decoder are those of ``VQVAE``; its quantiser is replaced by
    :class:`RestartingQuantizer`.

    Args:
        num_classes: K, background included.
        spatial_dims: 2 or 3.
        variant: one of ``MASKIGE_VARIANTS``.
        palette: colours, see ``maskige_palette``; of variant FF-R they are random, whatever is given here.
        channels: width of each level; every level halves the size.
        num_res_layers: residual units of each level.
        num_codes: N.
        code_channels: length of a code.
        inverse_channels: width of a learned X^-1.
        decay: of the codebook's moving average.
        temperature: of the nearest colour's scores.
        seed: of random colours.

    Raises:
        InputError: an unknown variant.

    Shape: ``forward``: mask ``(B, 1, ...)`` to class logits ``(B, K, ...)`` of its reconstruction.
    """

    def __init__(
        self,
        num_classes: int,
        spatial_dims: int = 2,
        variant: str = "FF",
        palette: str | Sequence[Sequence[float]] = "lattice",
        channels: Sequence[int] = (16, 32),
        num_res_layers: int = 1,
        num_codes: int = 128,
        code_channels: int = 16,
        inverse_channels: int = 32,
        decay: float = 0.97,
        temperature: float = 0.2,
        seed: int = 0,
    ) -> None:
        super().__init__()
        if variant not in MASKIGE_VARIANTS:
            raise InputError("option variant", got=variant, wanted=f"one of {', '.join(MASKIGE_VARIANTS)}")
        row = MASKIGE_VARIANTS[variant]
        self.variant, self.num_classes, self.num_codes = variant, num_classes, num_codes
        self.spatial_dims = spatial_dims
        self.stride = 2 ** len(channels)
        self.learns_palette, self.has_inverse = row.learns_palette, bool(row.inverse)
        self.maskige = Maskige(num_classes, "random" if row.random else palette, temperature, seed)
        colours = self.maskige.channels
        vqvae = VQVAE(
            spatial_dims=spatial_dims,
            in_channels=colours,
            out_channels=colours,
            channels=tuple(channels),
            num_res_layers=num_res_layers,
            num_res_channels=tuple(channels),
            downsample_parameters=((2, 4, 1, 1),) * len(channels),
            upsample_parameters=((2, 4, 1, 1, 0),) * len(channels),
            num_embeddings=num_codes,
            embedding_dim=code_channels,
            ddp_sync=False,
        )
        # its parts rather than the whole, which TorchScript cannot read
        self.encoder, self.decoder = vqvae.encoder, vqvae.decoder
        self.quantizer = RestartingQuantizer(spatial_dims, num_codes, code_channels, decay=decay)
        kinds = {"cnn": MaskigeCNN, "transformer": MaskigeWindowTransformer}
        self.inverse = (
            kinds[row.inverse](spatial_dims, colours, num_classes, inverse_channels) if row.inverse else nn.Identity()
        )

    @torch.jit.unused
    def arrange_colours(self, label: torch.Tensor) -> None:
        """Give the colours to the classes by which of them touch in the masks ``(B, 1, ...)``; not those of FF-R."""
        if not MASKIGE_VARIANTS[self.variant].random:
            self.maskige.arrange(class_adjacency(label, self.num_classes))

    @torch.jit.unused
    def encode(self, label: torch.Tensor) -> torch.Tensor:
        """Features of a mask before quantisation, ``(B, C, h, w[, d])``.

        Raises:
            InputError: a size that the levels cannot halve.
        """
        if any(size % self.stride for size in label.shape[2:]):
            raise InputError(
                "tokenizer", got=f"masks of {tuple(label.shape[2:])}", wanted=f"sizes that {self.stride} divides",
                fix="choose another image_size (of volumes: or stack_depth), or fewer levels (tokenizer_channels)",
            )  # fmt: skip
        return self.encoder(self.maskige.encode(label))

    @torch.jit.unused
    @torch.no_grad()
    def tokenize(self, label: torch.Tensor) -> torch.Tensor:
        """Mask ``(B, 1, ...)`` to code indices ``(B, h, w[, d])``; changes nothing, in training mode neither."""
        return self.quantizer.codes(self.encode(label))

    def embed(self, codes: torch.Tensor) -> torch.Tensor:
        """Code indices ``(B, h, w[, d])`` to features ``(B, C, h, w[, d])``."""
        return F.embedding(codes, self.quantizer.embedding.weight).movedim(-1, 1).contiguous()

    def expect(self, probability: torch.Tensor) -> torch.Tensor:
        """Mean features ``(B, C, h, w[, d])`` under probabilities of the codes ``(B, N, h, w[, d])``."""
        weight = self.quantizer.embedding.weight
        return (probability.movedim(1, -1) @ weight).movedim(-1, 1).contiguous()

    def decode(self, features: torch.Tensor) -> torch.Tensor:
        """D: features to a maskige ``(B, M, ...)``."""
        return self.decoder(features)

    def classify(self, maskige: torch.Tensor) -> torch.Tensor:
        """X^-1: maskige to class logits ``(B, K, ...)``: nearest colour, and what a learned inverse adds."""
        scores = self.maskige(maskige)
        if self.has_inverse:
            scores = scores + self.inverse(maskige)
        return scores

    @torch.jit.unused
    def forward(self, label: torch.Tensor) -> torch.Tensor:
        return self.classify(self.decode(self.embed(self.tokenize(label))))
