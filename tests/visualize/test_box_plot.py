"""Box plots: every patient's dot is there, undefined values are counted."""

from __future__ import annotations

import math

import pytest
from matplotlib.figure import Figure
from matplotlib.image import imread

from monai_semgan.visualize import box_plot


def hd95(n: int) -> float:
    return 9.0 if n else math.inf


def rows() -> list[dict]:
    return [
        {"domain": domain, "name": f"p{n}", "stage": stage, "dice": 0.5 + 0.05 * n, "hd95_mm": hd95(n)}
        for domain in ("ct", "mr_t1in")
        for stage in ("optimised", "encoder")
        for n in range(6)
    ]  # fmt: skip


@pytest.fixture
def drawn(monkeypatch) -> list[Figure]:
    figures: list[Figure] = []
    save = Figure.savefig
    monkeypatch.setattr(Figure, "savefig", lambda self, *a, **k: (figures.append(self), save(self, *a, **k))[1])
    return figures


def test_every_patient_is_a_dot_and_the_encoder_stands_first(tmp_path, drawn):
    box_plot(rows(), "dice", tmp_path / "box.png", title="liver")
    axes = drawn[0].axes[0]
    dots = [collection.get_offsets() for collection in axes.collections]
    assert sum(len(offsets) for offsets in dots) == 24
    assert dots[0][:, 0].mean() < dots[1][:, 0].mean()
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["encoder", "optimised"]
    assert imread(tmp_path / "box.png").shape[1] > 300


def test_undefined_distances_are_counted_not_hidden(tmp_path, drawn):
    box_plot(rows(), "hd95_mm", tmp_path / "box.png")
    axes = drawn[0].axes[0]
    assert sum(len(collection.get_offsets()) for collection in axes.collections) == 20
    assert all("1 not defined" in label.get_text() for label in axes.get_xticklabels())


def test_rows_without_groups_and_single_patients(tmp_path, drawn):
    box_plot([{"domain": "ct", "name": "a", "dice": "0.5"}], "dice", tmp_path / "box.png")
    assert drawn[0].axes[0].get_legend() is None


def test_missing_metric(tmp_path):
    with pytest.raises(ValueError, match="assd_mm"):
        box_plot(rows(), "assd_mm", tmp_path / "box.png")
