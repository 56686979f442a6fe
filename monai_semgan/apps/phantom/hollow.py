"""The hollow organs: esophagus, stomach with gas and fluid, small bowel, colon.

A person lies on the back in the scanner: gas gathers at the front, fluid at the back.
"""

from __future__ import annotations

import numpy as np

from .canvas import Canvas
from .tissues import BOWEL, INDEX
from .trunk import Trunk

__all__ = ["paint_bowel", "paint_esophagus", "paint_stomach"]


def paint_stomach(canvas: Canvas, trunk: Trunk, d: np.ndarray, below: np.ndarray, rng: np.random.Generator) -> None:
    """Paint the stomach from the left dome over the midline, full or collapsed, with its gas at the front."""
    a, b = trunk.half_width, trunk.half_depth
    full = rng.uniform(0.35, 1.1)
    points = [
        (0.46 * a, -0.16 * b, -38 + rng.uniform(-6, 4)),
        (0.50 * a, 0.18 * b, -66),
        (0.42 * a, 0.44 * b, -94 + rng.uniform(-8, 8)),
        (0.14 * a, 0.50 * b, -114 + rng.uniform(-10, 8)),
        (-0.16 * a, 0.36 * b, -106),
    ]
    radii = np.array([39, 37, 30, 21, 13]) * (0.5 + 0.5 * full)
    w = canvas.window(points, radii.max())
    shape = w.tube(points, radii, 16) + 4.5 * w.noise
    shape = np.maximum(shape, np.maximum(d[w.index] + 4, below[w.index] + 4))
    wall = INDEX["stomach_wall"]
    canvas.paint(w, shape < 0, wall, [INDEX["visceral_fat"], INDEX["mesenteric_vessel"], *BOWEL])
    # Folds: the emptier, the thicker and the more of them reach into the lumen.
    folds = 3.2 + (5.5 - 4 * full) * np.clip(w.fine_noise + 0.4, 0, None)
    lumen = shape < -folds
    # Fluid and gas settle along true horizontal planes, whatever the warp does to the organ.
    height = canvas.axes[1][None, w.index[1], None]
    level = (
        np.quantile(np.broadcast_to(height, lumen.shape)[lumen], min(1.0, rng.uniform(0.45, 1.15)))
        if lumen.any()
        else 0.0
    )
    canvas.paint(w, lumen, INDEX["stomach_fluid"], [wall])
    if rng.random() < 0.6:
        sediment = lumen & (w.fine_noise + 0.6 * w.noise > rng.uniform(-0.9, 0.9))
        canvas.paint(w, sediment, INDEX["stomach_food"], [INDEX["stomach_fluid"]])
    canvas.paint(w, lumen & (height > level), INDEX["stomach_gas"])


def paint_esophagus(canvas: Canvas, trunk: Trunk, rng: np.random.Generator) -> None:
    """Paint the esophagus from in front of the aorta to the stomach."""
    y = trunk.spine_y
    points = [
        (8, y + 34, trunk.top + 5),
        (9, y + 35, -10),
        (18, y + 38, -34),
        (0.30 * trunk.half_width, -2, -48),
    ]
    w = canvas.window(points, 14)
    shape = w.tube(points, [8.5, 8, 7.5, 8], 3) + 0.8 * w.fine_noise
    over = [INDEX[n] for n in ("visceral_fat", "lung", "lung_vessel", "muscle", "liver", "myocardium")]
    canvas.paint(w, shape < 0, INDEX["esophagus"], over)


def paint_bowel(canvas: Canvas, trunk: Trunk, d: np.ndarray, below: np.ndarray, rng: np.random.Generator) -> None:
    """Paint mesenteric vessels, loops of small bowel, and the colon around them."""
    inside = (d < -5) & (below < -6)
    _paint_mesentery(canvas, trunk, inside, rng)
    contrast = rng.random() < 0.35
    loops = int(rng.integers(34, 56))
    for _ in range(loops):
        _paint_loop(canvas, trunk, inside, contrast, rng)
    a, b = trunk.half_width, trunk.half_depth
    sag = -rng.uniform(125, 160)
    low = trunk.bottom - 10
    flexure = -rng.uniform(125, 150)
    colon = [
        (-0.70 * a, -0.12 * b, low), (-0.70 * a, -0.08 * b, flexure - 25), (-0.60 * a, 0.25 * b, flexure),
        (-0.30 * a, 0.62 * b, sag), (0.05 * a, 0.68 * b, sag - 8), (0.40 * a, 0.66 * b, sag + 8),
        (0.68 * a, 0.45 * b, -100), (0.78 * a, 0.20 * b, -66), (0.78 * a, -0.18 * b, -125),
        (0.76 * a, -0.25 * b, low),
    ]  # fmt: skip
    radii = np.array([25, 25, 24, 20, 19, 19, 19, 19, 16, 15]) * rng.uniform(0.75, 1.1)
    over = [INDEX["visceral_fat"], INDEX["mesenteric_vessel"], *BOWEL]
    for start in range(len(colon) - 1):
        _paint_colon_piece(canvas, colon[start : start + 2], radii[start : start + 2], inside, over, rng)


