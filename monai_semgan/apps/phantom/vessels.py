"""The vessels: aorta, vena cava, portal and splenic veins, and the two trees inside the liver."""

from __future__ import annotations

import numpy as np

from .canvas import Canvas
from .organs import Organs
from .tissues import BOWEL, INDEX, STOMACH, STRUCTURES
from .trunk import Trunk

__all__ = ["draw_portal_path", "paint_great_vessels", "paint_liver_vessels", "paint_portal_veins"]

Point = tuple[float, float, float]


def draw_portal_path(trunk: Trunk, organs: Organs, rng: np.random.Generator) -> list[Point]:
    """Draw the course from the spleen's hilum behind the pancreas to the liver's hilum."""
    y = trunk.spine_y
    return [
        (0.52 * trunk.half_width, -0.22 * trunk.half_depth, organs.spleen_z - rng.uniform(0, 10)),
        (0.26 * trunk.half_width, y + 44, organs.spleen_z - rng.uniform(4, 16)),
        (-4 + rng.uniform(-4, 4), y + 47, -100 + rng.uniform(-6, 6)),
        (-0.24 * trunk.half_width, y + 46 + rng.uniform(-3, 3), -0.48 * organs.liver_height),
    ]


def paint_great_vessels(canvas: Canvas, trunk: Trunk, rng: np.random.Generator) -> None:
    """Paint the aorta (left of the spine's front) with its branches, and the vena cava (right of it)."""
    y, top, low = trunk.spine_y, trunk.top + 10, trunk.bottom - 10
    over = range(1, len(STRUCTURES))
    size = rng.uniform(0.85, 1.15)
    aorta = [(17, y + 20, top), (13, y + 25, -30), (8, y + 28, -90), (7, y + 27, low)]
    w = canvas.window(aorta, 14)
    shape = w.tube(aorta, np.array([11.5, 11.0, 9.5, 8.5]) * size, 3)
    canvas.paint(w, shape < 3.5, INDEX["visceral_fat"], [INDEX["muscle"], INDEX["lung"], INDEX["lung_vessel"]])
    canvas.paint(w, shape < 0, INDEX["aorta_blood"], over)
    _paint_tube(canvas, [(7, y + 36, -92), (6, y + 47, -102), (3, y + 52, low)], [4, 4, 3], "mesenteric_vessel")
    _paint_tube(canvas, [(8, y + 36, -80), (6, y + 47, -82), (-12, y + 50, -80)], [3.5, 3, 2.2], "mesenteric_vessel")
    size = rng.uniform(0.8, 1.15)
    cava = [(-20, y + 44, 12), (-24, y + 36, -30), (-22, y + 30, -90), (-16, y + 26, low)]
    w = canvas.window(cava, 16)
    shape = w.tube(cava, np.array([12.5, 12.5, 11, 9.5]) * size, 3) + 1.2 * w.noise
    canvas.paint(w, shape < 0, INDEX["caval_blood"], over)
    for sign, kidney_x in ((-1, -42.0), (1, 42.0)):  # renal veins
        end = (sign * abs(kidney_x), y + 8, -120.0 + 5 * sign)
        start = (-20, y + 30, -112.0) if sign < 0 else (0, y + 40, -106.0)
        _paint_tube(
            canvas,
            [start, (0.5 * (start[0] + end[0]), y + 26, -114.0), end],
            [4.5, 4, 3.5],
            "mesenteric_vessel",
        )


def paint_portal_veins(canvas: Canvas, trunk: Trunk, path: list[Point], rng: np.random.Generator) -> None:
    """Paint splenic vein, portal vein and upper mesenteric vein; the last has no number in the masks."""
    size = rng.uniform(0.85, 1.15)
    joint = path[2]
    below = [joint, (joint[0] - 2, joint[1] + 4, joint[2] - 35), (joint[0] + 2, joint[1] + 6, trunk.bottom)]
    _paint_tube(canvas, below, [5.5 * size, 5 * size, 3.5], "mesenteric_vessel")
    _paint_tube(canvas, path, [3.6 * size, 4.4 * size, 6.5 * size, 6.8 * size], "portal_blood", wobble=0.8)


def _paint_tube(canvas: Canvas, points: list, radii: list, name: str, wobble: float = 0.4) -> None:
    w = canvas.window(points, max(radii) + 2)
    if w.empty:
        return
    names = ("visceral_fat", "liver", "liver_vessel", "pancreas", "muscle", "mesenteric_vessel")
    over = [*(INDEX[n] for n in names), *STOMACH, *BOWEL]
    canvas.paint(w, w.tube(points, radii, 2) + wobble * w.noise < 0, INDEX[name], over)


def paint_liver_vessels(
    canvas: Canvas, trunk: Trunk, organs: Organs, path: list[Point], rng: np.random.Generator
) -> None:
    """Grow hepatic veins from the vena cava and portal branches from the hilum, inside the liver only."""
    y, high = trunk.spine_y, organs.liver_height
    cava = np.array([-22.0, y + 42, -16.0])
    for heading, reach in (((-0.95, 0.1, -0.35), 52), ((-0.45, 0.8, -0.35), 52), ((0.5, 0.8, -0.3), 38)):
        _grow(canvas, cava, np.array(heading), reach * rng.uniform(0.8, 1.1), rng.uniform(4.0, 5.5), 4, rng)
    hilum = np.asarray(path[3])
    right = hilum + (-24, -6, 2)
    _paint_branch(canvas, hilum, right, 5.5, 4.8)
    left = hilum + (22, 20, 18)
    _paint_branch(canvas, hilum, left, 4.5, 3.6)
    _grow(canvas, right, np.array([-0.7, -0.3, 0.6]), 0.25 * high, 4.2, 4, rng)
    _grow(canvas, right, np.array([-0.8, 0.4, -0.5]), 0.25 * high, 4.2, 4, rng)
    _grow(canvas, right, np.array([-0.5, 0.7, 0.2]), 0.25 * high, 3.6, 3, rng)
    _grow(canvas, left, np.array([0.6, 0.6, 0.1]), 26.0, 3.2, 3, rng)
    _grow(canvas, left, np.array([-0.3, 0.8, -0.3]), 24.0, 3.0, 3, rng)


def _grow(canvas: Canvas, start: np.ndarray, heading: np.ndarray, length: float, radius: float, levels: int,
          rng: np.random.Generator) -> None:  # fmt: skip
    """Draw one branch and, recursively, two thinner ones from its end."""
    end = start + length * heading / np.linalg.norm(heading)
    _paint_branch(canvas, start, end, radius, 0.75 * radius)
    if levels > 1:
        for _ in range(2):
            turn = heading / np.linalg.norm(heading) + 0.75 * rng.standard_normal(3)
            _grow(canvas, end, turn, length * rng.uniform(0.5, 0.8), 0.7 * radius, levels - 1, rng)


def _paint_branch(canvas: Canvas, start: np.ndarray, end: np.ndarray, first: float, last: float) -> None:
    w = canvas.window([start, end], first + 1)
    if not w.empty:
        shape = w.tube([start, end], [first, last]) + 0.35 * w.fine_noise
        canvas.paint(w, shape < 0, INDEX["liver_vessel"], [INDEX["liver"]])
