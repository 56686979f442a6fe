"""One phantom subject: its anatomy as a fine volume of structure numbers, and its tissue values."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .canvas import Canvas
from .hollow import paint_bowel, paint_esophagus, paint_stomach
from .organs import (
    Organs,
    draw_organs,
    paint_adrenals,
    paint_kidney,
    paint_liver,
    paint_pancreas,
    paint_spleen,
)
from .tissues import TissueValues, draw_tissue_values
from .trunk import Trunk, draw_trunk, paint_trunk
from .vessels import draw_portal_path, paint_great_vessels, paint_liver_vessels, paint_portal_veins

__all__ = ["Subject", "draw_subject"]


@dataclass
class Subject:
    """A subject before any scanner has seen it.

    Args:
        body: (X, Y, Z) uint8 numbers into :data:`.tissues.STRUCTURES`; X to the patient's left, Y to the
            front, Z to the head.
        low: millimetres of the centre of voxel (0, 0, 0).
        spacing: of ``body`` (mm).
        texture: (X, Y, Z) float32 field of unit variance that modulates the grey values inside structures.
        tissue: the subject's tissue properties.
        trunk, organs: the drawn sizes.
    """

    body: np.ndarray
    low: np.ndarray
    spacing: np.ndarray
    texture: np.ndarray
    tissue: TissueValues
    trunk: Trunk
    organs: Organs


def draw_subject(seed: int, number: int) -> Subject:
    """Draw subject ``number`` of the population ``seed``; the same two numbers give the same subject."""
    # One stream per topic: a change to the bowel does not move the kidneys.
    streams = np.random.default_rng([seed, number]).spawn(8)
    trunk = draw_trunk(streams[0])
    organs = draw_organs(trunk, streams[1])
    half_x, half_y = trunk.half_size
    canvas = Canvas(streams[2], (-half_x, -half_y - 4, trunk.bottom - 4), (half_x, half_y, trunk.top + 4))
    d, below = paint_trunk(canvas, trunk, streams[0])
    paint_bowel(canvas, trunk, d, below, streams[3])
    path = draw_portal_path(trunk, organs, streams[4])
    paint_pancreas(canvas, trunk, path, streams[4])
    paint_stomach(canvas, trunk, d, below, streams[5])
    paint_spleen(canvas, trunk, organs, d, below)
    paint_liver(canvas, trunk, organs, d, below, streams[6])
    paint_liver_vessels(canvas, trunk, organs, path, streams[6])
    for side in ("right", "left"):
        paint_kidney(canvas, trunk, organs, side, streams[7])
    paint_adrenals(canvas, organs, streams[7])
    paint_portal_veins(canvas, trunk, path, streams[4])
    paint_great_vessels(canvas, trunk, streams[4])
    paint_esophagus(canvas, trunk, streams[5])
    tissue = draw_tissue_values(np.random.default_rng([seed, number, 1]))
    texture = 0.8 * canvas.fine_noise + 0.6 * np.roll(canvas.fine_noise, (5, 7, 3), (0, 1, 2))[::-1]
    return Subject(canvas.body, canvas.low, canvas.spacing, texture, tissue, trunk, organs)
