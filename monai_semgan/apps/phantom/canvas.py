"""Drawing smooth three-dimensional shapes into a volume of structure numbers.

Coordinates are millimetres in the patient: x grows to the patient's left, y to the front, z to the head.
Arrays are (X, Y, Z) in that order, which is the orientation "LAS" of the files.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

__all__ = ["Canvas", "Window", "intersect", "smooth_noise", "unite"]


def smooth_noise(rng: np.random.Generator, shape: Sequence[int], spacing: Sequence[float], scale: float) -> np.ndarray:
    """Draw a smooth random field: cubic B-splines on a lattice of ``scale`` mm, zero mean, unit variance.

    Args:
        rng: source of the lattice values.
        shape: of the field, e.g. (X, Y, Z).
        spacing: of the field's voxels (mm).
        scale: distance of the lattice points (mm).
    """
    weights = [_spline_weights(size, step / scale) for size, step in zip(shape, spacing, strict=True)]
    field = rng.standard_normal([w.shape[1] for w in weights]).astype(np.float32)
    for axis in reversed(range(len(weights))):
        field = np.moveaxis(np.tensordot(weights[axis], field, axes=(1, axis)), 0, axis)
    # The variance of a sum of splines with independent weights, averaged over the positions.
    return np.ascontiguousarray(field) / np.float32(np.prod([np.sqrt((w**2).sum(1).mean()) for w in weights]))


def _spline_weights(size: int, step: float) -> np.ndarray:
    """Cubic B-spline weights (size, lattice) for positions ``step`` lattice units apart."""
    position = np.arange(size) * step + 1.0
    lattice = np.arange(int(np.ceil(position[-1])) + 3)
    t = np.abs(position[:, None] - lattice)
    near = 2 / 3 - t**2 + t**3 / 2
    far = np.clip(2 - t, 0, None) ** 3 / 6
    return np.where(t < 1, near, far).astype(np.float32)


def unite(a: np.ndarray, b: np.ndarray, k: float) -> np.ndarray:
    """Union of two shapes given by distances (mm, negative inside), rounded over ``k`` mm."""
    return -intersect(-a, -b, k)


def intersect(a: np.ndarray, b: np.ndarray, k: float) -> np.ndarray:
    """Intersection of two shapes given by distances (mm, negative inside), rounded over ``k`` mm."""
    h = np.maximum(k - np.abs(a - b), 0)
    return np.maximum(a, b) + h * h / (4 * k)


class Window:
    """The part of a canvas inside a box: warped coordinates and noise as (X, Y, Z) arrays."""

    def __init__(self, canvas: Canvas, index: tuple[slice, slice, slice]) -> None:
        self.index = index
        self.body = canvas.body[index]
        self.x, self.y, self.z = (c[index] for c in canvas.warped)
        self.noise = canvas.noise[index]
        self.fine_noise = canvas.fine_noise[index]
        self.empty = self.body.size == 0

    def ellipsoid(self, centre: Sequence[float], radii: Sequence[float], axes: np.ndarray | None = None) -> np.ndarray:
        """Approximate distance (mm) to an ellipsoid; ``axes`` (3, 3) holds its axes as rows."""
        p = [self.x - centre[0], self.y - centre[1], self.z - centre[2]]
        if axes is not None:
            p = [p[0] * a[0] + p[1] * a[1] + p[2] * a[2] for a in axes.astype(np.float32)]
        q = np.sqrt(sum((c / r) ** 2 for c, r in zip(p, radii, strict=True))) + 1e-6
        return (q - 1) * np.float32(min(radii))

    def tube(self, points: Sequence[Sequence[float]], radii: Sequence[float], k: float = 0.0) -> np.ndarray:
        """Distance (mm) to a chain of tapering capsules through ``points`` with ``radii``."""
        total = None
        for a, b, ra, rb in zip(points[:-1], points[1:], radii[:-1], radii[1:], strict=True):
            d = self._capsule(np.asarray(a, np.float32), np.asarray(b, np.float32), np.float32(ra), np.float32(rb))
            total = d if total is None else (np.minimum(total, d) if k == 0 else unite(total, d, k))
        return total

    def _capsule(self, a: np.ndarray, b: np.ndarray, ra: np.float32, rb: np.float32) -> np.ndarray:
        px, py, pz = self.x - a[0], self.y - a[1], self.z - a[2]
        e = b - a
        t = np.clip((px * e[0] + py * e[1] + pz * e[2]) / max(float(e @ e), 1e-6), 0, 1)
        return np.sqrt((px - t * e[0]) ** 2 + (py - t * e[1]) ** 2 + (pz - t * e[2]) ** 2) - (ra + t * (rb - ra))


class Canvas:
    """A volume of structure numbers with the coordinates and the noise that shapes are drawn with.

    Args:
        rng: source of the warp and the noise.
        low: corner of the volume at the right, back and feet (mm).
        high: the opposite corner (mm).
        spacing: of the voxels (mm).
        warp: standard deviation of the displacement that bends all shapes together (mm).

    Attributes:
        body: (X, Y, Z) uint8 structure numbers, 0 = air.
        warped: the three coordinates (mm) after the warp, each (X, Y, Z) float32.
        noise, fine_noise: smooth fields of 26 mm and 9 mm, unit variance.
    """

    def __init__(
        self,
        rng: np.random.Generator,
        low: Sequence[float],
        high: Sequence[float],
        spacing: Sequence[float] = (1.5, 1.5, 2.5),
        warp: float = 3.0,
    ) -> None:
        self.low, self.spacing = np.asarray(low, float), np.asarray(spacing, float)
        self.shape = tuple(int(np.ceil((h - l) / s)) for l, h, s in zip(low, high, spacing, strict=True))  # noqa: E741
        self.body = np.zeros(self.shape, np.uint8)
        self.axes = [
            (o + s * np.arange(n)).astype(np.float32) for o, s, n in zip(low, spacing, self.shape, strict=True)
        ]
        grids = np.ix_(*self.axes)
        self.warped = [g + np.float32(warp) * smooth_noise(rng, self.shape, spacing, 70) for g in grids]
        self.noise = smooth_noise(rng, self.shape, spacing, 26)
        self.fine_noise = smooth_noise(rng, self.shape, spacing, 9)

    def window(self, points: Sequence[Sequence[float]], margin: float) -> Window:
        """The box around ``points`` (mm) widened by ``margin`` mm and by the reach of the warp."""
        points = np.atleast_2d(np.asarray(points, float))
        reach = margin + 9
        first = np.floor((points.min(0) - reach - self.low) / self.spacing).astype(int)
        last = np.ceil((points.max(0) + reach - self.low) / self.spacing).astype(int) + 1
        limits = zip(first, last, self.shape, strict=True)
        x, y, z = (slice(max(a, 0), max(min(b, n), 0)) for a, b, n in limits)
        return Window(self, (x, y, z))

    def whole(self) -> Window:
        """The whole volume."""
        return Window(self, (slice(None),) * 3)

    def paint(self, window: Window, where: np.ndarray, structure: int, over: Sequence[int] | None = None) -> None:
        """Set ``structure`` where ``where`` holds; with ``over`` only on top of those structures."""
        if over is not None:
            table = np.zeros(256, bool)
            table[list(over)] = True
            where = where & table[window.body]
        window.body[where] = structure
