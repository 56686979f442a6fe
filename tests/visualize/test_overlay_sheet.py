"""Overlay sheets: chosen slices, picked cases, and both outlines in the written picture."""

from __future__ import annotations

import math

import numpy as np
import pytest
from matplotlib.image import imread

from monai_semgan.visualize import informative_slices, overlay_sheet, pick_cases


def case(name: str = "ct01", **extra) -> dict:
    rows, columns, slices = np.meshgrid(*(np.arange(n) for n in (32, 40, 12)), indexing="ij")
    body = ((rows - 16) / 13) ** 2 + ((columns - 20) / 17) ** 2 < 1
    label = (((rows - 16) / 6) ** 2 + ((columns - 14) / 6) ** 2 < 1) & (slices > 2) & (slices < 10)
    image = np.where(body, 40.0, -1000.0) + 60 * label
    shifted = np.roll(label, 3, axis=1)
    return {"name": name, "image": image, "label": label, "prediction": shifted, "dice": 0.7} | extra


def test_slices_stay_inside_the_reference():
    mask = np.zeros((4, 4, 50))
    mask[1, 1, 10:41] = 1
    chosen = informative_slices(mask, count=4)
    assert chosen == sorted(set(chosen))
    assert len(chosen) == 4
    assert chosen[0] > 10
    assert chosen[-1] < 40
    assert informative_slices(mask, count=1) == [25]


def test_slices_of_a_thin_or_empty_mask():
    mask = np.zeros((4, 4, 20))
    assert informative_slices(mask, count=3) == [2, 10, 17]
    prediction = mask.copy()
    prediction[0, 0, 7] = 1
    assert informative_slices(mask, prediction, count=3) == [7]


def test_best_median_and_worst():
    rows = [{"dice": value} for value in (0.8, 0.1, math.nan, 0.9, 0.5, 0.7)]
    assert pick_cases(rows) == {"best": 3, "median": 5, "worst": 1}
    assert pick_cases(rows[:1]) == {"worst": 0}
    assert pick_cases([]) == {}


def test_sheet_shows_both_outlines(tmp_path):
    path = tmp_path / "deep" / "sheet.png"
    cases = [case(hd95=5.2, note="best"), case("mr03", hd95=math.inf, spacing=(1.2, 1.0), note="worst")]
    overlay_sheet(cases, path, title="ct")
    picture = (imread(path) * 255).astype(int)
    green = (picture[..., 1] > 150) & (picture[..., 0] < 90)
    red = (picture[..., 0] > 200) & (picture[..., 1] < 100)
    half = picture.shape[0] // 2
    for colour in (green, red):
        assert colour[half // 2 : half].sum() > 100
        assert colour[half:].sum() > 100
    assert not list(path.parent.glob(".tmp*"))


def test_a_case_without_reference_is_drawn(tmp_path):
    overlay_sheet([case(label=None, dice=math.nan)], tmp_path / "sheet.png", slices=3)
    assert (tmp_path / "sheet.png").stat().st_size > 0


def test_pyplot_is_left_alone(tmp_path):
    from matplotlib import pyplot

    overlay_sheet([case()], tmp_path / "sheet.png")
    assert pyplot.get_fignums() == []


def test_wrong_shapes_are_told(tmp_path):
    with pytest.raises(ValueError, match="ct01"):
        overlay_sheet([case(prediction=np.zeros((3, 3, 3)))], tmp_path / "sheet.png")
    with pytest.raises(ValueError, match="at least one"):
        overlay_sheet([], tmp_path / "sheet.png")
