"""Colours of labels."""

from __future__ import annotations

from monai_semgan.visualize import LABEL_COLOURS, label_colour


def test_thirteen_organs_have_colours_of_their_own():
    colours = {label_colour(index) for index in range(1, 14)}
    assert len(colours) == 13
    assert (0, 0, 0) not in colours
    assert label_colour(len(LABEL_COLOURS)) == label_colour(1)
