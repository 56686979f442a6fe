"""The deployable network of GSS: conditioning network and tokenizer in one (2303.11316)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from ...utils.errors import InputError
from .conditioning_net import ConditioningNet
from .mask_tokenizer import MaskTokenizer

__all__ = ["GenerativeSegmenter"]

DECODINGS = ("argmax", "soft")


class GenerativeSegmenter(nn.Module):
    """Image to class logits by way of a grid of codes; one pass, nothing is drawn.

    ``codes = argmax I(x)``, ``maskige = D(codes)``, ``logits = X^-1(maskige)``.

    Args:
        conditioning: I, image to logits of the codes.
        tokenizer: codes to masks (None with ``head="pixels"``).
        head: ``"codes"``; or ``"pixels"``, the baseline: the same network with classes in the place of codes, linearly
            up-sampled.
        decoding: ``"argmax"``: the most probable code of each place; ``"soft"``: the mean of all codes by probability.

    Raises:
        InputError: an unknown head or decoding, or no tokenizer for codes.

    Shape: ``(B, C, H, W[, D])`` to ``(B, K, H, W[, D])``.
    """

    __constants__ = ("pixels", "soft")  # TorchScript then leaves out what the other choice would do

    def __init__(
        self,
        conditioning: ConditioningNet,
        tokenizer: MaskTokenizer | None = None,
        head: str = "codes",
        decoding: str = "argmax",
    ) -> None:
        super().__init__()
        if head not in ("codes", "pixels"):
            raise InputError("option head", got=head, wanted="codes or pixels")
        if decoding not in DECODINGS:
            raise InputError("option decoding", got=decoding, wanted=f"one of {', '.join(DECODINGS)}")
        if head == "codes" and tokenizer is None:
            raise InputError("generative segmenter", got="no tokenizer", wanted="one, or head 'pixels'")
        self.conditioning = conditioning
        self.tokenizer = tokenizer if head == "codes" and tokenizer is not None else nn.Identity()
        self.pixels = head == "pixels"
        self.soft = decoding == "soft"

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        logits, _ = self.conditioning(image)
        if self.pixels:
            return self.resize(logits, image)
        return self.resize(self.tokenizer.classify(self.paint(logits)), image)

    def paint(self, logits: torch.Tensor) -> torch.Tensor:
        """Logits of the codes ``(B, N, h, w[, d])`` to a maskige ``(B, M, ...)``."""
        if self.soft:
            return self.tokenizer.decode(self.tokenizer.expect(logits.softmax(dim=1)))
        return self.tokenizer.decode(self.tokenizer.embed(logits.argmax(dim=1)))

    def resize(self, maps: torch.Tensor, image: torch.Tensor) -> torch.Tensor:
        """Maps in the size of the image."""
        if maps.shape[2:] == image.shape[2:]:
            return maps
        mode = "bilinear" if image.ndim == 4 else "trilinear"
        return F.interpolate(maps, size=image.shape[2:], mode=mode, align_corners=False)

    @torch.jit.unused
    @torch.no_grad()
    def sample(
        self, image: torch.Tensor, temperature: float = 1.0, generator: torch.Generator | None = None
    ) -> torch.Tensor:
        """Class logits of one grid whose codes are drawn, each by its own probability; the paper draws none.

        Args:
            image: ``(B, C, ...)``.
            temperature: divides the codes' logits; below 1 draws nearer to the most probable.
            generator: source of randomness (None: torch's own).

        Raises:
            InputError: the network has no codes.
        """
        if self.pixels:
            raise InputError("sampled codes", got="a network of head 'pixels'", wanted="one of codes")
        logits, _ = self.conditioning(image)
        probability = (logits / temperature).softmax(dim=1).movedim(1, -1)
        drawn = torch.multinomial(probability.flatten(0, -2).float(), 1, generator=generator)
        maskige = self.tokenizer.decode(self.tokenizer.embed(drawn.reshape(probability.shape[:-1])))
        return self.resize(self.tokenizer.classify(maskige), image)
