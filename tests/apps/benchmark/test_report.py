"""Collecting the cells' scores and writing them down."""

from __future__ import annotations

import csv
import json

import pytest

from monai_semgan.apps.benchmark import collect_results, run_cells, write_report
from monai_semgan.apps.benchmark.collect import RESULT_COLUMNS
from monai_semgan.apps.benchmark.progress import Progress
from monai_semgan.utils import InputError
from tests.benchmark_cells import FakeBundles, make_cells, two_methods

pytestmark = pytest.mark.usefixtures("two_methods")
__all__ = ["two_methods"]


@pytest.fixture
def done(tmp_path):
    """A benchmark of which everything has finished."""
    cells = make_cells(tmp_path)
    assert run_cells(cells, FakeBundles()) == {}
    return tmp_path / "out", cells


def test_one_table_of_all_cells(done):
    folder, _ = done
    results = collect_results(folder)
    # 2 numbers of labels, 2 seeds, 3 rows (one of the first method, two of the second), 2 domains, 3 patients
    assert len(results) == 2 * 2 * 3 * 2 * 3
    with (folder / "results.csv").open(newline="", encoding="utf-8") as stream:
        table = list(csv.DictReader(stream))
    assert tuple(table[0]) == RESULT_COLUMNS
    assert len(table) == len(results)
    assert {row["row"] for row in results} == {"plain", "two_encoder", "two_optimised"}
    assert all(row["hd95_mm"] is None for row in results if row["name"].endswith("0"))
    assert not list(folder.rglob(".tmp-*"))


def test_unfinished_cells_are_not_in_it(tmp_path):
    cells = make_cells(tmp_path)
    run_cells(cells, FakeBundles({cells[0].key: 1}), say=lambda text: None)
    assert {(row["method"], row["labelled"], row["seed"]) for row in collect_results(tmp_path / "out")} == {
        (cell.method.name, cell.labelled, cell.seed) for cell in cells[1:]
    }


def test_a_patient_without_a_result_is_missing_in_every_row(tmp_path):
    cells = make_cells(tmp_path)[:2]
    run_cells(cells, FakeBundles(lost=("mr1",)))
    lost = [row for row in collect_results(tmp_path / "out") if row["name"] == "mr1"]
    assert {(row["row"], row["organ"]) for row in lost} == {
        ("plain", "liver"), ("two_encoder", "liver"), ("two_optimised", "liver"),
    }  # fmt: skip
    assert all(row["dice"] is None and row["message"] == "cannot be read" for row in lost)


def test_scores_that_cannot_be_read_are_told(done):
    folder, cells = done
    cells[0].per_case.write_text("dice\nhigh\n", encoding="utf-8")
    with pytest.raises(InputError, match=r"per_case\.csv cannot be read"):
        collect_results(folder)


def report(folder, **options) -> tuple[dict, str]:
    arguments = {"about": {"preset": "small"}, "reference": "plain", "failures": {}, **options}
    summary, files = write_report(folder, collect_results(folder), **arguments)
    assert all(path.is_file() for path in files)
    return summary, (folder / "results.md").read_text(encoding="utf-8")


def test_summary_and_page_hold_the_same_numbers(done):
    folder, _ = done
    summary, page = report(folder)
    assert json.loads((folder / "summary.json").read_text(encoding="utf-8"))["about"] == {"preset": "small"}
    first = summary["rows"][0]
    assert (first["row"], first["labelled"], first["domain"]) == ("plain", 1, "ct")
    # seeds 0 and 1: .910 and .911
    assert first["dice"]["mean"] == pytest.approx(0.9105)
    assert f".{round(first['dice']['mean'] * 1000)} ± .001" in page
    assert "## Liver, 1 labelled" in page
    assert "## Liver, 4 labelled" in page
    assert len(summary["differences"]) == 2 * 2 * 2
    assert all(entry["mean"] == pytest.approx(0.0) for entry in summary["differences"])
    assert "No failures." in page
    assert summary["costs"][0]["cpu_seconds"] == 1.5
    assert "`learning_rate 0.1`" in page


def test_tables_have_as_many_cells_in_each_line(done):
    _, page = report(done[0])
    lines = page.splitlines()
    for number, line in enumerate(lines):
        if line.startswith("|") and number and lines[number - 1].startswith("|"):
            assert line.count("|") == lines[number - 1].count("|"), line


def test_figures_are_drawn_and_linked(done):
    folder, _ = done
    _, page = report(folder)
    for name in ("dice_by_labels", "patients_ct", "patients_mr"):
        assert (folder / "figures" / f"{name}.png").stat().st_size > 5000
        assert f"(figures/{name}.png)" in page


def test_overlays_of_the_first_seed_are_linked(done):
    folder, cells = done
    for cell in cells:
        (cell.output_dir / "eval" / "overlays_ct.png").write_bytes(b"png")
    _, page = report(folder)
    assert "(cells/plain/labelled1_seed0/run/eval/overlays_ct.png)" in page
    assert "labelled1_seed1" not in page


def test_failures_are_named_in_the_page(tmp_path):
    cells = make_cells(tmp_path)[:2]
    run_cells(cells, FakeBundles(lost=("mr1",)))
    _, page = report(tmp_path / "out", failures={"plain/labelled4_seed0": "exit code 1: no room"}, missing=["absent"])
    assert "- Plain, mr: mr1 (seed 0, no result)" in page
    assert "- `plain/labelled4_seed0`: exit code 1: no room" in page
    assert "Left out, no bundle: absent." in page


def test_no_path_of_this_machine_in_what_is_published(done):
    folder, _ = done
    _, page = report(folder)
    assert str(folder) not in page + (folder / "summary.json").read_text(encoding="utf-8")


def test_a_page_without_any_result(tmp_path):
    (tmp_path / "out").mkdir()
    summary, page = report(tmp_path / "out")
    assert summary["rows"] == []
    assert "No training has finished yet." in page


def test_a_reference_that_was_not_run(done):
    _, page = report(done[0], reference="gone")
    assert "Nothing to compare: the reference is `gone`" in page


def test_a_line_for_each_finished_cell(tmp_path):
    cells = make_cells(tmp_path, labelled=(1,), seeds=(0,))
    progress = Progress(cells)
    assert progress.start(tmp_path).startswith("2 trainings, 1 at a time")
    run_cells(cells, FakeBundles(lost=("ct2",)))
    first, last = (progress.line(cell) for cell in cells)
    assert first.startswith("[1/2] plain labelled 1 seed 0: ct 0.905, mr 0.610 | 2 s, 2 s of CPU | about ")
    assert "NO RESULT for ct/ct2" in first
    assert "[2/2] two_stage labelled 1 seed 0: two_encoder ct 0.905, mr 0.610; two_optimised ct" in last
    assert "left" not in last
    assert "2 of them finished before" in Progress(cells).start(tmp_path)
