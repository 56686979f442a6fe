"""Colours for classes: a mask as a small picture (Chen, Lu, Zhu and Zhang, CVPR 2023, 2303.11316).

The paper asks for colours as far apart as possible. Regular lattices of the colour cube come close; which class gets
which colour then matters too: on a blurred edge between two classes lie all mixtures of their colours, and a third
class whose colour is near that line would show up as a rim.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from ...utils.errors import InputError

__all__ = ["arrange_colours", "class_adjacency", "maskige_palette", "mixing_margin"]

PALETTES = ("lattice", "one_hot", "random")
_MOST_CLASSES = 255  # a mask has 256 values, and one may mean "not known"


def maskige_palette(num_classes: int, kind: str | Sequence[Sequence[float]] = "lattice", seed: int = 0) -> torch.Tensor:
    """Colours of the classes, ``(K, M)`` in [0, 1]; M = 3, or K for one-hot.

    Args:
        num_classes: K, background included.
        kind: ``"lattice"``: the coarsest of cube, body-centred and face-centred lattices with K points, and of its
            points K that are far apart; ``"one_hot"``: one channel a class; ``"random"``: uniform, the paper's
            control; or the colours themselves, a row for each class.
        seed: of random colours.

    Raises:
        InputError: an unknown kind, fewer colours than classes, or colours that are no rows of numbers in [0, 1].

    Example:
        >>> maskige_palette(4).tolist()
        [[0.0, 0.0, 0.0], [0.0, 1.0, 1.0], [1.0, 0.0, 1.0], [1.0, 1.0, 0.0]]
    """
    if not 2 <= num_classes <= _MOST_CLASSES:
        raise InputError("classes of a maskige", got=num_classes, wanted=f"2 to {_MOST_CLASSES}, background included")
    if not isinstance(kind, str):
        return _own_colours(kind, num_classes)
    if kind == "one_hot":
        return torch.eye(num_classes)
    if kind == "random":
        return torch.rand(num_classes, 3, generator=torch.Generator().manual_seed(seed))
    if kind != "lattice":
        raise InputError("option palette", got=kind, wanted=f"one of {', '.join(PALETTES)}, or a list of colours")
    return _spread(_lattice(num_classes), num_classes)


def class_adjacency(label: torch.Tensor, num_classes: int) -> torch.Tensor:
    """Share of neighbouring pixels of each two different classes among all such pairs, ``(K, K)``, symmetric.

    Args:
        label: ``(B, 1, ...)`` class indices; those from K on are left out.
        num_classes: K.
    """
    counts = torch.zeros(num_classes * num_classes, dtype=torch.float64)
    for dim in range(2, label.ndim):
        size = label.shape[dim] - 1
        a, b = (label.narrow(dim, start, size).flatten().long() for start in (0, 1))
        differ = (a != b) & (a < num_classes) & (b < num_classes)
        counts += torch.bincount(a[differ] * num_classes + b[differ], minlength=num_classes**2).cpu().double()
    table = counts.reshape(num_classes, num_classes)
    table = table + table.T
    return (table / table.sum().clamp(min=1.0)).float()


def mixing_margin(palette: torch.Tensor) -> torch.Tensor:
    """``(K, K)``: how near any third colour comes to the line between two, 0 on the diagonal.

    With two classes there is no third: 1.
    """
    count = len(palette)
    if count < 3:
        return 1.0 - torch.eye(count)
    start, end = palette[:, None, None], palette[None, :, None]
    line = end - start
    along = ((palette - start) * line).sum(-1) / (line * line).sum(-1).clamp(min=1e-12)
    distance = (palette - start - along.clamp(0, 1)[..., None] * line).norm(dim=-1)
    own = torch.eye(count, dtype=torch.bool)
    distance = distance.masked_fill(own[:, None] | own[None], float("inf"))
    margin = distance.amin(dim=-1)
    return margin.masked_fill(own, 0.0)


def arrange_colours(palette: torch.Tensor, adjacency: torch.Tensor) -> torch.Tensor:
    """The same colours, given to the classes so that those that touch have colours that neither meet nor mix badly.

    Maximises ``sum of adjacency (distance + mixing margin)`` over classes by exchanging the colours of two classes as
    long as it helps. Nothing is drawn at random.

    Args:
        palette: ``(K, M)``.
        adjacency: ``(K, K)`` of :func:`class_adjacency`.
    """
    worth = (torch.cdist(palette, palette) + mixing_margin(palette)).double()
    adjacency = adjacency.double().cpu()
    order = torch.arange(len(palette))

    def total(candidate: torch.Tensor) -> float:
        return float((adjacency * worth[candidate][:, candidate]).sum())

    best, improved = total(order), True
    while improved:
        improved = False
        for i in range(len(order)):
            for j in range(i):
                candidate = order.clone()
                candidate[i], candidate[j] = order[j], order[i]
                value = total(candidate)
                if value > best + 1e-9:
                    order, best, improved = candidate, value, True
    return palette[order]


def _own_colours(colours: Sequence[Sequence[float]], num_classes: int) -> torch.Tensor:
    if len(colours) < num_classes:
        raise InputError(
            "option palette", got=f"{len(colours)} colours for {num_classes} classes, background included",
            wanted="a colour for each class", fix="add colours, or take the palette 'lattice'",
        )  # fmt: skip
    try:
        palette = torch.tensor([[float(value) for value in colour] for colour in colours[:num_classes]])
    except (TypeError, ValueError) as error:
        raise InputError("option palette", got=colours, wanted="rows of as many numbers, within 0..1") from error
    if palette.ndim != 2 or not bool(((palette >= 0) & (palette <= 1)).all()):
        raise InputError("option palette", got=palette.tolist(), wanted="rows of as many numbers, within 0..1")
    if len(torch.unique(palette, dim=0)) < num_classes:
        raise InputError("option palette", got="a colour twice", wanted="a colour of its own for each class")
    return palette


def _lattice(count: int) -> torch.Tensor:
    """The points of the lattice with at least ``count`` of them and the largest distance between neighbours."""
    if count <= 2:
        return torch.tensor([[0.0, 0.0, 0.0], [1.0, 1.0, 1.0]])
    corners = torch.cartesian_prod(*[torch.tensor([0.0, 1.0])] * 3)
    if count <= 4:
        return corners[corners.sum(1) % 2 == 0]
    candidates = []
    for steps in range(1, 8):
        grid = torch.cartesian_prod(*[torch.arange(2 * steps + 1)] * 3)
        odd = grid % 2
        cubic, centred = odd.sum(1) == 0, (odd.sum(1) == 0) | (odd.sum(1) == 3)
        face = grid.sum(1) % 2 == 0
        for chosen, spacing in ((cubic, 2.0), (centred, 3**0.5), (face, 2**0.5)):
            if int(chosen.sum()) >= count:
                candidates.append((spacing / (2 * steps), grid[chosen] / (2.0 * steps)))
    return max(candidates, key=lambda candidate: candidate[0])[1]


def _spread(points: torch.Tensor, count: int) -> torch.Tensor:
    """``count`` of the points, each the one farthest from those before, black first."""
    chosen = [int(points.sum(1).argmin())]
    distance = (points - points[chosen[0]]).norm(dim=1)
    while len(chosen) < count:
        chosen.append(int(distance.argmax()))
        distance = torch.minimum(distance, (points - points[chosen[-1]]).norm(dim=1))
    return points[chosen]
