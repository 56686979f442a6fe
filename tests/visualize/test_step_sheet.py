"""A sheet of steps: a row a slice, a column a step, labels as outlines and the rest as heat."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from matplotlib.figure import Figure
from matplotlib.image import imread

from monai_semgan.visualize import step_sheet


def test_rows_columns_and_titles(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    figures: list[Figure] = []
    save = Figure.savefig
    monkeypatch.setattr(Figure, "savefig", lambda self, *a, **k: (figures.append(self), save(self, *a, **k))[1])
    labels = torch.zeros(3, 1, 8, 8, dtype=torch.uint8)
    labels[:, :, 2:6, 2:6] = 2
    labels[0, 0, 0] = 255
    steps = {"heat": torch.rand(3, 1, 8, 8), "label": labels}
    step_sheet(torch.rand(3, 1, 8, 8) * 2 - 1, steps, tmp_path / "s.png", ["a", "b", "c"], "title")
    (figure,) = figures
    assert len(figure.axes) == 3 * 3
    assert [text.get_text() for text in figure.texts] == ["title", "slice", "heat", "label"]
    assert imread(tmp_path / "s.png").shape[2] in (3, 4)
    outlined = figure.axes[6].images[0].get_array()  # the label of the first slice
    assert outlined.shape == (32, 32, 3)
    assert (outlined[0, :, 0] == outlined[0, :, 1]).all()  # unknown pixels are grey, not an organ's colour
    assert (outlined[8, 8:24, 0] != outlined[8, 8:24, 2]).any()


def test_what_does_not_fit(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="wanted"):
        step_sheet(torch.zeros(0, 1, 4, 4), {}, tmp_path / "s.png")
    with pytest.raises(ValueError, match="label: got shape"):
        step_sheet(torch.zeros(2, 1, 4, 4), {"label": torch.zeros(1, 1, 4, 4)}, tmp_path / "s.png")
    assert not (tmp_path / "s.png").exists()
