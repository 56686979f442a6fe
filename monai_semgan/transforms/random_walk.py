"""Class probabilities moved to the edges that the scan itself shows."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import torch
from monai.config import KeysCollection
from monai.data.utils import affine_to_spacing
from monai.transforms import MapTransform, Transform
from monai.utils import convert_to_dst_type

from ..utils import InputError

__all__ = [
    "RandomWalkRefine",
    "RandomWalkRefineD",
    "RandomWalkRefineDict",
    "RandomWalkRefined",
    "random_walk",
]

_SURE = 0.8  # voxels of an organ whose grey values say how much noise there is
_FEWEST = 32  # pairs of them, to say it
_SMALLEST_NOISE = 0.005  # of grey values in [-1, 1]: a region without any noise has no scale
_WEAKEST = 1e-4  # hold of a probability that says nothing: keeps the system definite


class RandomWalkRefine(Transform):
    """Smooth class probabilities within regions of one grey value; :func:`random_walk` says how.

    A network that never saw a modality still finds most of an organ there; what it gets wrong lies where it is
    unsure. In one scan an organ has one look, so the scan's own edges say where the sure part ends. No grey value is
    compared with anything outside the scan: CT and MRI are treated alike.

    Args:
        reach_mm: see :func:`random_walk`; with 0 probabilities are handed on as they are.
        edge_sensitivity: see :func:`random_walk`.
        iterations: see :func:`random_walk`.

    ``__call__``: probabilities ``(K, H, W[, D])``, background first, and the scan ``(C, H, W[, D])`` in [-1, 1] on the
    same grid, a ``MetaTensor`` (its affine says the spacing), to ``(K, H, W[, D])``, float32, with the meta data of
    the probabilities.

    Raises:
        InputError: an option is out of range, shapes do not fit, or the scan does not say its spacing.

    Example:
        >>> from monai.data import MetaTensor
        >>> scan = MetaTensor(torch.zeros(1, 8, 8, 8))
        >>> RandomWalkRefine(reach_mm=20.0)(torch.full((2, 8, 8, 8), 0.5), scan).shape
        torch.Size([2, 8, 8, 8])
    """

    def __init__(self, reach_mm: float = 20.0, edge_sensitivity: float = 2.0, iterations: int = 100) -> None:
        _check(reach_mm, edge_sensitivity, iterations)
        self.reach_mm, self.edge_sensitivity = float(reach_mm), float(edge_sensitivity)
        self.iterations = int(iterations)

    def __call__(self, probability: torch.Tensor, image: torch.Tensor) -> torch.Tensor:
        if not self.reach_mm:
            return probability
        spacing = _spacing(image)
        prior, scan = (x.as_tensor() if hasattr(x, "as_tensor") else x for x in (probability, image))
        made = random_walk(prior, scan.to(prior.device), spacing, self.reach_mm, self.edge_sensitivity, self.iterations)
        return convert_to_dst_type(made, probability, dtype=made.dtype)[0]


class RandomWalkRefined(MapTransform):
    """Dictionary form of :class:`RandomWalkRefine`, for use between ``Activationsd`` and ``Invertd``.

    Args:
        keys: probabilities.
        image_key: the scan as the network saw it, on the grid of the probabilities.
        reach_mm, edge_sensitivity, iterations: of :class:`RandomWalkRefine`.
        allow_missing_keys: of ``MapTransform``.
    """

    def __init__(
        self,
        keys: KeysCollection,
        image_key: str = "image",
        reach_mm: float = 20.0,
        edge_sensitivity: float = 2.0,
        iterations: int = 100,
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.image_key = image_key
        self.refine = RandomWalkRefine(reach_mm, edge_sensitivity, iterations)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        made = dict(data)
        for key in self.key_iterator(made):
            made[key] = self.refine(made[key], made[self.image_key])
        return made


RandomWalkRefineD = RandomWalkRefineDict = RandomWalkRefined


def random_walk(
    probability: torch.Tensor,
    image: torch.Tensor,
    spacing_mm: Sequence[float],
    reach_mm: float = 20.0,
    edge_sensitivity: float = 2.0,
    iterations: int = 100,
) -> torch.Tensor:
    """Smooth class probabilities inside of regions of one grey value, hold them where they are sure.

    Random walker with a prior (Grady, Multilabel Random Walker Image Segmentation Using Prior Models, CVPR 2005), the
    prior of a voxel weighted by how sure it is: for every class the minimum over ``u`` of::

        sum_i m_i (u_i - p_i)^2 + sum_(i,j) reach^2 / h_ij^2 exp(-s/2 ((x_i - x_j) / n)^2) (u_i - u_j)^2

    over voxels ``i`` and neighbours ``(i, j)`` at distance ``h_ij``, with grey values ``x``, prior ``p``, margin ``m``
    of the most probable class over the second, and noise ``n`` of the scan: the median of ``|x_i - x_j|``, as a
    standard deviation, between neighbours in the plane that both belong to some organ with certainty. The classes
    share one matrix, so the result sums to 1; it stays within the prior's least and largest value.

    Args:
        probability: ``(K, H, W[, D])``, background first; sums to 1 over K.
        image: ``(C, H, W[, D])`` in [-1, 1]; several channels count as one vector.
        spacing_mm: distance of voxels along each axis.
        reach_mm: how far an answer is carried where there is no edge. 0 gives the prior.
        edge_sensitivity: ``s``. A step of one noise deviation weakens a link by ``exp(-s/2)``.
        iterations: of conjugate gradients, at most.

    Returns:
        ``(K, H, W[, D])``, float32. The prior itself, if no organ is certain anywhere.

    Raises:
        InputError: an option is out of range, or shapes do not fit.
    """
    _check(reach_mm, edge_sensitivity, iterations)
    prior, image = probability.detach().float(), image.detach().float()
    if prior.shape[1:] != image.shape[1:] or len(spacing_mm) != image.ndim - 1 or len(prior) < 2:
        raise InputError(
            "random walk",
            got=f"probabilities {tuple(prior.shape)}, image {tuple(image.shape)}, {len(spacing_mm)} spacings",
            wanted="two or more classes, one grid, a spacing for each axis",
        )
    sure = prior[1:].amax(dim=0) > _SURE
    noise = _noise(image, sure)
    if not reach_mm or noise is None:
        return prior
    largest = prior.topk(2, dim=0).values
    hold = (largest[0] - largest[1]).clamp_(min=_WEAKEST)
    links = []
    for axis, step in enumerate(spacing_mm):
        steps = (_along(image, axis + 1) / noise).square_().sum(dim=0)
        links.append(torch.exp_(steps.mul_(-0.5 * edge_sensitivity)).mul_((reach_mm / float(step)) ** 2))
    free = [_solve(hold, links, p, iterations) for p in prior[1:]]  # the background is what they leave
    organs = torch.stack(free).clamp_(0.0, 1.0)
    organs /= organs.sum(dim=0, keepdim=True).clamp_(min=1.0)
    return torch.cat([1.0 - organs.sum(dim=0, keepdim=True), organs]).clamp_(min=0.0)


def _check(reach_mm: float, edge_sensitivity: float, iterations: int) -> None:
    if not reach_mm >= 0 or not edge_sensitivity > 0 or iterations < 1:
        raise InputError(
            "random walk",
            got=f"reach_mm {reach_mm}, edge_sensitivity {edge_sensitivity}, iterations {iterations}",
            wanted="reach_mm of at least 0, edge_sensitivity above 0, one iteration or more",
        )


def _spacing(image: torch.Tensor) -> list[float]:
    """Millimetres along each axis of ``(C, H, W[, D])``."""
    affine = getattr(image, "affine", None)
    if affine is None:
        raise InputError(
            "random walk: the scan's spacing is not known", got=type(image).__name__,
            wanted="a MetaTensor with its affine",
            fix="load the scan with LoadScand, and do not strip its meta data, or set reach_mm to 0",
        )  # fmt: skip
    return [float(step) for step in affine_to_spacing(affine, r=len(affine) - 1)[: image.ndim - 1]]


def _along(image: torch.Tensor, axis: int) -> torch.Tensor:
    """Difference of neighbours along an axis, one shorter there."""
    return image.narrow(axis, 1, image.shape[axis] - 1) - image.narrow(axis, 0, image.shape[axis] - 1)


def _noise(image: torch.Tensor, sure: torch.Tensor) -> float | None:
    """Grey-value noise within the sure part of organs; None where there is next to none of it."""
    steps = []
    for axis in range(2):
        length = sure.shape[axis] - 1
        both = sure.narrow(axis, 1, length) & sure.narrow(axis, 0, length)
        steps.append(_along(image, axis + 1)[:, both].abs().flatten())
    found = torch.cat(steps)
    if len(found) < _FEWEST:
        return None
    return max(_SMALLEST_NOISE, 1.4826 * float(found.median()))


def _solve(hold: torch.Tensor, links: Sequence[torch.Tensor], prior: torch.Tensor, iterations: int) -> torch.Tensor:
    """``(diag(hold) + Laplacian of links) u = hold prior``, by conjugate gradients with Jacobi's preconditioner."""
    diagonal = hold.clone()
    for axis, link in enumerate(links):
        length = link.shape[axis]
        diagonal.narrow(axis, 0, length).add_(link)
        diagonal.narrow(axis, 1, length).add_(link)

    def times(u: torch.Tensor) -> torch.Tensor:
        made = hold * u
        for axis, link in enumerate(links):
            flow, length = link * _along(u, axis), link.shape[axis]
            made.narrow(axis, 0, length).sub_(flow)
            made.narrow(axis, 1, length).add_(flow)
        return made

    solution = prior.clone()
    residual = hold * prior - times(solution)
    scaled = residual / diagonal
    direction, product = scaled.clone(), float((residual * scaled).sum(dtype=torch.float64))
    enough = 1e-8 * product
    for _ in range(iterations):
        if not product > enough:
            break
        image = times(direction)
        step = product / float((direction * image).sum(dtype=torch.float64))
        solution.add_(direction, alpha=step)
        residual.sub_(image, alpha=step)
        torch.div(residual, diagonal, out=scaled)
        new = float((residual * scaled).sum(dtype=torch.float64))
        direction.mul_(new / product).add_(scaled)
        product = new
    return solution
