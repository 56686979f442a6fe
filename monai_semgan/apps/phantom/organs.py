"""The solid organs: liver with gallbladder, spleen, kidneys, pancreas and adrenals, placed as in a person.

Millimetres; x to the patient's left, y to the front, z to the head; see :mod:`.trunk` for the origin.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .canvas import Canvas, intersect
from .tissues import BOWEL, INDEX, STOMACH
from .trunk import Trunk

__all__ = [
    "Organs",
    "draw_organs",
    "paint_adrenals",
    "paint_kidney",
    "paint_liver",
    "paint_pancreas",
    "paint_spleen",
]


@dataclass
class Organs:
    """Sizes and places of one subject's organs (mm)."""

    liver_height: float
    liver_reach: float
    """x of the tip of the left lobe"""
    liver_slope: float
    gallbladder: float
    """radius; 0 where it was removed"""
    spleen: tuple[float, float, float]
    """extent along the wall, thickness, height (half of each)"""
    spleen_angle: float
    spleen_z: float
    kidney_size: float
    kidney_right: tuple[float, float, float]
    kidney_left: tuple[float, float, float]
    lesions: int
    cysts: int


def draw_organs(trunk: Trunk, rng: np.random.Generator) -> Organs:
    """Draw organs that fit ``trunk``: left kidney above the right one, and so on."""
    size = float(np.sqrt(trunk.half_width / 126))
    y = trunk.spine_y
    right_z = -rng.uniform(122, 142)
    return Organs(
        liver_height=rng.uniform(132, 172),
        liver_reach=rng.uniform(45, 110),
        liver_slope=rng.uniform(0.55, 0.85),
        gallbladder=0.0 if rng.random() < 0.12 else rng.uniform(9, 17),
        spleen=(size * rng.uniform(50, 74), rng.uniform(20, 29), rng.uniform(46, 66)),
        spleen_angle=rng.uniform(0.42, 0.75),
        spleen_z=-rng.uniform(66, 84),
        kidney_size=size * rng.uniform(0.88, 1.12),
        kidney_right=(-rng.uniform(52, 60) * size, y - rng.uniform(4, 12), right_z),
        kidney_left=(rng.uniform(52, 60) * size, y - rng.uniform(4, 12), right_z + rng.uniform(4, 18)),
        lesions=int(rng.integers(1, 5)) if rng.random() < 0.3 else 0,
        cysts=int(rng.integers(1, 3)) if rng.random() < 0.25 else 0,
    )


def liver_edge(organs: Organs, y: np.ndarray | float, z: np.ndarray | float) -> np.ndarray:
    """x (mm) of the liver's visceral surface, the plane-like face that looks left, back and down."""
    t = np.clip(-np.asarray(z) / organs.liver_height, 0, 1.3)
    slope = organs.liver_slope * (1 - 1.05 * t)
    forward = np.asarray(y) - 12
    return 40 - 20 * t - 145 * t**3.2 + slope * forward + 0.007 * np.clip(forward, 0, None) ** 2 * (1 - t)


def paint_liver(canvas: Canvas, trunk: Trunk, organs: Organs, d: np.ndarray, below: np.ndarray,
                rng: np.random.Generator) -> None:  # fmt: skip
    """Paint the liver into the right upper cavity, with lesions where drawn, and the gallbladder under it."""
    half = trunk.half_width
    w = canvas.window([(-half, -trunk.half_depth, -organs.liver_height - 20), (90, trunk.half_depth, 4)], 2)
    face = (w.x - liver_edge(organs, w.y, w.z)) * 0.8 + 4.5 * w.noise + 1.0 * w.fine_noise
    tip = (w.x - organs.liver_reach - 0.25 * w.z) * 0.8 + 4 * w.noise
    shape = intersect(face, tip, 26)
    shape = intersect(shape, np.maximum(d[w.index] + 1.4, (below[w.index] + 3) * 0.8), 6)
    bottom = -organs.liver_height - w.z + 0.10 * (w.y + 10) + 3 * w.noise
    shape = intersect(shape, bottom * 0.9, 24)
    # The kidney lies behind the liver, not in it: its bed is open towards the back.
    x, y, z = organs.kidney_right
    bed = w.tube([(x + 14, y - 8, z + 50), (x, y - 4, z), (x - 4, y, z - 60)], [22, 33, 36])
    shape = intersect(shape, -bed, 10)
    if rng.random() < 0.75:
        # Fissure of the round ligament between the lobes: a wedge of fat, open to the front and below.
        place, start, wide = rng.uniform(-8, 18), rng.uniform(30, 50), rng.uniform(0.08, 0.3)
        opening = wide * (w.y - start - 0.6 * (w.z + rng.uniform(80, 100)))
        fissure = np.abs(w.x - place - 6 * w.noise - 0.2 * (w.z + 70) + 0.2 * w.y) - np.minimum(opening, 3.5)
        shape = np.maximum(shape, -np.where(opening > 0, fissure, 9))
    over = [*_named("visceral_fat", "muscle", "mesenteric_vessel"), *STOMACH, *BOWEL]
    keep = canvas.body[w.index] == INDEX["muscle"]
    canvas.paint(w, (shape < 0) & ~(keep & (w.y < trunk.spine_y + 22)), INDEX["liver"], over)
    inside = np.argwhere(shape < -8)
    for _ in range(organs.lesions if len(inside) else 0):
        spot = inside[rng.integers(len(inside))]
        centre = [float(c[tuple(spot)]) for c in (w.x, w.y, w.z)]
        radius = rng.uniform(4, 15)
        v = canvas.window([centre], radius * 1.4)
        blob = v.ellipsoid(centre, radius * rng.uniform(0.8, 1.2, 3)) + 1.5 * v.fine_noise
        canvas.paint(v, blob < 0, INDEX["liver_lesion"], [INDEX["liver"]])
    if organs.gallbladder:
        _paint_gallbladder(canvas, organs, rng)


