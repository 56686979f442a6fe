"""Picture files."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.image import imread

from monai_semgan.visualize import write_png


def test_round_trip(tmp_path):
    picture = np.random.default_rng(0).integers(0, 255, (6, 9, 3), dtype=np.uint8)
    write_png(tmp_path / "a" / "x.png", picture)
    assert np.array_equal(np.rint(imread(tmp_path / "a" / "x.png") * 255), picture)
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["x.png"]


def test_floats_are_refused(tmp_path):
    with pytest.raises(ValueError, match="uint8"):
        write_png(tmp_path / "x.png", np.zeros((4, 4)))
