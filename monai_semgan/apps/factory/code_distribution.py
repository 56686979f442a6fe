"""The distribution of an encoder's codes of real scans, to sample new ones from.

A density fitted afterwards to the codes of a trained autoencoder gives better samples than the prior it was trained
with: "ex-post density estimation" (Ghosh et al. 2020, From variational to deterministic autoencoders, 1903.12436).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

from ...utils.errors import InputError

__all__ = ["CodeDistribution"]


class CodeDistribution:
    """Gaussian in the principal components of codes; of windows of neighbouring slices, if ``depth`` is above 1.

    Codes ``x (F,)`` are standardised and projected to their first components, ``y = B^T (x - m) / s``. The windows
    of ``depth`` neighbouring codes ``(y_1, ..., y_d)`` have principal components of their own; a sample is a point
    ``z ~ N(0, truncation^2 I)`` among those, in standard deviations. With one slice both are the same.

    Args:
        components: how many components of a slice's code are kept, at most; a window keeps as many of its own.
        max_slices: slices that mean, spread and components are taken from; more are thinned out evenly.

    Raises:
        InputError: ``components`` below 1.
    """

    def __init__(self, components: int = 80, max_slices: int = 2000) -> None:
        if components < 1:
            raise InputError("option components", got=components, wanted="1 or more")
        self.components, self.max_slices = int(components), int(max_slices)
        self.depth = 0

    def fit(
        self, scans: Sequence[torch.Tensor], encode: Callable[[torch.Tensor], torch.Tensor], depth: int = 1
    ) -> CodeDistribution:
        """Learn from the slices of scans.

        Args:
            scans: ``(N, 1, S, S)`` each, slices in their order.
            encode: slices to codes ``(N, F)``.
            depth: slices of a window.

        Raises:
            InputError: fewer than two slices in all, or no scan has ``depth`` of them.
        """
        total = sum(len(scan) for scan in scans)
        if total < 2:
            raise InputError("scans to learn codes from", got=f"{total} slices", wanted="at least 2")
        windows_there = sum(max(0, len(scan) - depth + 1) for scan in scans)
        if windows_there < 2:
            raise InputError(
                f"stacks of {depth} slices", got=f"scans of at most {max(len(scan) for scan in scans)} slices",
                wanted=f"at least two places in scans of {depth} slices or more", fix="give a smaller --depth",
            )  # fmt: skip
        step = max(1, -(-total // self.max_slices))
        codes = encode(torch.cat(list(scans))[::step])
        self.mean, self.spread = codes.mean(dim=0), codes.std(dim=0).clamp_min(1e-6)
        self.basis, _ = principal_components((codes - self.mean) / self.spread, self.components)
        del codes
        scores = [self.project(encode(scan)) for scan in scans]
        windows = torch.cat([s.unfold(0, depth, 1).transpose(1, 2).flatten(1) for s in scores if len(s) >= depth])
        step = max(1, -(-len(windows) // self.max_slices))
        self.window_mean = windows.mean(dim=0)
        self.window_basis, deviation = principal_components(windows[::step] - self.window_mean, self.components)
        self.window_basis = self.window_basis * deviation
        self.depth = depth
        return self

    def project(self, codes: torch.Tensor) -> torch.Tensor:
        """Codes ``(N, F)`` to their components ``(N, k)``."""
        return ((codes - self.mean) / self.spread) @ self.basis

    def sample(self, generator: torch.Generator, truncation: float = 1.0) -> tuple[torch.Tensor, float]:
        """Codes ``(depth, F)`` of one sample, and the norm of z: its distance from the mean in standard deviations."""
        z = torch.randn(self.window_basis.shape[1], generator=generator) * truncation
        scores = (self.window_mean + self.window_basis @ z.to(self.mean.device)).view(self.depth, -1)
        return (scores @ self.basis.T) * self.spread + self.mean, float(z.norm())


def principal_components(rows: torch.Tensor, number: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Unit directions ``(F, k)`` of largest variance of centred rows ``(N, F)``, and the deviation along each.

    By the eigenvectors of the N x N products, since codes have more entries than there are slices. Directions
    without variance are left out; each points to where its largest entry is positive.
    """
    products = (rows @ rows.T).double()
    values, vectors = torch.linalg.eigh(products)
    kept = [i for i in range(len(values) - 1, -1, -1) if values[i] > 1e-7 * values[-1]][: min(number, len(rows) - 1)]
    directions = rows.T @ (vectors[:, kept] / values[kept].sqrt()).to(rows.dtype)
    largest = directions.gather(0, directions.abs().argmax(dim=0, keepdim=True))
    deviation = (values[kept] / (len(rows) - 1)).sqrt().to(rows.dtype)
    return directions * largest.sign(), deviation
