"""Running cells: each once, going on after a failure or an interruption, nothing mixed up."""

from __future__ import annotations

import dataclasses
import json
import os
import sys
import time

import pytest

from monai_semgan.apps.benchmark import Cell, runner
from monai_semgan.apps.benchmark.marker import MARKER, check_markers, is_finished, read_marker
from monai_semgan.apps.benchmark.process import BundleProcess, Ended, folder_lock, last_message
from monai_semgan.utils import InputError
from tests.benchmark_cells import PRESET, FakeBundles, make_cells, two_methods, write_scores

pytestmark = pytest.mark.usefixtures("two_methods")
__all__ = ["two_methods"]


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch):
    monkeypatch.setattr(runner, "_PAUSE", 0.001)


def test_each_cell_is_run_once_and_only_once(tmp_path):
    cells, bundles, seen = make_cells(tmp_path), FakeBundles(), []
    assert runner.run_cells(cells, bundles, finished=lambda cell: seen.append(cell.key)) == {}
    assert bundles.started == seen == [cell.key for cell in cells]
    again = FakeBundles()
    assert runner.run_cells(cells, again) == {}
    assert again.started == []


def test_marker_holds_settings_hash_and_cost(tmp_path):
    cells = make_cells(tmp_path)
    runner.run_cells(cells, FakeBundles())
    marker = read_marker(cells[0].folder)
    assert marker["settings_hash"] == cells[0].settings_hash
    assert (marker["status"], marker["wall_seconds"], marker["cpu_seconds"]) == ("finished", 2.0, 1.5)
    assert (marker["method"], marker["labelled"], marker["seed"]) == ("plain", 1, 0)


def test_a_failure_is_told_and_the_rest_goes_on(tmp_path):
    cells, said = make_cells(tmp_path), []
    bundles = FakeBundles({cells[1].key: 1})
    failures = runner.run_cells(cells, bundles, say=said.append)
    assert list(failures) == [cells[1].key]
    assert "the disk is full" in failures[cells[1].key]
    assert "FAILED" in said[0]
    assert str(cells[1].log) in said[0]
    assert [is_finished(cell) for cell in cells] == [cell is not cells[1] for cell in cells]
    again = FakeBundles()
    assert runner.run_cells(cells, again) == {}
    assert again.started == [cells[1].key]
    assert read_marker(cells[1].folder)["cpu_seconds"] == 3.0  # both attempts


def test_patients_without_a_result_do_not_spoil_the_cell(tmp_path):
    cells = make_cells(tmp_path)[:1]
    assert runner.run_cells(cells, FakeBundles({cells[0].key: 1}, lost=("mr1",))) == {}
    assert is_finished(cells[0])


def test_a_command_that_ends_well_without_scores_has_failed(tmp_path, monkeypatch):
    cells = make_cells(tmp_path)[:1]
    monkeypatch.setattr("tests.benchmark_cells.write_scores", lambda *args, **options: None)
    assert list(runner.run_cells(cells, FakeBundles(), say=lambda text: None)) == [cells[0].key]


def test_scores_that_were_deleted_are_made_again(tmp_path):
    cells = make_cells(tmp_path)
    runner.run_cells(cells, FakeBundles())
    cells[2].per_case.unlink()
    bundles = FakeBundles()
    runner.run_cells(cells, bundles)
    assert bundles.started == [cells[2].key]


