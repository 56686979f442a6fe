"""Ways to learn from one annotated image what the hidden features of a generator mean, side by side."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from ...losses import ClassWeightedLoss
from ...networks.nets import HiddenFeatureProjector, OneShotHead, PixelMLPEnsemble

__all__ = ["LABELLERS", "Labeller", "make_labeller", "pca_projector", "random_projector"]

Maps = Sequence[torch.Tensor]

LABELLERS: dict[str, str] = {
    "one_shot": "the self-supervised projection and a head",
    "random": "a random projection of the same size and the same head",
    "pca": "the principal components of the same number and the same head",
    "raw": "the same head on all hidden features, not projected (RepurposeGAN's way)",
    "linear": "one 1x1 layer on all hidden features",
    "mlps_10": "majority vote of ten pixel networks on all hidden features (DatasetGAN)",
    "mlp_1": "the first of the ten",
}
"""Name of each way and what it is. All see the same standardised features and make the same number of steps."""


class Labeller:
    """One way: features to an input, and a network that is fitted to one image's mask.

    Args:
        name: of ``LABELLERS``, or free.
        prepare: hidden maps to the network's input ``(B, C, S, S)``.
        network: input to logits, or a :class:`PixelMLPEnsemble`.
        learning_rate: of Adam.
        pixels: pixels a step for pixel networks; None: whole images.
    """

    def __init__(
        self,
        name: str,
        prepare: Callable[[Maps], torch.Tensor],
        network: nn.Module,
        learning_rate: float = 2e-3,
        pixels: int | None = None,
    ) -> None:
        self.name, self.prepare, self.network = name, prepare, network
        self.learning_rate, self.pixels = learning_rate, pixels

    def fit(self, maps: Maps, label: torch.Tensor, steps: int = 300, seed: int = 0, dropout: float = 0.1) -> None:
        """Learn from one image: its hidden maps and its mask ``(1, 1, S, S)``.

        Of several versions of it, ``(N, 1, S, S)`` and maps of N images, each step takes one at random.
        """
        versions = len(label)
        with torch.no_grad():
            given = self.prepare([m[:1] for m in maps])
        self.network.train().requires_grad_(True)
        optimizer = torch.optim.Adam(self.network.parameters(), lr=self.learning_rate, betas=(0.9, 0.99))
        loss, draw = ClassWeightedLoss(), torch.Generator().manual_seed(seed)
        wanted = label[:1]
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)  # dropout
            for _ in range(steps):
                if versions > 1:
                    k = int(torch.randint(versions, (), generator=draw))
                    wanted = label[k : k + 1]
                    with torch.no_grad():
                        given = self.prepare([m[k : k + 1] for m in maps])
                if self.pixels is None:
                    total = loss(self.network(F.dropout2d(given, dropout, training=True)), wanted)
                else:
                    flat, classes = given.movedim(1, -1).flatten(0, -2), wanted.flatten().long()
                    chosen = torch.randint(len(flat), (self.pixels,), generator=draw)
                    logits = self.network(flat[chosen])
                    # as in DatasetGAN: plain cross-entropy of pixels, members apart
                    total = sum(F.cross_entropy(member, classes[chosen]) for member in logits)
                optimizer.zero_grad(set_to_none=True)
                total.backward()
                optimizer.step()
        self.network.eval().requires_grad_(False)

    @torch.no_grad()
    def predict(self, maps: Maps) -> torch.Tensor:
        """Classes ``(B, 1, S, S)`` of images by their hidden maps."""
        given = self.prepare(maps)
        scores = self.network.vote(given) if isinstance(self.network, PixelMLPEnsemble) else self.network(given)
        return scores.argmax(dim=1, keepdim=True)

    def first_member(self, name: str) -> Labeller:
        """A fitted ensemble's first network alone."""
        single = PixelMLPEnsemble(1, members=1)
        single.members = nn.ModuleList([self.network.members[0]])
        return Labeller(name, self.prepare, single.eval(), self.learning_rate, self.pixels)


def make_labeller(
    name: str, projectors: dict[str, HiddenFeatureProjector], num_classes: int, head_size: str = "XS", seed: int = 0
) -> Labeller:
    """An unfitted labeller; ``projectors`` has one for each of ``one_shot``, ``random`` and ``pca``, or other names.

    ``raw``, ``linear`` and ``mlps_10`` take channels and statistics from ``one_shot``.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if name in projectors:
            projector = projectors[name]
            return Labeller(name, projector, OneShotHead(projector.dim, num_classes, head_size))
        base = projectors["one_shot"]
        total = sum(base.channels)

        def stack(maps: Maps) -> torch.Tensor:
            return (base.stack(maps) - base.mean[:, None, None]) / base.std[:, None, None]

        if name == "raw":
            return Labeller(name, stack, OneShotHead(total, num_classes, head_size))
        if name == "linear":
            return Labeller(name, stack, OneShotHead(total, num_classes, "linear"))
        if name == "mlps_10":
            return Labeller(name, stack, PixelMLPEnsemble(total, num_classes), 1e-3, pixels=256)
    raise KeyError(name)


def random_projector(like: HiddenFeatureProjector, seed: int = 0) -> HiddenFeatureProjector:
    """Same sizes and statistics, weights drawn as before any training."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        made = HiddenFeatureProjector(like.channels, like.resolutions, like.dim)
    made.mean.copy_(like.mean)
    made.std.copy_(like.std)
    return made.eval().requires_grad_(False)


@torch.no_grad()
def pca_projector(like: HiddenFeatureProjector, batches: Sequence[Any], pixels: int = 256) -> HiddenFeatureProjector:
    """Same sizes and statistics, weights the first principal components of standardised features.

    Args:
        batches: hidden maps of some images.
        pixels: looked at in each image.
    """
    rows, draw = [], torch.Generator().manual_seed(0)
    for maps in batches:
        stack = ((like.stack(maps) - like.mean[:, None, None]) / like.std[:, None, None]).flatten(2)
        rows.append(stack[:, :, torch.randperm(stack.shape[2], generator=draw)[:pixels]].movedim(1, -1).flatten(0, 1))
    table = torch.cat(rows).double()
    table = table - table.mean(dim=0)
    _, vectors = torch.linalg.eigh(table.t() @ table)
    made = random_projector(like)
    made.weight.copy_(vectors.flip(1)[:, : like.dim].t())
    return made
