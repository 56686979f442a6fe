"""Neighbouring slices of a volume held together while their latents are optimised."""

from __future__ import annotations

import torch

__all__ = ["SliceChain"]


class SliceChain:
    """Which slices of a batch follow on the slice before them, and how far their latents are apart.

    Batches come one after the other, ``begin`` before and ``end`` after each. The first slice of a batch is tied
    to the last of the batch before, whose latents are solved and stay as they are. Slices of different volumes
    are never tied, nor is a slice whose latents are not finite at the start: a broken slice does not spoil its
    neighbours.

    Args:
        depth: slices in a volume.
    """

    def __init__(self, depth: int) -> None:
        self.depth = depth
        self._done = 0
        self._last: torch.Tensor | None = None
        self._before: torch.Tensor | None = None

    def begin(self, wplus: torch.Tensor) -> None:
        """Start the next batch; ``wplus (B, L, W)`` are its latents before they are optimised."""
        finite = torch.isfinite(wplus).flatten(1).all(dim=1)
        number = torch.arange(self._done, self._done + len(wplus), device=wplus.device)
        follows = (number % self.depth != 0) & finite
        self._pairs = follows[1:] & finite[:-1]
        usable = self._last is not None and bool(follows[0]) and bool(torch.isfinite(self._last).all())
        self._before = self._last if usable else None
        run = torch.cat([number.new_zeros(1), (~self._pairs).long()]).cumsum(0)
        self._together = run[:, None] == run[None, :]

    def end(self, wplus: torch.Tensor) -> None:
        """The batch is solved: ``wplus (B, L, W)`` are its latents from now on."""
        self._done += len(wplus)
        self._last = wplus[-1:].detach()

    def distance(self, wplus: torch.Tensor) -> torch.Tensor:
        """Each slice's share ``(B,)`` of the mean squared distances between neighbours.

        A pair within the batch counts half for either slice, one with the slice before the batch wholly for
        the first slice; the sum over the batch is the sum over pairs.
        """
        shares = torch.zeros(len(wplus), device=wplus.device, dtype=wplus.dtype)
        half = 0.5 * (wplus[1:][self._pairs] - wplus[:-1][self._pairs]).square().flatten(1).mean(dim=1)
        lower = torch.nonzero(self._pairs)[:, 0]
        shares = shares.index_put((lower,), half).index_put((lower + 1,), half, accumulate=True)
        if self._before is not None:
            first = (wplus[:1] - self._before).square().flatten(1).mean(dim=1)
            shares = torch.cat([shares[:1] + first, shares[1:]])
        return shares

    def total(self, loss: torch.Tensor) -> torch.Tensor:
        """Sum of ``loss`` ``(B,)`` over the slices tied together, given to each of them.

        Latents that fit their neighbours' latents of one step need not fit those of another; so the slices
        that are tied together are kept from the same step, the one where this sum is lowest.
        """
        return torch.where(self._together, loss[None, :], 0.0).sum(dim=1)