def test_as_many_at_once_as_asked_for(tmp_path, monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    cells, most = make_cells(tmp_path), []

    class Counted(FakeBundles):
        def __call__(self, cell, environment):
            job = super().__call__(cell, environment)
            most.append(sum(other.looks > 0 for other in self.jobs))
            return job

    bundles = Counted(looks=3)
    runner.run_cells(cells, bundles, workers=3)
    assert max(most) == 3
    assert all(int(found["OMP_NUM_THREADS"]) >= 1 for found in bundles.environments)


def test_threads_are_left_alone_for_one_at_a_time_or_by_the_users_wish(tmp_path, monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    assert runner._threads(1) == {}
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    assert runner._threads(2) == {}


def chain(cells: list[Cell]) -> list[Cell]:
    """Every second cell needs the one before."""
    return [
        dataclasses.replace(cell, needs=cells[number - 1].key) if number % 2 else cell
        for number, cell in enumerate(cells)
    ]


def test_a_cell_waits_for_what_it_is_built_on(tmp_path):
    cells = chain(make_cells(tmp_path))
    order = []

    class Watching(FakeBundles):
        def __call__(self, cell, environment):
            order.append((cell.key, {other.key for other in cells if is_finished(other)}))
            return super().__call__(cell, environment)

    runner.run_cells(cells, Watching(looks=4), workers=8)
    assert all(cell.needs in done for cell in cells if cell.needs for key, done in order if key == cell.key)


def test_what_is_built_on_a_failure_is_not_run(tmp_path):
    cells = chain(make_cells(tmp_path))
    bundles = FakeBundles({cells[0].key: 1})
    failures = runner.run_cells(cells, bundles, say=lambda text: None)
    assert list(failures) == [cells[0].key, cells[1].key]
    assert cells[1].key not in bundles.started
    assert cells[0].key in failures[cells[1].key]


def test_an_interruption_stops_what_runs_and_can_be_gone_on_from(tmp_path):
    cells = make_cells(tmp_path)
    bundles = FakeBundles(looks=1_000_000)

    def launch(cell, environment):
        if len(bundles.jobs) == 2:
            raise KeyboardInterrupt
        return bundles(cell, environment)

    with pytest.raises(KeyboardInterrupt):
        runner.run_cells(cells, launch, workers=3)
    assert [job.interrupted for job in bundles.jobs] == [1, 1]
    assert [read_marker(cell.folder)["status"] for cell in cells[:3]] == ["stopped", "stopped", "started"]
    check_markers(cells, tmp_path / "out")
    again = FakeBundles()
    assert runner.run_cells(cells, again) == {}
    assert again.started == [cell.key for cell in cells]


def test_a_training_that_does_not_listen_is_ended(tmp_path, monkeypatch):
    monkeypatch.setattr(runner, "_PATIENCE", 0.01)

    class Deaf:
        killed = False

        def poll(self):
            if not self.killed and not self.asked:
                raise KeyboardInterrupt
            return Ended(-9, 1.0, None) if self.killed else None

        asked = False

        def interrupt(self):
            self.asked = True

        def kill(self):
            self.killed = True

    cells = make_cells(tmp_path)[:1]
    with pytest.raises(KeyboardInterrupt):
        runner.run_cells(cells, lambda cell, environment: Deaf())
    assert read_marker(cells[0].folder)["attempts"][0]["code"] == -9


@pytest.mark.parametrize("finished", [True, False])
def test_changed_settings_are_refused_by_name(tmp_path, finished):
    cells = make_cells(tmp_path)
    runner.run_cells(cells[:1], FakeBundles({} if finished else {cells[0].key: 1}), say=lambda text: None)
    changed = make_cells(tmp_path, preset=dataclasses.replace(PRESET, methods={"plain": {"iterations": 20}}))
    with pytest.raises(InputError, match="iterations was 10 and is now 20") as caught:
        check_markers(changed, tmp_path / "out")
    assert str(cells[0].folder) in str(caught.value)
    assert "--output_dir" in caught.value.fix
    check_markers(make_cells(tmp_path), tmp_path / "out")


def test_another_preset_in_the_same_folder_is_refused(tmp_path):
    runner.run_cells(make_cells(tmp_path)[:1], FakeBundles())
    with pytest.raises(InputError, match="preset small"):
        check_markers(make_cells(tmp_path, preset=dataclasses.replace(PRESET, name="large")), tmp_path / "out")


def test_more_seeds_and_methods_may_be_added_later(tmp_path):
    runner.run_cells(make_cells(tmp_path, labelled=(1,), seeds=(0,)), FakeBundles())
    more = make_cells(tmp_path)
    check_markers(more, tmp_path / "out")
    bundles = FakeBundles()
    runner.run_cells(more, bundles)
    assert len(bundles.started) == len(more) - 2


def test_a_damaged_marker_is_told(tmp_path):
    cell = make_cells(tmp_path)[0]
    runner.run_cells([cell], FakeBundles())
    (cell.folder / MARKER).write_text("{", encoding="utf-8")
    with pytest.raises(InputError, match=r"cell\.json cannot be read"):
        is_finished(cell)


def python(code: str, tmp_path, **environment: str) -> BundleProcess:
    return BundleProcess([sys.executable, "-c", code], tmp_path, tmp_path / "log.txt", environment)


def wait(process: BundleProcess) -> Ended:
    until = time.monotonic() + 20
    while (ended := process.poll()) is None:
        assert time.monotonic() < until, "the process does not end"
        time.sleep(0.01)
    return ended


def test_a_process_has_its_own_cpu_time_and_log(tmp_path):
    busy = python("import os, time\nwhile time.process_time() < 0.4: pass\nprint(os.environ['X'])", tmp_path, X="hello")
    idle = BundleProcess([sys.executable, "-c", "raise SystemExit(3)"], tmp_path, tmp_path / "idle.txt", {})
    ended, other = wait(busy), wait(idle)
    assert (ended.code, other.code) == (0, 3)
    assert (tmp_path / "log.txt").read_text(encoding="utf-8") == "hello\n"
    if hasattr(os, "wait4"):
        assert ended.cpu_seconds >= 0.4 > other.cpu_seconds


@pytest.mark.skipif(os.name != "posix", reason="signals")
def test_a_process_can_be_interrupted_and_killed(tmp_path):
    # as in a script's background, where SIGINT is ignored by what is started
    import signal

    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        code = (
            "import time\ntry:\n  print('up', flush=True); time.sleep(60)\nexcept KeyboardInterrupt: print('stopped')"
        )
        process = python(code, tmp_path)
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)
    until = time.monotonic() + 20
    while "up" not in (tmp_path / "log.txt").read_text(encoding="utf-8") and time.monotonic() < until:
        time.sleep(0.01)
    process.interrupt()
    assert wait(process).code == 0
    assert "stopped" in (tmp_path / "log.txt").read_text(encoding="utf-8")
    process = python("import time; time.sleep(60)", tmp_path)
    process.kill()
    assert wait(process).code == -9
    process.kill()  # of a process that has ended: nothing


@pytest.mark.skipif(os.name != "posix", reason="file locks")
def test_one_benchmark_in_a_folder_even_after_it_left_a_training_behind(tmp_path):
    with folder_lock(tmp_path) as kept, pytest.raises(InputError, match="is running there"), folder_lock(tmp_path):
        pass
    with folder_lock(tmp_path) as kept:
        orphan = BundleProcess(
            [sys.executable, "-c", "import time; time.sleep(60)"], tmp_path, tmp_path / "l.txt", {}, kept
        )
    with pytest.raises(InputError, match="left behind"), folder_lock(tmp_path):
        pass
    orphan.kill()
    wait(orphan)
    with folder_lock(tmp_path):
        pass


def test_the_last_word_of_a_log(tmp_path):
    log = tmp_path / "log.txt"
    assert last_message(log) == "no log"
    log.write_text("INFO\nTraceback ...\n\nERROR: no mask. What to do: add it\nmore\n", encoding="utf-8")
    assert last_message(log) == "no mask. What to do: add it"
    log.write_text("one\nKilled\n", encoding="utf-8")
    assert last_message(log) == "Killed"
    log.write_text("x" * 50_000, encoding="utf-8")
    assert len(last_message(log)) == 300


def test_markers_are_plain_json_of_the_settings(tmp_path):
    cell = make_cells(tmp_path)[0]
    runner.run_cells([cell], FakeBundles())
    marker = json.loads((cell.folder / MARKER).read_text(encoding="utf-8"))
    assert marker["settings"]["iterations"] == 10
    assert "network" not in marker["settings"]
    assert "output_dir" not in marker["settings"]
    assert str(tmp_path) not in json.dumps(marker)
    write_scores(cell)