def _paint_mesentery(canvas: Canvas, trunk: Trunk, inside: np.ndarray, rng: np.random.Generator) -> None:
    """Scatter short vessels through the fat, radiating from the root in front of the spine."""
    root = np.array([0.0, trunk.spine_y + 40, -135.0])
    for _ in range(60):
        end = root + rng.uniform((-75, 0, -60), (85, 0.85 * trunk.half_depth - root[1], 45))
        start = root + (end - root) * rng.uniform(0.3, 0.8)
        w = canvas.window([start, end], 4)
        if w.empty:
            continue
        shape = w.tube([start, end], [rng.uniform(1.6, 2.8), 1.1]) + 0.5 * w.fine_noise
        canvas.paint(w, (shape < 0) & inside[w.index], INDEX["mesenteric_vessel"], [INDEX["visceral_fat"]])


def _paint_loop(canvas: Canvas, trunk: Trunk, inside: np.ndarray, contrast: bool, rng: np.random.Generator) -> None:
    """Paint one bent piece of small bowel, mostly low and left; later loops push earlier ones aside."""
    a, b = trunk.half_width, trunk.half_depth
    centre = np.array([rng.normal(0.10 * a, 0.30 * a), rng.normal(0.30 * b, 0.25 * b), rng.uniform(trunk.bottom, -92)])
    heading = rng.standard_normal(3) * (1, 0.7, 0.5)
    points = [centre]
    for _ in range(3):
        heading = heading / np.linalg.norm(heading) + 0.7 * rng.standard_normal(3)
        points.append(points[-1] + 17 * heading / np.linalg.norm(heading))
    radius = rng.uniform(8, 13.5)
    w = canvas.window(points, radius + 2)
    if w.empty:
        return
    shape = w.tube(points, [radius] * 4, 4) + 1.2 * w.fine_noise
    over = [INDEX["visceral_fat"], INDEX["mesenteric_vessel"], *BOWEL]
    canvas.paint(w, (shape < 1.3) & inside[w.index], INDEX["visceral_fat"], over)
    canvas.paint(w, (shape < 0) & inside[w.index], INDEX["bowel_wall"], over)
    kind = rng.random()
    content = "bowel_contrast" if contrast and kind < 0.6 else "bowel_fluid"
    if kind < 0.88:
        lumen = shape < -rng.uniform(2.2, 0.7 * radius)
        canvas.paint(w, lumen & inside[w.index], INDEX[content], [INDEX["bowel_wall"]])
        if rng.random() < 0.2:
            level = centre[1] + rng.uniform(-0.3, 0.8) * radius
            gas = lumen & (canvas.axes[1][None, w.index[1], None] > level)
            canvas.paint(w, gas & inside[w.index], INDEX["bowel_gas"], [INDEX[content]])


def _paint_colon_piece(canvas: Canvas, points: list, radii: np.ndarray, inside: np.ndarray, over: list[int],
                       rng: np.random.Generator) -> None:  # fmt: skip
    """Paint one piece of colon with haustra, filled with stool, gas or fluid."""
    w = canvas.window(points, radii.max() + 6)
    if w.empty:
        return
    axis = np.asarray(points[1], float) - points[0]
    axis /= np.linalg.norm(axis)
    along = w.x * axis[0] + w.y * axis[1] + w.z * axis[2]
    shape = w.tube(points, radii) + 2.2 * np.cos(along * 0.21) + 2.5 * w.noise
    free = inside[w.index]
    canvas.paint(w, (shape < 0) & free, INDEX["bowel_wall"], over)
    kind = rng.random()
    lumen = (shape < -2.6) & free
    content = INDEX["bowel_stool" if kind < 0.75 else "bowel_fluid"]
    canvas.paint(w, lumen, content, over)
    level = 0.5 * (points[0][1] + points[1][1]) + rng.uniform(-0.2, 1.0) * radii.mean()
    gas = (canvas.axes[1][None, w.index[1], None] > level) | (w.fine_noise > rng.uniform(1.0, 1.9))
    canvas.paint(w, lumen & gas, INDEX["bowel_gas"], [content])
