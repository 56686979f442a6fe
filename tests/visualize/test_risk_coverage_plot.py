"""Risk against coverage: a panel a group, a curve an estimate, references told apart, one scale for all."""

from __future__ import annotations

import pytest
from matplotlib.figure import Figure
from matplotlib.image import imread

from monai_semgan.visualize import risk_coverage_plot


def curve(*risk: float) -> list[tuple[float, float]]:
    return [((k + 1) / len(risk), value) for k, value in enumerate(risk)]


def panels() -> dict:
    estimates = {"agreement": curve(0.1, 0.3, 0.4), "oracle": curve(0.1, 0.2, 0.4), "random": curve(0.4, 0.4, 0.4)}
    return {"all domains": estimates, "ct": {**estimates, "predicted dice": curve(0.1, 0.1)}, "empty": {"oracle": []}}


@pytest.fixture
def drawn(monkeypatch) -> list[Figure]:
    figures: list[Figure] = []
    save = Figure.savefig
    monkeypatch.setattr(Figure, "savefig", lambda self, *a, **k: (figures.append(self), save(self, *a, **k))[1])
    return figures


def test_panels_and_curves(tmp_path, drawn):
    risk_coverage_plot(panels(), tmp_path / "r.png", title="liver")
    (figure,) = drawn
    assert [axes.get_title() for axes in figure.axes] == ["all domains, n = 3", "ct, n = 3"]
    lines = {line.get_label(): line for line in figure.axes[1].get_lines()}
    assert list(lines) == ["agreement", "oracle", "random", "predicted dice"]
    assert list(lines["predicted dice"].get_xdata()) == [0.5, 1.0]
    assert list(lines["agreement"].get_ydata()) == [0.1, 0.3, 0.4]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == list(lines)
    assert imread(tmp_path / "r.png").shape[1] > 500


def test_an_estimate_has_one_colour_and_references_one_of_their_own(tmp_path, drawn):
    risk_coverage_plot(panels(), tmp_path / "r.png", columns=1)
    looks = [{line.get_label(): (line.get_color(), line.get_linestyle()) for line in axes.get_lines()}
             for axes in drawn[0].axes]  # fmt: skip
    assert all(looks[1][name] == look for name, look in looks[0].items())
    assert len(set(looks[1].values())) == 4
    assert looks[0]["agreement"][1] == "-"
    assert {looks[0][name][1] for name in ("oracle", "random")} == {":", "--"}
    assert len({axes.get_ylim() for axes in drawn[0].axes}) == 1


def test_no_risk_at_all_and_many_patients(tmp_path, drawn):
    risk_coverage_plot({"ct": {"agreement": curve(*[0.0] * 60)}}, tmp_path / "r.png")
    assert drawn[0].axes[0].get_ylim() == (0.0, 0.1)
    assert drawn[0].axes[0].get_lines()[0].get_marker() in (None, "None")


def test_nothing_to_draw(tmp_path):
    for empty in ({}, {"ct": {}}, {"ct": {"oracle": []}}):
        with pytest.raises(ValueError, match="at least one curve"):
            risk_coverage_plot(empty, tmp_path / "r.png")
    assert not (tmp_path / "r.png").exists()
