"""The trunk that the organs lie in: skin, fat, muscle, ribs, spine, diaphragm, base of the lungs and heart.

The origin is in the middle of the abdominal cavity at the height of the right dome of the diaphragm, so the
organs' heights are negative. All lengths are millimetres.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .canvas import Canvas, Window, intersect, unite
from .tissues import INDEX

__all__ = ["Trunk", "draw_trunk", "paint_trunk"]


@dataclass
class Trunk:
    """Sizes of one subject's trunk (mm)."""

    half_width: float
    """of the cavity inside the muscles"""
    half_depth: float
    fat: float
    """thickness of the fat under the skin at the flank"""
    wall: float
    roundness: float
    """exponent of the super-ellipse: 2 is an ellipse"""
    spine_y: float
    """centre of the vertebral bodies"""
    top: float
    bottom: float
    dome_right: tuple[float, float]
    """x and y of the top of the right dome, at z = 0"""
    dome_left: tuple[float, float, float]
    dome_drop: float
    """how far the diaphragm falls from the dome to the wall"""
    disc_phase: float
    rib_phase: float

    @property
    def half_size(self) -> tuple[float, float]:
        """Half the width and half the depth of the body, an upper bound."""
        return self.half_width + self.wall + 1.15 * self.fat + 10, self.half_depth + self.wall + self.fat + 18


def draw_trunk(rng: np.random.Generator) -> Trunk:
    """Draw the sizes of one subject's trunk; slim subjects are the more frequent ones."""
    plump = rng.beta(1.5, 2.2)
    # Fat inside and fat under the skin go together: slim cavities are small and packed.
    half_width = 110 + 22 * plump + rng.uniform(-4, 7)
    half_depth = half_width * (0.63 + 0.09 * plump + rng.uniform(-0.02, 0.03))
    return Trunk(
        half_width=half_width,
        half_depth=half_depth,
        fat=4 + 26 * float(np.clip(plump + rng.uniform(-0.12, 0.12), 0, 1)),
        wall=rng.uniform(10, 14),
        roundness=rng.uniform(2.15, 2.6),
        spine_y=-half_depth + rng.uniform(46, 54),
        top=rng.uniform(16, 34),
        bottom=-rng.uniform(182, 208),
        dome_right=(-half_width * rng.uniform(0.42, 0.50), rng.uniform(0, 14)),
        dome_left=(half_width * rng.uniform(0.44, 0.52), rng.uniform(-4, 12), -rng.uniform(8, 24)),
        dome_drop=rng.uniform(70, 100),
        disc_phase=rng.uniform(0, 1),
        rib_phase=rng.uniform(0, 1),
    )


def wall_distance(trunk: Trunk, w: Window) -> np.ndarray:
    """Distance (mm) to the inner face of the abdominal wall, negative inside the cavity."""
    n = np.float32(trunk.roundness)
    # A chest narrows towards the neck, a waist below the ribs.
    scale = 1 - 0.0022 * np.clip(w.z, 0, None) - 0.05 * _step(w.z, -150, -28)
    r = np.sqrt(w.x**2 + w.y**2) + 1e-3
    depth = np.where(w.y < 0, np.float32(trunk.half_depth * 0.98), np.float32(trunk.half_depth * 1.04))
    f = ((np.abs(w.x) / trunk.half_width) ** n + (np.abs(w.y) / depth) ** n) ** (1 / n) / scale
    return r * (1 - 1 / np.maximum(f, 1e-3))


