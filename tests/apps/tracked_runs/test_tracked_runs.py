"""Listing, finding and comparing runs of a real SQLite store."""

from __future__ import annotations

import csv
import io
import json
import shutil
from pathlib import Path

import pytest

from monai_semgan.__main__ import main
from monai_semgan.apps.tracked_runs import TrackedRun, compare_runs, find_run, find_stores, open_stores, read_runs
from monai_semgan.apps.tracked_runs.columns import lower_is_better, metric_value, sorted_runs
from monai_semgan.apps.tracked_runs.text_table import Column, fit_table, plain
from monai_semgan.apps.tracked_runs.tracked_run import format_duration
from monai_semgan.utils import InputError
from tests.tracked_store import HOSTILE, TrackedStore, fill

pytestmark = pytest.mark.filterwarnings("ignore:unclosed database:ResourceWarning")


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> tuple[TrackedStore, dict[str, str]]:
    made = TrackedStore(tmp_path_factory.mktemp("results"))
    return made, fill(made)


@pytest.fixture
def ids(store: tuple[TrackedStore, dict[str, str]]) -> dict[str, str]:
    return store[1]


@pytest.fixture
def runs(store: tuple[TrackedStore, dict[str, str]]) -> list[TrackedRun]:
    return read_runs(open_stores([store[0].uri]))


@pytest.fixture
def command(store: tuple[TrackedStore, dict[str, str]], capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("COLUMNS", "100")

    def run(*words: str) -> tuple[int, str, str]:
        code = main(["runs", "--tracking_uri", store[0].uri, *words])
        shown = capsys.readouterr()
        return code, shown.out, shown.err

    return run


def test_nested_runs_are_inside_and_trainings_of_a_benchmark_are_not(runs, ids):
    assert ids["stage"] not in {run.id for run in runs}
    whole = find_run(runs, ids["main"])
    assert [member.id for member in whole.members] == [ids["main"], ids["stage"]]
    assert whole.metrics["gan/loss"] == 1.0  # the run's own value wins over that of the stage
    (cell,) = [run for run in runs if run.id == ids["cell"]]
    assert cell.parent == ids["benchmark"]
    assert runs[0].id == ids["cell"]  # the newest first


def test_what_a_run_says_of_itself(runs, ids):
    run = find_run(runs, ids["unet"])
    assert (run.bundle, run.method, run.labelled, run.seed) == ("ct_liver_supervised", "supervised", "8", "1")
    assert run.seconds == 600
    assert run.scores["network"]["ct"]["dice"] == pytest.approx(0.96)
    assert find_run(runs, ids["running"]).seconds is None
    assert find_run(runs, ids["hostile"]).bundle.startswith("exp ")  # not what a path with ".." says


def test_history_keeps_what_is_not_a_number(runs, ids):
    history = find_run(runs, ids["main"]).history("gan/loss")
    assert [step for step, _, _ in history] == [100, 200, 300, 400]
    assert history[2][1] != history[2][1]
    assert find_run(runs, ids["main"]).history("nothing") == []


def test_a_run_is_found_by_id_beginning_name_and_latest(runs, ids):
    for wanted in (ids["unet"], ids["unet"][:7], ids["unet"].upper(), "U-Net L8", "u-net l8"):
        assert find_run(runs, wanted).id == ids["unet"]
    assert find_run(runs, "latest") is runs[0]
    # by name the run comes before the stage that carries its name too
    assert find_run(runs, "SemanticGAN L8").id == ids["main"]


def test_an_unknown_run_is_told_with_the_nearest_ids(runs, ids):
    wrong = ids["unet"][:-1] + ("0" if ids["unet"][-1] != "0" else "1")
    with pytest.raises(InputError, match=ids["unet"]):
        find_run(runs, wrong)
    with pytest.raises(InputError, match="several runs"):
        find_run(runs, "U-Net")
    with pytest.raises(InputError, match="no run yet"):
        find_run([], "latest")


def test_stores_are_searched_for_below_a_folder(store, tmp_path, monkeypatch):
    made, _ = store
    for place in ("bundles/a/runs/x", "mlruns/y", ".hidden"):
        (tmp_path / place).mkdir(parents=True)
        shutil.copy(made.folder / "mlruns.db", tmp_path / place / "mlruns.db")
    assert [Path(uri).parent.name for uri in find_stores([str(tmp_path)])] == ["x"]
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    assert len(find_stores()) == 1
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    assert find_stores() == ["http://127.0.0.1:9"]


def test_reading_makes_no_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    for places in (None, ["sqlite:///nothing.db"], ["nothing.db"]):
        with pytest.raises(InputError):
            open_stores(places)
    assert list(tmp_path.iterdir()) == []


def test_a_broken_store_that_was_found_is_left_out_and_a_named_one_is_an_error(store, tmp_path, capsys):
    made, _ = store
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "mlruns.db").write_text("this is no data base " * 100)
    shutil.copy(made.folder / "mlruns.db", tmp_path / "mlruns.db")
    assert len(open_stores([str(tmp_path)])) == 1
    assert "left out: MLflow store a/mlruns.db" in capsys.readouterr().err
    with pytest.raises(InputError, match="cannot be read"):
        open_stores([str(tmp_path / "a" / "mlruns.db")])


