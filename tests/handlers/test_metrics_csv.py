"""The CSV of metrics: columns grow, rows survive kills, resumed trainings tell one story."""

from __future__ import annotations

import math

from monai_semgan.handlers import MetricsCsv, read_metrics


def test_rows_of_two_stages(tmp_path):
    table = MetricsCsv(tmp_path / "metrics.csv")
    table.append(8, 1.0, {"gan/loss": 0.5})
    table.append(16, 2.0, {"gan/loss": 0.25, "gan/r1": math.nan})
    table.append(8, 3.0, {"encoder/loss": 4.0})
    lines = (tmp_path / "metrics.csv").read_text().splitlines()
    assert lines[0] == "step,time,gan/loss,gan/r1,encoder/loss"
    assert len(lines) == 4
    histories = read_metrics(tmp_path / "metrics.csv")
    assert histories["gan/loss"] == [(8, 0.5), (16, 0.25)]
    assert math.isnan(histories["gan/r1"][0][1])
    assert histories["encoder/loss"] == [(8, 4.0)]


def test_another_process_goes_on_and_a_torn_line_is_dropped(tmp_path):
    path = tmp_path / "metrics.csv"
    first = MetricsCsv(path)
    first.append(8, 1.0, {"loss": 0.5})
    first.append(16, 1.0, {"loss": 0.4})
    path.write_text(path.read_text()[:-4])
    MetricsCsv(path).append(24, 2.0, {"loss": 0.3})
    assert read_metrics(path)["loss"] == [(8, 0.5), (24, 0.3)]


def test_rewind_forgets_one_stage_beyond_the_checkpoint(tmp_path):
    table = MetricsCsv(tmp_path / "metrics.csv")
    for step in (8, 16, 24):
        table.append(step, 1.0, {"gan/loss": float(step)})
    table.append(40, 1.0, {"encoder/loss": 1.0})
    table.rewind(16, "gan/")
    assert read_metrics(table.path) == {"gan/loss": [(8, 8.0), (16, 16.0)], "encoder/loss": [(40, 1.0)]}
    table.append(24, 2.0, {"gan/loss": 99.0})
    assert read_metrics(table.path)["gan/loss"][-1] == (24, 99.0)


def test_somebody_elses_file_is_kept(tmp_path):
    path = tmp_path / "metrics.csv"
    path.write_text("epoch;loss\n1;2\n")
    MetricsCsv(path).append(8, 1.0, {"loss": 0.5})
    assert (tmp_path / "metrics.csv.old").read_text().startswith("epoch")
    assert read_metrics(path) == {"loss": [(8, 0.5)]}


def test_what_an_earlier_process_logged_at_the_same_step_gives_way(tmp_path):
    path = tmp_path / "metrics.csv"
    first = MetricsCsv(path)
    first.append(0, 1.0, {"test/dice": 0.5, "test/hd95": 3.0})
    first.append(10, 2.0, {"loss": 1.0})
    again = MetricsCsv(path)
    again.append(0, 3.0, {"test/dice": 0.6})
    again.append(0, 4.0, {"test/other": 1.0})
    rows = path.read_text(encoding="utf-8").splitlines()
    assert sum(",0.5," in row for row in rows) == 0
    found = read_metrics(path)
    assert found["test/dice"] == [(0, 0.6)]
    assert found["test/hd95"] == [(0, 3.0)]
    assert found["loss"] == [(10, 1.0)]
    assert len(rows) == 1 + 4