def diaphragm_height(trunk: Trunk, w: Window, d: np.ndarray) -> np.ndarray:
    """Height z (mm) of the diaphragm above every point: two domes, steep along the wall."""
    a, b = trunk.half_width, trunk.half_depth
    # The recess between wall and diaphragm reaches lowest at the back.
    r = np.sqrt(w.x**2 + w.y**2) + 1e-3
    drop = trunk.dome_drop * (0.62 - 0.48 * w.y / r)
    recess = drop * np.exp(np.minimum(d, 0) / (5.5 - 3.5 * w.y / r))

    def dome(x: float, y: float, z: float, rx: float, ry: float) -> np.ndarray:
        return z - 25 * (((w.x - x) / rx) ** 2 + ((w.y - y) / ry) ** 2)

    right = dome(*trunk.dome_right, 0.0, 0.62 * a, 1.0 * b)
    left = dome(*trunk.dome_left, 0.62 * a, 1.0 * b)
    tendon = dome(0.0, 0.3 * b, -14.0, 0.9 * a, 1.1 * b)
    return unite_heights(unite_heights(right, left), tendon) - recess + 1.5 * w.noise


def unite_heights(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The higher of two surfaces, rounded."""
    return -unite(-a, -b, 12)


def _step(value: np.ndarray, centre: float, width: float) -> np.ndarray:
    """From 0 to 1 over ``width`` around ``centre``; a negative width falls instead of rising."""
    return 1 / (1 + np.exp(-np.clip(4 * (value - centre) / width, -30, 30)))


def paint_trunk(canvas: Canvas, trunk: Trunk, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Paint the trunk without the abdominal organs.

    Returns:
        distance to the inner wall and distance to the diaphragm (mm, negative below it), (X, Y, Z).
    """
    w = canvas.whole()
    d = wall_distance(trunk, w)
    r = np.sqrt(w.x**2 + w.y**2) + 1e-3
    side, back = np.abs(w.x) / r, np.clip(-w.y / r, 0, 1)
    groove = 9 * np.exp(-((w.x / 16) ** 2)) * back
    low = _step(w.z, -110, -80)
    muscle = trunk.wall * (0.75 + 0.25 * side + 0.8 * back) + 0.8 * w.noise
    fat = trunk.fat * (0.55 + 0.25 * side + 0.35 * back + (0.12 + 0.3 * side) * low) * (1 + 0.06 * w.noise) + 3
    shell = d - muscle
    skin = shell - fat + groove
    canvas.paint(w, skin < 0, INDEX["skin"])
    canvas.paint(w, skin < -2.2, INDEX["subcutaneous_fat"])
    canvas.paint(w, (shell < 0) & (skin < -4), INDEX["muscle"])
    # The belly wall is layered, with a little fat between its muscles.
    layer = (np.abs(shell + muscle * 0.45) < 0.8) & (w.z < -70) & (back < 0.8)
    canvas.paint(w, layer & (w.fine_noise > -0.2), INDEX["visceral_fat"])
    # Over the ribs lies a second sheet: broad muscle of the back and side.
    sheet = np.abs(shell + muscle * 0.30 + 0.8 * w.fine_noise) < 0.3 + 0.03 * trunk.fat
    canvas.paint(w, sheet & (w.z > -90) & (side > 0.45) & (w.noise > -0.9), INDEX["visceral_fat"])
    canvas.paint(w, d < 0, INDEX["visceral_fat"])
    below = w.z - diaphragm_height(trunk, w, d)
    _paint_chest(canvas, w, trunk, d, below, rng)
    _paint_ribs(canvas, w, trunk, d, muscle)
    _paint_back(canvas, trunk)
    _paint_spine(canvas, trunk)
    return d, below


def _paint_lung_vessels(canvas: Canvas, trunk: Trunk, rng: np.random.Generator) -> None:
    """Scatter short vessels through both lungs, away from the hilum and thinner towards the base."""
    for _ in range(70):
        side = 1 if rng.random() < 0.5 else -1
        x, y = rng.uniform(0.25, 0.8) * trunk.half_width, rng.uniform(-0.7, 0.5) * trunk.half_depth
        start = np.array([side * x, y, rng.uniform(-40, trunk.top)])
        way = np.array([side * rng.uniform(0, 14), rng.uniform(-10, 6), -rng.uniform(4, 16)])
        w = canvas.window([start, start + way], 4)
        if not w.empty:
            radius = rng.uniform(1.2, 2.8)
            canvas.paint(
                w,
                w.tube([start, start + way], [radius, 0.7 * radius]) < 0,
                INDEX["lung_vessel"],
                [INDEX["lung"]],
            )


def _paint_chest(
    canvas: Canvas, w: Window, trunk: Trunk, d: np.ndarray, below: np.ndarray, rng: np.random.Generator
) -> None:
    """Lungs above the diaphragm, the heart on its central tendon, and the diaphragm itself."""
    chest = (below > 0) & (d < -1)
    canvas.paint(w, chest, INDEX["lung"])
    _paint_lung_vessels(canvas, trunk, rng)
    canvas.paint(w, (below > -3.0) & (below <= 0) & (d < 0), INDEX["muscle"])
    # Mediastinum in front of the spine: fat around esophagus and aorta.
    fat = w.ellipsoid((6, trunk.spine_y + 28, 20), (30, 24, 90)) + 3 * w.noise
    canvas.paint(w, chest & (fat < 0), INDEX["visceral_fat"])
    centre = (24, 0.26 * trunk.half_depth, 30)
    heart = w.ellipsoid(centre, (0.50 * trunk.half_width, 0.60 * trunk.half_depth, 52)) + 3.5 * w.noise
    canvas.paint(w, (heart < 6) & (below > 0) & (d < -2), INDEX["visceral_fat"])
    heart = intersect(heart, 3 - below, 8)
    canvas.paint(w, (heart < 0) & (d < -4), INDEX["myocardium"])
    septum = np.abs((w.x - centre[0]) * 0.8 - (w.y - centre[1]) * 0.5 + 3 * w.noise) < 4.5
    canvas.paint(w, (heart < -6) & (d < -4) & ~septum, INDEX["heart_blood"])


def _paint_ribs(canvas: Canvas, w: Window, trunk: Trunk, d: np.ndarray, muscle: np.ndarray) -> None:
    """Ribs that fall from the spine to the front, cartilage at the front, down to the costal margin."""
    angle = np.arctan2(np.abs(w.x), -w.y) / np.pi  # 0 at the back, 1 at the front
    along = (
        w.z + 3.5 * w.noise + 165 * np.clip(angle, 0, 0.75) - 60 * np.clip(angle - 0.75, 0, None)
    ) / 25 + trunk.rib_phase
    height = np.abs(along - np.floor(along) - 0.5) * 25
    layer = np.abs(d - 0.42 * muscle)
    margin = -150 + 150 * np.clip(angle - 0.25, 0, None) ** 1.2
    shape = np.sqrt((height / (5.4 + 0.8 * w.noise)) ** 2 + (layer / 3.6) ** 2)
    rib = (shape < 1) & (w.z > margin) & (angle > 0.1) & (d > -2)
    canvas.paint(w, rib & (angle < 0.8), INDEX["cortical_bone"])
    canvas.paint(w, rib & (shape < 0.6) & (angle < 0.8), INDEX["marrow"])
    canvas.paint(w, rib & (angle >= 0.8), INDEX["cartilage"])
    # Costal arch: cartilage that joins the ribs' front ends.
    arch = (np.abs(w.z - margin + 2) < 6) & (layer < 4) & (angle > 0.6) & (angle < 0.93)
    canvas.paint(w, arch, INDEX["cartilage"])


def _paint_back(canvas: Canvas, trunk: Trunk) -> None:
    """Muscles along the spine: erectors, psoas and quadratus lumborum."""
    y, half = trunk.spine_y, trunk.half_depth
    w = canvas.window([(-75, -half - 25, trunk.bottom), (75, y + 25, trunk.top)], 5)
    table = [INDEX[n] for n in ("visceral_fat", "subcutaneous_fat", "lung", "muscle")]
    side = np.abs(w.x)
    mirrored = _mirrored(w, side)
    growth = np.clip((-w.z - 75) / 90, 0, 1)
    pillar = mirrored.ellipsoid((24, y - 34, -90), (30, 21, 900)) - 2 + 1.2 * w.noise
    canvas.paint(w, pillar < 0, INDEX["muscle"], table)
    # Fat between the columns of the erector, more of it in the elderly and the heavy.
    septa = np.abs(side - 19 - 5 * w.noise) < 0.5 + 0.05 * trunk.fat * np.clip(w.fine_noise, 0, None)
    canvas.paint(w, (pillar < 0) & (septa | (np.abs(pillar + 1) < 0.7)) & (w.y < y - 30), INDEX["visceral_fat"])
    psoas = np.sqrt((side - 30 - 10 * growth) ** 2 + ((w.y - y + 1) / 1.1) ** 2) - (19 * np.sqrt(growth))
    canvas.paint(w, (psoas + w.noise < 0) & (growth > 0), INDEX["muscle"], table)
    quadratus = mirrored.ellipsoid((60, y - 22, -175), (20, 9, 75)) + w.noise
    canvas.paint(w, quadratus < 0, INDEX["muscle"], table)


def _mirrored(w: Window, side: np.ndarray) -> Window:
    """The same window with both halves of the body folded onto the left one."""
    other = object.__new__(Window)
    other.__dict__.update(w.__dict__)
    other.x = side
    return other


def _paint_spine(canvas: Canvas, trunk: Trunk) -> None:
    """Vertebrae with discs, canal, laminae, transverse and spinous processes, every 33 mm."""
    y, pitch = trunk.spine_y, 33.0
    w = canvas.window([(-40, y - 60, trunk.bottom), (40, y + 24, trunk.top)], 3)
    phase = w.z / pitch + trunk.disc_phase
    z = np.abs(phase - np.floor(phase) - 0.5) * pitch  # 0 in the middle of a vertebra, 16.5 in the disc
    taper = 1 - 0.0012 * np.clip(w.z + 200, 0, None)
    bulge = 1.5 * (z / 16.5) ** 2
    body = ((np.abs(w.x) / 23) ** 2.4 + (np.abs(w.y - y) / 17) ** 2.4) ** (1 / 2.4)
    body = (body / taper - 1) * 17 - bulge + 0.7 * w.fine_noise
    canal = np.sqrt((w.x / 1.35) ** 2 + (w.y - y + 25) ** 2) - 8.5
    side, bone, marrow = np.abs(w.x), INDEX["cortical_bone"], INDEX["marrow"]
    arch = (canal < 6 + 0.8 * w.fine_noise) & (z < 12)
    # Facet joints fill the arch at the height of the discs.
    arch |= (np.sqrt((side - 15) ** 2 + (w.y - y + 33) ** 2) < 6.5 + 0.8 * w.fine_noise) & (z >= 9)
    spinous = (side < 3.6) & (w.y < y - 30) & (w.y > y - 62 + 0.4 * z) & (z < 13)
    transverse = (np.abs(w.y - y + 24 + 0.15 * side) < 4.2) & (side < 36) & (z < 6)
    canvas.paint(w, arch | spinous | transverse, bone)
    inner = (canal > 2) & (canal < 4) | (side < 1.6) & (w.y < y - 36) & (w.y > y - 59 + 0.4 * z)
    canvas.paint(w, inner & (z < 9), marrow)
    canvas.paint(w, body < 0, bone)
    canvas.paint(w, (body < -1.8) & (z < 11.5), marrow)
    canvas.paint(w, (body < 0) & (z >= 13.5), INDEX["disc"])
    canvas.paint(w, (np.abs(body) < 1.4) & (z >= 13.5), INDEX["visceral_fat"])
    canvas.paint(w, canal < 0, INDEX["spinal_fluid"])
    cord = np.sqrt((w.x / 1.3) ** 2 + (w.y - y + 25) ** 2) - 3.8
    canvas.paint(w, (cord < 0) & (w.z > -110), INDEX["spinal_cord"])
