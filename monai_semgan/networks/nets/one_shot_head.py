"""The small networks on projected features: prototypes for the pre-training, and the head that one image teaches."""

from __future__ import annotations

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import nn

from ...utils import InputError

__all__ = ["OneShotHead", "PixelMLPEnsemble", "PrototypeHead"]

# widths of the hidden layers, and dilation of every layer, all 3x3 (Manerikar and Kak 2023, 2303.05639, their code)
_SIZES: dict[str, tuple[tuple[int, ...], tuple[int, ...]]] = {
    "XXS": ((), (1,)),
    "XS": ((16, 8), (1, 2, 1)),
    "S": ((128, 64, 64, 32), (1, 2, 1, 2, 1)),
}


class OneShotHead(nn.Sequential):
    """A few 3x3 convolutions from projected features to class logits, fitted on one annotated image.

    Args:
        in_channels: d of the projector.
        num_classes: classes with background; the last layer has as many channels, whatever their number (the
            published code has 12 in ``"XXS"``).
        size: ``"XXS"`` (one layer), ``"XS"`` (three) or ``"S"`` (five); ``"linear"`` is one 1x1 layer.

    Shape: ``(B, d, S, S)`` to logits ``(B, K, S, S)``.
    """

    def __init__(self, in_channels: int = 64, num_classes: int = 2, size: str = "XS") -> None:
        if size not in (*_SIZES, "linear"):
            raise InputError("option head_size", got=repr(size), wanted=f"one of {', '.join([*_SIZES, 'linear'])}")
        if num_classes < 2:
            raise InputError("option num_classes", got=num_classes, wanted="2 or more, background included")
        self.num_classes = int(num_classes)
        if size == "linear":
            super().__init__(nn.Conv2d(in_channels, num_classes, 1))
            return
        widths, dilations = _SIZES[size]
        layers: list[nn.Module] = []
        for (a, b), dilation in zip(pairwise((in_channels, *widths, num_classes)), dilations, strict=True):
            layers += [nn.Conv2d(a, b, 3, padding=dilation, dilation=dilation), nn.LeakyReLU(0.2)]
        super().__init__(*layers[:-1])


class PrototypeHead(nn.Module):
    """Scores of unit features against prototypes; used in the pre-training alone.

    Args:
        dim: d of the projector.
        prototypes: P, their number.
        bias: one number more a prototype, as in the published code.

    Shape: ``(N, d)`` to ``(N, P)``.
    """

    def __init__(self, dim: int = 64, prototypes: int = 300, bias: bool = False) -> None:
        super().__init__()
        if prototypes < 2:
            raise InputError("option prototypes", got=prototypes, wanted="2 or more")
        self.layer = nn.Linear(dim, prototypes, bias=bias)
        self.normalise()

    @torch.no_grad()
    def normalise(self) -> None:
        """Bring every prototype back to length 1."""
        self.layer.weight.copy_(F.normalize(self.layer.weight, dim=1))

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return self.layer(F.normalize(features, dim=-1))


class PixelMLPEnsemble(nn.Module):
    """Networks that label each pixel by its stack of hidden features: DatasetGAN (Zhang et al. 2021, 2104.06490).

    Args:
        in_channels: channels of the stack.
        num_classes: classes with background.
        members: networks; the paper has ten.
        hidden: widths of the two hidden layers (128 and 32 below 32 classes).

    Shape: ``(N, D)`` pixels to logits ``(members, N, K)``.
    """

    def __init__(
        self, in_channels: int, num_classes: int = 2, members: int = 10, hidden: tuple[int, int] = (128, 32)
    ) -> None:
        super().__init__()
        if members < 1:
            raise InputError("option members", got=members, wanted="1 or more")
        self.members = nn.ModuleList(
            nn.Sequential(
                nn.Linear(in_channels, hidden[0]), nn.ReLU(), nn.BatchNorm1d(hidden[0]),
                nn.Linear(hidden[0], hidden[1]), nn.ReLU(), nn.BatchNorm1d(hidden[1]),
                nn.Linear(hidden[1], num_classes),
            )
            for _ in range(members)
        )  # fmt: skip

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        return torch.stack([member(pixels) for member in self.members])

    def vote(self, stack: torch.Tensor) -> torch.Tensor:
        """Share of the members that chose each class, ``(B, D, H, W)`` to ``(B, K, H, W)``."""
        pixels = stack.movedim(1, -1)
        logits = self(pixels.flatten(0, -2))
        votes = F.one_hot(logits.argmax(dim=-1), logits.shape[-1]).float().mean(dim=0)
        return votes.view(*pixels.shape[:-1], -1).movedim(-1, 1)
