"""Colours of the labels: one fixed colour per label index, the same in every picture of the project."""

from __future__ import annotations

import numpy as np

__all__ = ["LABEL_COLOURS", "label_colour"]

# Okabe and Ito's set (distinguishable with the common colour vision deficiencies) for the first organs, then
# lighter and darker relatives for the small vessels and glands. Index 0 is the background and is never drawn.
LABEL_COLOURS = np.array(
    [
        (0, 0, 0),
        (0, 190, 130),
        (230, 159, 0),
        (86, 180, 233),
        (204, 121, 167),
        (240, 228, 66),
        (213, 94, 0),
        (60, 120, 220),
        (220, 40, 40),
        (120, 90, 220),
        (150, 220, 90),
        (255, 180, 150),
        (130, 220, 220),
        (200, 200, 200),
    ],
    dtype=np.uint8,
)


def label_colour(index: int) -> tuple[int, int, int]:
    """RGB colour in ``0..255`` of a label index; beyond the table the colours repeat."""
    if index == 0:
        return (0, 0, 0)
    row = LABEL_COLOURS[1 + (int(index) - 1) % (len(LABEL_COLOURS) - 1)]
    return int(row[0]), int(row[1]), int(row[2])
