"""Portal-venous CT of a phantom subject."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from .anatomy import Subject
from .scan import PhantomScan, ScanGrid, resample_labels, resample_values
from .tissues import INDEX

__all__ = ["scan_ct"]


def scan_ct(subject: Subject, rng: np.random.Generator, dose: float | None = None) -> PhantomScan:
    """Scan ``subject`` with CT.

    Args:
        subject: see :func:`.anatomy.draw_subject`.
        rng: grid, dose and noise are drawn from it.
        dose: relative dose; the noise falls with its square root, 1 gives about 15 HU in the liver.
            Drawn log-uniformly between 0.4 and 2.5 by default.

    Returns:
        int16 HU in [-1024, 1500], about 2 mm x 2 mm x 6.5 mm.
    """
    drawn = float(np.exp(rng.uniform(np.log(0.4), np.log(2.5))))
    dose = drawn if dose is None else dose
    grid = _draw_grid(subject, rng)
    tissue = subject.tissue
    values = tissue.hu[subject.body] + tissue.hu_texture[subject.body] * subject.texture
    image = resample_values(subject, values, grid, outside=-1000.0)
    image = _add_table(image, subject, grid, float(tissue.hu[INDEX["table"]]))
    image += _noise(image, grid, rng) * np.float32(12 / np.sqrt(dose))
    image = np.clip(np.rint(image), -1024, 1500).astype(np.int16)
    details = {"dose": round(dose, 3), "kvp": 120}
    return PhantomScan(image, resample_labels(subject, grid), grid.affine, "CT", details)


def _draw_grid(subject: Subject, rng: np.random.Generator) -> ScanGrid:
    half_x, half_y = subject.trunk.half_size
    step = max(1.8, (2 * half_x + 6) / 176, (2 * half_y + 22) / 144) * rng.uniform(1.0, 1.06)
    thickness = rng.uniform(6.0, 7.0)
    slices = int((subject.trunk.top - subject.trunk.bottom) / thickness)
    centre = rng.uniform((-6, -4), (6, 2))
    low = (
        centre[0] - 0.5 * 175 * step,
        centre[1] - 6 - 0.5 * 143 * step,
        subject.trunk.bottom + 0.5 * thickness,
    )
    return ScanGrid((176, 144, slices), (step, step, thickness), low, (0.0, 0.0, rng.uniform(100, 900)))


def _add_table(image: np.ndarray, subject: Subject, grid: ScanGrid, hu: float) -> np.ndarray:
    """The scanner's couch, a thin curved shell under the back."""
    x = grid.low[0] + grid.spacing[0] * np.arange(grid.size[0])[:, None]
    y = grid.low[1] + grid.spacing[1] * np.arange(grid.size[1])
    back = -subject.trunk.half_size[1] - 4
    share = np.clip(1.3 - np.abs(y - back - (x / 75) ** 2 * 2.2) / grid.spacing[1], 0, 1) * (
        np.abs(x) < 0.45 * 176 * grid.spacing[0]
    )
    return np.maximum(image, (-1000 + share[:, :, None] * (hu + 1000)).astype(np.float32))


def _noise(image: np.ndarray, grid: ScanGrid, rng: np.random.Generator) -> np.ndarray:
    """Noise of about unit deviation in a middle-sized liver, grainy, stronger deep inside big bodies."""
    noise = rng.standard_normal(image.shape, dtype=np.float32)
    noise = ndimage.gaussian_filter(noise, (0.75, 0.75, 0)) - 0.6 * ndimage.gaussian_filter(noise, (2.2, 2.2, 0))
    noise /= noise.std()
    water = np.clip(image / 1000 + 1, 0, 1.6)
    # Half the length of the rays through a point, from the water-equivalent size of its slice.
    across = water.sum(0, keepdims=True) * grid.spacing[0]
    along = water.sum(1, keepdims=True) * grid.spacing[1]
    path = ndimage.gaussian_filter(np.sqrt(across * along), (4, 4, 0.5)) / 1000
    return noise * np.exp(0.5 * 19.0 * (path - 0.24)).clip(0.35, 2.5).astype(np.float32)
