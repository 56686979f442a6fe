"""Training curves: one panel each, gaps shown."""

from __future__ import annotations

import math

import numpy as np
import pytest
from matplotlib.image import imread

from monai_semgan.visualize import curve_plot
from monai_semgan.visualize.curve_plot import _running_mean


def test_a_picture_is_written(tmp_path):
    curve = [(64 * n, 1 / (1 + n)) for n in range(30)]
    curve[3] = (192, math.nan)
    histories = {"gan/loss": curve, "gan/lr": [(0, 1e-3)], "empty": []}
    curve_plot(histories, tmp_path / "curves.png", columns=2, title="training")
    assert imread(tmp_path / "curves.png").shape[1] > 500


def test_running_mean_is_unbiased_and_smooth():
    assert np.allclose(_running_mean(np.full(9, 3.0), 0.9), 3.0)
    noisy = np.random.default_rng(0).normal(size=400)
    assert _running_mean(noisy, 0.9)[50:].std() < 0.5 * noisy.std()
    assert np.array_equal(_running_mean(noisy, 0.0), noisy)


def test_no_curve(tmp_path):
    with pytest.raises(ValueError, match="at least one"):
        curve_plot({"a": []}, tmp_path / "curves.png")