def test_a_server_that_is_away_is_said_soon_and_without_its_password():
    with pytest.raises(InputError, match="cannot be read") as told:
        open_stores(["http://somebody:secret@127.0.0.1:9"])
    assert "secret@" not in str(told.value).split("got")[0]


def test_artifacts_are_found_where_the_folder_was_moved_to(store, tmp_path):
    made, ids = store
    moved = tmp_path / "moved"
    shutil.copytree(made.folder, moved)
    made.folder.rename(made.folder.with_name("gone"))
    try:
        run = find_run(read_runs(open_stores([str(moved)])), ids["main"])
        assert b"student" in (run.read("evaluation/per_case.csv") or b"")
        assert any("samples" in path for path in run.files)
    finally:
        made.folder.with_name("gone").rename(made.folder)


def test_sorting_puts_the_best_first_and_the_unknown_last(runs, ids):
    order = [run.id for run in sorted_runs(runs, "mr_t2spir/dice")]
    assert order.index(ids["main"]) < order.index(ids["unet"]) < order.index(ids["failed"])
    assert sorted_runs(runs, "test/network/ct/dice", reverse=True)[0].id == ids["unet"]
    assert metric_value(find_run(runs, ids["unet"]), "dice") == pytest.approx((0.96 + 0.5) / 2)
    assert lower_is_better("gan/loss")
    assert not lower_is_better("test/a/ct/dice")
    with pytest.raises(InputError, match="nearest"):
        sorted_runs(runs, "validation_dise")


def test_the_list_fits_the_terminal(command, ids, monkeypatch):
    for width in (60, 80, 120):
        monkeypatch.setenv("COLUMNS", str(width))
        code, shown, _ = command()
        table = shown.split("\n\n")[0].splitlines()
        assert code == 0
        assert max(map(len, table)) <= width
        assert all(ids[key][:8] in shown for key in ("main", "unet", "failed", "cell"))
    assert "0.930" in shown


def test_filters_and_limit(command, ids):
    shown = command("--method", "supervised", "--status", "finished")[1]
    assert ids["unet"][:8] in shown
    assert ids["failed"][:8] not in shown
    assert ids["main"][:8] not in shown
    assert ids["unet"][:8] in command("--bundle", "CT_LIVER_SUP")[1]
    assert ids["main"][:8] not in command("--experiment", "ct_liver_supervised")[1]
    assert "more runs" in command("--limit", "1")[1]
    code, _, told = command("--method", "unheard-of")
    assert code == 2
    assert "supervised" in told


def test_json_and_csv_hold_every_run(command, tmp_path, ids):
    found = json.loads(command("--format", "json")[1])
    main_run = next(run for run in found if run["id"] == ids["main"])
    assert main_run["metrics"]["encoder/validation_dice_ct"] == 0.91
    assert main_run["params"]["settings.labelled"] == "8"
    out = tmp_path / "runs.csv"
    assert command("--format", "csv", "--out", str(out), "--metrics", "ct/dice,gan/loss")[0] == 0
    rows = list(csv.DictReader(io.StringIO(out.read_text(encoding="utf-8"))))
    assert {row["id"] for row in rows} == {run["id"] for run in found}
    assert float(next(row for row in rows if row["id"] == ids["unet"])["ct/dice"]) == pytest.approx(0.96)


def test_comparing_shows_what_differs(command, runs, ids):
    rows = compare_runs([find_run(runs, ids["main"]), find_run(runs, ids["unet"])])
    names = {row["name"]: row["values"] for row in rows}
    assert names["settings.seed"] == ["0", "1"]
    assert names["learning_rate"] == [None, "0.1"]
    assert "dataset_dir" not in names
    assert "gan/loss" not in names
    assert "gan/loss" in {r["name"] for r in compare_runs([find_run(runs, ids[k]) for k in ("main", "unet")], True)}
    code, shown, _ = command("--compare", ids["main"][:8], ids["unet"])
    assert code == 0
    assert "learning_rate" in shown
    assert max(map(len, shown.splitlines())) <= 100
    same = compare_runs([find_run(runs, ids["main"]), find_run(runs, ids["cell"])])
    differences = {row["name"]: row["difference"] for row in same if row["kind"] == "metric"}
    assert differences["test/student/ct/dice"] == 0
    assert command("--compare", ids["main"], ids["main"])[0] == 2
    assert len(json.loads(command("--compare", ids["main"], ids["unet"], "--format", "json")[1])["runs"]) == 2


def test_a_terminal_gets_no_control_characters(command):
    shown = command()[1]
    assert "\x07" not in shown
    assert "\u202e" not in shown
    assert plain("a\x1b[31mb") == "a?[31mb"
    assert HOSTILE not in shown


def test_the_least_important_columns_go_first():
    columns = [Column("id", ["12345678"], 99), Column("extra", ["x" * 20], 1), Column("dice", ["0.9"], 50, right=True)]
    assert fit_table(columns, 16).splitlines()[0] == "id        dice"
    assert "extra" in fit_table(columns)
    cut = fit_table([Column("name", ["n" * 40], 9, shrinks=True)], 20)
    assert cut.splitlines()[-1] == "n" * 19 + "…"


@pytest.mark.parametrize(("seconds", "text"), [(None, "-"), (45, "45 s"), (720, "12 min"), (11_100, "3 h 05")])
def test_durations(seconds, text):
    assert format_duration(seconds) == text
