"""Scores against a number: a panel a domain, a dot a seed, bars that are the seeds' standard deviation."""

from __future__ import annotations

import math
import statistics

import pytest
from matplotlib.figure import Figure
from matplotlib.image import imread

from monai_semgan.visualize import spread_plot


def rows() -> list[dict]:
    return [
        {"labelled": labelled, "seed": seed, "dice": 0.5 + 0.02 * labelled + 0.01 * seed, "domain": domain, "title": t}
        for labelled in (8, 1)
        for seed in range(3)
        for domain in ("ct", "mr")
        for t in ("U-Net", "GAN")
    ]


@pytest.fixture
def drawn(monkeypatch) -> list[Figure]:
    figures: list[Figure] = []
    save = Figure.savefig
    monkeypatch.setattr(Figure, "savefig", lambda self, *a, **k: (figures.append(self), save(self, *a, **k))[1])
    return figures


def test_panels_numbers_and_spread(tmp_path, drawn):
    spread_plot(rows(), tmp_path / "s.png", title="liver")
    (figure,) = drawn
    assert [axes.get_title() for axes in figure.axes] == ["ct", "mr"]
    axes = figure.axes[0]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["1", "8"]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["U-Net", "GAN"]
    assert len({other.get_ylim() for other in figure.axes}) == 1
    line = axes.containers[0]
    assert list(line[0].get_ydata()) == pytest.approx([0.53, 0.67])
    low, high = line[2][0].get_segments()[0][:, 1]
    assert (high - low) / 2 == pytest.approx(statistics.stdev([0.52, 0.53, 0.54]))
    assert imread(tmp_path / "s.png").shape[1] > 500


def test_every_seed_is_a_dot_and_what_is_not_finite_is_left_out(tmp_path, drawn):
    more = [{"labelled": 1, "seed": 3, "dice": value, "domain": "ct", "title": "GAN"} for value in (None, math.nan)]
    spread_plot([*rows(), *more], tmp_path / "s.png")
    dots = [c for axes in drawn[0].axes for c in axes.collections if hasattr(c, "get_sizes") and len(c.get_sizes())]
    assert sum(len(found.get_offsets()) for found in dots) == len(rows())


def test_one_seed_and_one_number(tmp_path, drawn):
    spread_plot([{"labelled": 1, "dice": 0.5, "domain": "ct", "title": "GAN"}], tmp_path / "s.png")
    low, high = drawn[0].axes[0].get_ylim()
    assert low < 0.5 < high


def test_nothing_to_draw(tmp_path):
    with pytest.raises(ValueError, match="dice"):
        spread_plot([{"labelled": 1, "dice": None, "domain": "ct", "title": "GAN"}], tmp_path / "s.png")
    assert not (tmp_path / "s.png").exists()
