"""Features of slices from a convolutional network that nobody has trained: for distances between sets of images."""

from __future__ import annotations

import math
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import nn

__all__ = ["RandomConvFeatures", "frechet_feature_distance"]

_CHANNELS = (16, 24, 32)


class RandomConvFeatures(nn.Module):
    """Slices to 64 features: means and standard deviations of the maps of a small network with fixed random weights.

    The usual feature space of the Frechet inception distance needs a download and has seen photographs only. Random
    convolutions do nearly as well at telling sets of images apart where pretrained features do not fit (Naeem et al.
    2020, 2002.09797), cost nothing, and are the same everywhere: the weights come from a seed. Numbers are therefore
    to be held against each other only, never against published ones.

    Args:
        seed: of the weights.

    Shape: ``(B, 1, H, W)`` in [-1, 1] to ``(B, 64)``, H and W at least 16.
    """

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        draw = torch.Generator().manual_seed(seed)
        channels = (1, *_CHANNELS)
        self.weights = nn.ParameterList(
            nn.Parameter(torch.randn(out, into, 3, 3, generator=draw) * math.sqrt(2 / (9 * into)), requires_grad=False)
            for into, out in pairwise(channels)
        )
        self.biases = nn.ParameterList(
            nn.Parameter(0.3 * torch.randn(out, generator=draw), requires_grad=False) for out in _CHANNELS
        )

    @property
    def dimension(self) -> int:
        """Number of features."""
        return 2 * _CHANNELS[-1]

    @torch.no_grad()
    def forward(self, image: torch.Tensor) -> torch.Tensor:
        x = image.float()
        for weight, bias in zip(self.weights, self.biases, strict=True):
            x = F.leaky_relu(F.conv2d(x, weight, bias, stride=2, padding=1), 0.2)
        x = x.flatten(2)
        return torch.cat([x.mean(dim=2), x.std(dim=2)], dim=1)


def frechet_feature_distance(features: torch.Tensor, reference: torch.Tensor) -> float:
    """Frechet distance of two sets of features ``(N, F)`` taken as normal distributions (Heusel et al. 2017,
    1706.08500).

    Raises:
        ValueError: with fewer than two samples in a set.
    """
    if min(len(features), len(reference)) < 2:
        raise ValueError(f"two samples or more are wanted, got {len(features)} and {len(reference)}")
    first, second = (part.detach().cpu().double() for part in (features, reference))
    shift = (first.mean(dim=0) - second.mean(dim=0)).square().sum()
    a, b = torch.cov(first.T), torch.cov(second.T)
    # tr (A B)^(1/2) from symmetric matrices alone, so that covariances without full rank are no trouble
    values, vectors = torch.linalg.eigh(a)
    root = vectors @ torch.diag(values.clamp(min=0).sqrt()) @ vectors.T
    cross = torch.linalg.eigvalsh(root @ b @ root).clamp(min=0).sqrt().sum()
    return max(0.0, float(shift + a.trace() + b.trace() - 2 * cross))