def _paint_gallbladder(canvas: Canvas, organs: Organs, rng: np.random.Generator) -> None:
    """A pear in the visceral face of the liver, its neck towards the hilum."""
    z, y, r = -0.62 * organs.liver_height, rng.uniform(18, 30), organs.gallbladder
    neck = (float(liver_edge(organs, y - 18, z + 22)) + 2, y - 18, z + 18)
    belly = (float(liver_edge(organs, y + 10, z - 8)) + 0.25 * r, y + 12, z - 8)
    fundus = (belly[0] - 6, y + 26, z - 18)
    w = canvas.window([neck, belly, fundus], r + 4)
    pear = w.tube([neck, belly, fundus], [0.35 * r, r, 0.85 * r], 6) + 0.8 * w.noise
    soft = [*_named("liver", "visceral_fat"), *STOMACH, *BOWEL]
    canvas.paint(w, pear < 3, INDEX["visceral_fat"], soft[2:])
    canvas.paint(w, pear < 0, INDEX["gallbladder_wall"], soft)
    canvas.paint(w, pear < -1.6, INDEX["bile"], [INDEX["gallbladder_wall"]])


def paint_spleen(canvas: Canvas, trunk: Trunk, organs: Organs, d: np.ndarray, below: np.ndarray) -> None:
    """Paint the spleen, a crescent on the left back wall under the diaphragm."""
    along, thick, tall = organs.spleen
    half, depth = trunk.half_width, trunk.half_depth
    w = canvas.window([(0.2 * half, -depth, organs.spleen_z - tall), (half, depth * 0.8, organs.spleen_z + tall)], 2)
    arc = (np.arctan2(-w.y, w.x) - organs.spleen_angle) * 0.8 * half + 0.35 * (w.z - organs.spleen_z)
    level = d[w.index] + 4 + thick * 0.9
    q = np.sqrt((arc / along) ** 2 + (level / thick) ** 2 + ((w.z - organs.spleen_z) / tall) ** 2)
    shape = (q - 1) * thick + 2.4 * w.noise + 0.7 * w.fine_noise
    shape = intersect(shape, np.maximum(d[w.index] + 3.5, below[w.index] + 4), 6)
    over = [*_named("visceral_fat"), *STOMACH, *BOWEL]
    canvas.paint(w, shape < 0, INDEX["spleen"], over)


