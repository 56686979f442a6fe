"""Picture files."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.image import imread
from PIL import Image

from monai_semgan.visualize import write_gif, write_png


def test_round_trip(tmp_path):
    picture = np.random.default_rng(0).integers(0, 255, (6, 9, 3), dtype=np.uint8)
    write_png(tmp_path / "a" / "x.png", picture)
    assert np.array_equal(np.rint(imread(tmp_path / "a" / "x.png") * 255), picture)
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["x.png"]


def test_floats_are_refused(tmp_path):
    with pytest.raises(ValueError, match="uint8"):
        write_png(tmp_path / "x.png", np.zeros((4, 4)))


def test_an_animation_keeps_its_frames_and_colours(tmp_path):
    frames = [np.full((5, 7, 3), (255, 40 * n, 0), np.uint8) for n in range(3)]
    write_gif(tmp_path / "x.gif", frames, seconds=0.1)
    with Image.open(tmp_path / "x.gif") as animation:
        assert animation.n_frames == 3
        assert animation.info["loop"] == 0
        animation.seek(2)
        assert np.abs(np.asarray(animation.convert("RGB"))[2, 2] - np.array([255, 80, 0])).max() < 10
        assert animation.info["duration"] == 300
    with pytest.raises(ValueError, match="one size"):
        write_gif(tmp_path / "y.gif", [frames[0], frames[0][:2]])
