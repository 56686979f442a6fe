"""Self-diffusion of class activations inside objects (Xiao et al. 2018, 1711.06828).

The paper's equation is not at hand. This is the series of its namesake (Wang and Tu, Affinity Learning via
Self-Diffusion for Image Segmentation and Clustering, CVPR 2012), restricted to the object map: activation is carried
from pixel to like pixel, and dies outside objects.
"""

from __future__ import annotations

from itertools import product

import torch
import torch.nn.functional as F

from ..utils import InputError


class SelfDiffusion:
    """Spread activations over what looks alike, within objects.

    On the grid graph that links each pixel to its neighbourhood N(u), itself left out:

        w(u, v) = exp(-(I(u) - I(v))^2 / sigma_I^2) exp(-(M(u) - M(v))^2 / sigma_M^2),  P = D^-1 W,
        A^0 = sqrt(M) A,  A^(t+1) = diag(sqrt(M)) P A^t,  S = mean of A^0 ... A^T

    with I the 3 x 3 mean of the image. Without gradient, deterministic, in two or three dimensions.

    Args:
        steps: T; 0 gives A^0.
        sigma_image: in units of the image scaled to [0, 1]; about the noise.
        sigma_object: in units of M.
        radius: of the neighbourhood, 2 is 5 x 5.

    Raises:
        InputError: numbers out of range.

    Example:
        >>> image, objects = torch.zeros(1, 1, 8, 8), torch.ones(1, 1, 8, 8)
        >>> seed = torch.zeros(1, 1, 8, 8)
        >>> seed[..., 4, 4] = 1
        >>> bool((SelfDiffusion(steps=8)(objects, seed, image) > 0).all())
        True
    """

    def __init__(self, steps: int = 32, sigma_image: float = 0.06, sigma_object: float = 1.0, radius: int = 2) -> None:
        if steps < 0 or radius < 1 or sigma_image <= 0 or sigma_object <= 0:
            raise InputError(
                "self-diffusion",
                got=f"steps {steps}, radius {radius}, sigma_image {sigma_image}, sigma_object {sigma_object}",
                wanted="0 steps or more, a radius of 1 or more, and sigmas above 0",
            )
        self.steps, self.radius = int(steps), int(radius)
        self.sigma_image, self.sigma_object = float(sigma_image), float(sigma_object)

    @torch.no_grad()
    def __call__(self, objects: torch.Tensor, activation: torch.Tensor, image: torch.Tensor) -> torch.Tensor:
        """S ``(B, C, ...)``.

        Args:
            objects: M, ``(B, 1 or C, ...)`` in 0..1.
            activation: A, ``(B, C, ...)``, 0 or more.
            image: ``(B, 1, ...)`` in [-1, 1].
        """
        gate = objects.clamp(0, 1).sqrt()
        spread = total = gate * activation
        if self.steps == 0:
            return total
        offsets, chances = self.transitions(objects, image)
        for _ in range(self.steps):
            spread = gate * self._carry(spread, offsets, chances)
            total = total + spread
        return total / (self.steps + 1)

    def transitions(
        self, objects: torch.Tensor, image: torch.Tensor
    ) -> tuple[list[tuple[int, ...]], list[torch.Tensor]]:
        """P: for each offset to a neighbour, the share ``(B, 1 or C, ...)`` that comes from there; they sum to 1."""
        dims = image.ndim - 2
        pool = {2: F.avg_pool2d, 3: F.avg_pool3d}[dims]
        smooth = pool(F.pad((image + 1) / 2, [1] * 2 * dims, mode="replicate"), 3, stride=1)
        reach = range(-self.radius, self.radius + 1)
        offsets = [offset for offset in product(reach, repeat=dims) if any(offset)]
        inside = torch.ones_like(image[:1])
        weights = []
        for offset in offsets:
            grey = (smooth - self._shift(smooth, offset)) / self.sigma_image
            object_ = (objects - self._shift(objects, offset)) / self.sigma_object
            # the floor keeps a pixel unlike all its neighbours from having none
            weight = torch.exp(-(grey.pow(2) + object_.pow(2))).clamp(min=1e-12)
            weights.append(weight * self._shift(inside, offset))
        whole = torch.stack(weights).sum(0)
        return offsets, [weight / whole for weight in weights]

    def _carry(self, spread: torch.Tensor, offsets: list[tuple[int, ...]], chances: list[torch.Tensor]) -> torch.Tensor:
        padded = F.pad(spread, [self.radius] * 2 * (spread.ndim - 2))
        carried = torch.zeros_like(spread)
        for offset, chance in zip(offsets, chances, strict=True):
            carried.addcmul_(chance.expand_as(spread), self._window(padded, offset, spread.shape[2:]))
        return carried

    def _shift(self, values: torch.Tensor, offset: tuple[int, ...]) -> torch.Tensor:
        """The neighbour's value at each place, 0 outside."""
        padded = F.pad(values, [self.radius] * 2 * (values.ndim - 2))
        return self._window(padded, offset, values.shape[2:])

    def _window(self, padded: torch.Tensor, offset: tuple[int, ...], size: torch.Size) -> torch.Tensor:
        places = (slice(self.radius + d, self.radius + d + n) for d, n in zip(offset, size, strict=True))
        return padded[(..., *places)]


def diffusion_labels(
    evidence: torch.Tensor,
    objects: torch.Tensor,
    classes: list[int],
    object_threshold: float = 0.1,
    reject_threshold: float = 0.1,
    unknown: int = 255,
) -> torch.Tensor:
    """Pixel labels from diffused evidence.

    The organ with most evidence, where M reaches the threshold and the evidence is not faint beside its own peak; else
    background. Unknown where M is just below the threshold, and on clear objects that no tag explains.

    Args:
        evidence: S, ``(B, C, H, W)``, 0 in all of an organ that is not tagged.
        objects: M, ``(B, 1, H, W)``.
        classes: label of each of the C organs.
        object_threshold: tau_M.
        reject_threshold: tau_rej, as a share of the organ's peak in the image.
        unknown: value of pixels without a label.

    Returns:
        ``(B, 1, H, W)`` uint8.
    """
    best, index = evidence.max(dim=1, keepdim=True)
    peak = evidence.flatten(2).amax(2).gather(1, index.flatten(1)).reshape(index.shape)
    found = (objects > object_threshold) & (best > 0) & (best >= reject_threshold * peak)
    names = torch.tensor(classes, dtype=torch.uint8, device=evidence.device)
    label = torch.where(found, names[index], torch.zeros_like(names[index]))
    doubtful = (objects > object_threshold / 2) & (objects <= object_threshold)
    unexplained = (objects > max(0.5, object_threshold)) & ~found
    return label.masked_fill((doubtful | unexplained) & ~found, unknown)