def paint_kidney(canvas: Canvas, trunk: Trunk, organs: Organs, side: str, rng: np.random.Generator) -> None:
    """Paint the ``side`` ("right" or "left") kidney in its fat: cortex, pyramids, sinus and pelvis."""
    sign = -1.0 if side == "right" else 1.0
    centre = organs.kidney_right if side == "right" else organs.kidney_left
    rx, ry, rz = np.array([27.0, 23.0, 53.0]) * organs.kidney_size * rng.uniform(0.95, 1.05, 3)
    lean = rng.uniform(0.12, 0.25)
    turn = rng.uniform(0.35, 0.75)
    # Rows: away from the spine and back, forwards, up (upper pole nearer to the spine).
    axes = np.array(
        [
            [sign * np.cos(turn), -np.sin(turn), lean],
            [sign * np.sin(turn), np.cos(turn), 0],
            [-sign * lean, 0, 1],
        ]
    )
    w = canvas.window([centre], max(rz, rx) + 14)
    names = (
        "visceral_fat",
        "liver",
        "liver_vessel",
        "liver_lesion",
        "spleen",
        "pancreas",
        "mesenteric_vessel",
    )
    soft = [*_named(*names), *STOMACH, *BOWEL]
    shape = w.ellipsoid(centre, (rx, ry, rz), axes) + 1.3 * w.noise
    canvas.paint(w, shape < 3 + trunk.fat * 0.12, INDEX["visceral_fat"], soft)
    out, front, up = (
        (w.x - centre[0]) * a[0] + (w.y - centre[1]) * a[1] + (w.z - centre[2]) * a[2] for a in axes.astype(np.float32)
    )
    # The hilum is a notch from the medial side.
    notch = np.sqrt(((out + rx * 0.95) / 0.75) ** 2 + (front * 1.1) ** 2 + (up * 0.55) ** 2) - 0.62 * rx
    kidney = intersect(shape, -notch, 5)
    over = [*soft, INDEX["muscle"]]
    canvas.paint(w, kidney < 0, INDEX[f"{side}_kidney_cortex"], over)
    around = np.arctan2(front, out) * 2.6 + np.cos(up / 9.0) * 1.4 + up / 8.0
    pyramid = (kidney < -6) & (np.sin(around + 0.4 * w.noise) > -0.25)
    own = [INDEX[f"{side}_kidney_cortex"], INDEX[f"{side}_kidney_medulla"]]
    canvas.paint(w, pyramid, INDEX[f"{side}_kidney_medulla"], own)
    sinus = (
        np.sqrt(((out + rx * 0.28) / 1.0) ** 2 + (front * 1.2) ** 2 + (up * 0.42) ** 2) - 0.36 * rx + 1.2 * w.fine_noise
    )
    canvas.paint(w, sinus < 0, INDEX["visceral_fat"], own)
    pelvis = np.sqrt((out + rx * 0.5) ** 2 + (front * 1.5) ** 2 + (up * 0.7) ** 2) - 4.5 + w.fine_noise
    canvas.paint(w, pelvis < 0, INDEX["kidney_pelvis"], [*own, INDEX["visceral_fat"]])
    for _ in range(organs.cysts):
        if rng.random() < 0.5:
            p = np.asarray(centre) + axes.T @ (rng.uniform(-0.9, 0.9, 3) * (rx, ry, rz))
            radius = rng.uniform(4, 13)
            v = canvas.window([p], radius + 2)
            canvas.paint(v, v.ellipsoid(p, [radius] * 3) < 0, INDEX["kidney_pelvis"], [*own, INDEX["visceral_fat"]])


def paint_pancreas(
    canvas: Canvas, trunk: Trunk, path: list[tuple[float, float, float]], rng: np.random.Generator
) -> None:
    """Paint the lobulated pancreas in front of the splenic vein (``path``: from the spleen to the liver)."""
    hilum, middle, joint = (np.asarray(p) for p in path[:3])
    tail, body = hilum + (-14, 10, -3), middle + (0, 9, -4)
    neck, head = joint + (-4, 11, -6), joint + (-20, 4, -24)
    w = canvas.window([tail, body, neck, head], 22)
    radii = np.array([8, 9, 8, 14]) * rng.uniform(0.75, 1.15)
    shape = w.tube([tail, body, neck, head], radii, 5) + 2.6 * w.fine_noise
    over = [*_named("visceral_fat", "mesenteric_vessel"), *BOWEL]
    canvas.paint(w, shape < 0, INDEX["pancreas"], over)


def paint_adrenals(canvas: Canvas, organs: Organs, rng: np.random.Generator) -> None:
    """Paint the thin Y of each adrenal above and in front of the kidney's upper pole."""
    for side, sign, centre in (("right", -1, organs.kidney_right), ("left", 1, organs.kidney_left)):
        x, y, z = centre[0] - sign * 25, centre[1] + 27, centre[2] + 46
        w = canvas.window([(x, y, z)], 34)
        shape = np.full(w.body.shape, np.inf, np.float32)
        for dz in (-10, 0, 10):  # each limb is a sheet, higher than it is thick
            front, fork = (x - sign * 3, y + 11, z + dz - 2), (x, y, z + dz)
            lateral, medial = (x + sign * 11, y - 15, z + dz - 5), (x - sign * 4, y - 16, z + dz - 4)
            shape = np.minimum(shape, w.tube([front, fork, lateral], [3.2, 3.2, 2.6]))
            shape = np.minimum(shape, w.tube([fork, medial], [2.9, 2.4]))
        shape += 0.4 * w.fine_noise
        over = [*_named("visceral_fat", "liver", "spleen", "pancreas", "mesenteric_vessel"), *STOMACH, *BOWEL]
        canvas.paint(w, shape < 0, INDEX[f"{side}_adrenal"], over)


def _named(*names: str) -> list[int]:
    return [INDEX[name] for name in names]
