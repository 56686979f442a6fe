"""``monai-semgan benchmark``: the smallest phantom from start to end, and what it says to wrong input."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from monai_semgan import __main__ as command_line
from monai_semgan.apps.benchmark import PRESETS
from monai_semgan.apps.benchmark.command import BENCHMARKS

METHODS = ("unet_randomised", "semantic_gan")


def benchmark(*words: str, timeout: float = 250) -> subprocess.CompletedProcess:
    repository = Path(__file__).resolve().parents[3]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(repository)}
    environment.pop("MLFLOW_TRACKING_URI", None)
    return subprocess.run(
        [sys.executable, "-m", "monai_semgan", "benchmark", "cross-domain", *words], cwd=repository, env=environment,
        capture_output=True, text=True, timeout=timeout, check=False,
    )  # fmt: skip


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str], subprocess.CompletedProcess]:
    out = tmp_path_factory.mktemp("benchmark") / "out"
    words = ["--preset", "phantom", "--labelled", "1", "--seeds", "1", "--methods", ",".join(METHODS)]
    words += ["--output_dir", str(out), "--workers", "2"]
    return out, words, benchmark(*words)


def test_it_ends_well_with_a_line_for_each_training(job):
    _, _, done = job
    assert done.returncode == 0, done.stderr
    assert re.search(r"\[[12]/2\] unet_randomised labelled 1 seed 0: ct [01]\.", done.stdout)
    assert re.search(r"\[[12]/2\] semantic_gan labelled 1 seed 0: ", done.stdout)


def test_results_are_there(job):
    out, _, _ = job
    summary = json.loads((out / "summary.json").read_text(encoding="utf-8"))
    rows = {row["row"] for row in summary["rows"]}
    assert {"unet_randomised", "semantic_gan_encoder", "semantic_gan_optimised"} <= rows
    assert {row["domain"] for row in summary["rows"]} == {"ct", "mr_t1in", "mr_t1out", "mr_t2spir"}
    assert all(cost["cpu_seconds"] > 1 for cost in summary["costs"])
    names = ("results.csv", "results.md", "figures/dice_by_labels.png", "figures/patients_ct.png")
    assert [name for name in names if not (out / name).is_file()] == []
    assert "overlays_ct.png" in (out / "results.md").read_text(encoding="utf-8")


def test_trainings_stand_under_the_benchmark_in_mlflow(job):
    from mlflow import MlflowClient

    out, _, _ = job
    client = MlflowClient(f"sqlite:///{out / 'mlruns.db'}")
    (experiment,) = client.search_experiments(filter_string="name = 'benchmark cross-domain'")
    runs = client.search_runs([experiment.experiment_id])
    (above,) = [run for run in runs if "mlflow.parentRunId" not in run.data.tags]
    below = [run for run in runs if run.data.tags.get("mlflow.parentRunId") == above.info.run_id]
    assert len(below) == 2
    assert all(run.info.status == "FINISHED" for run in runs)
    assert "unet_randomised/ct/dice" in above.data.metrics
    tables = {artifact.path for artifact in client.list_artifacts(above.info.run_id, "tables")}
    assert tables == {
        "tables/results.csv", "tables/results.md", "tables/summary.json", "tables/benchmark.json",
    }  # fmt: skip


def test_the_same_command_again_runs_nothing_and_says_the_same(job):
    out, words, _ = job
    before = {path: path.stat().st_mtime_ns for path in out.glob("cells/*/*/run/eval/per_case.csv")}
    table = (out / "results.csv").read_bytes()
    done = benchmark(*words)
    assert done.returncode == 0, done.stderr
    assert "2 of them finished before" in done.stdout
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert (out / "results.csv").read_bytes() == table


def run(*words: object) -> int:
    """In this process."""
    return command_line.main(["benchmark", "cross-domain", *map(str, words)])


def test_changed_settings_are_refused_before_anything_runs(job, capsys):
    out, words, _ = job
    path = next(out.glob("cells/unet_randomised/*/cell.json"))
    text = path.read_text(encoding="utf-8")
    marker = json.loads(text)
    marker["settings"]["iterations"], marker["settings_hash"] = 5, "another"
    path.write_text(json.dumps(marker), encoding="utf-8")
    assert run(*words) == command_line.USER_ERROR
    path.write_text(text, encoding="utf-8")
    captured = capsys.readouterr()
    assert "iterations was 5 and is now 4" in captured.err
    assert captured.out == ""


def test_a_failing_training_makes_the_exit_code(tmp_path, job, capsys):
    out, _, _ = job
    data = tmp_path / "data"
    data.mkdir()
    for name in ("ct", "mr_t1in", "mr_t1out", "mr_t2spir", "splits.json"):
        (data / name).symlink_to(out / "phantom" / name)
    (data / "ct").unlink()
    for kind in ("images", "labels"):
        (data / "ct" / kind).mkdir(parents=True)
        for number in range(3):
            (data / "ct" / kind / f"ph00{number}.nii.gz").write_bytes(b"damaged")
    words = ["--preset", "phantom", "--labelled", "1", "--seeds", "1", "--methods", "unet_randomised"]
    code = run(*words, "--dataset_dir", data, "--output_dir", tmp_path / "out")
    captured = capsys.readouterr()
    assert code == 1
    assert "unet_randomised labelled 1 seed 0 FAILED, exit code 1" in captured.out
    assert "1 of 1 trainings gave no result:\n  unet_randomised/labelled1_seed0: " in captured.err
    assert "No training has finished yet." in (tmp_path / "out" / "results.md").read_text(encoding="utf-8")


def test_a_dry_run_shows_commands_and_cost_and_makes_nothing(tmp_path, capsys):
    code = run(
        "--dry_run", "--preset", "phantom", "--labelled", "1,4", "--seeds", "2", "--output_dir", tmp_path / "out"
    )
    shown = capsys.readouterr().out
    assert code == 0
    assert "unet_plain labelled 4 seed 1: not timed\n" in shown
    assert "-m monai.bundle run --config_file bundles/ct_liver/configs/train.json" in shown
    assert list(tmp_path.iterdir()) == []
    run("--dry_run", "--preset", "quick", "--labelled", "1", "--seeds", "1", "--methods", "unet_plain,unet_randomised",
        "--output_dir", tmp_path / "out", "--dataset_dir", make_dataset(tmp_path / "data"))  # fmt: skip
    shown = capsys.readouterr().out
    assert "unet_plain labelled 1 seed 0: about 4 min" in shown
    assert "2 trainings; " in shown
    assert "Still to train: about 8 min" in shown


def make_dataset(folder: Path, **splits: object) -> Path:
    for kind in ("images", "labels"):
        for name in ("c0", "c1", "c2"):
            path = folder / "ct" / kind / f"{name}.nii.gz"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"")
    table = {"ct_train": ["c0"], "ct_val": ["c1"], "ct_test": ["c2"], "labelled": {"1": ["c0"]}, **splits}
    (folder / "splits.json").write_text(json.dumps(table), encoding="utf-8")
    return folder


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--preset", "fast"], "wanted one of cpu, quick, gpu, phantom"),
        (["--methods", "unet"], "wanted some of unet_plain"),
        (["--labelled", "few"], "--labelled: got few"),
        (["--seeds", "0"], "--seeds: got 0"),
        (["--workers", "0"], "--workers: got 0"),
        (["--dataset_dir", "no-such-folder"], "no-such-folder is missing"),
        (["--bundles_dir", "no-such-folder"], "folder with the bundles"),
    ],
)
def test_wrong_options_are_told(words, said, capsys, tmp_path):
    assert run(*words, "--output_dir", tmp_path / "out") == command_line.USER_ERROR
    captured = capsys.readouterr()
    assert said in captured.err
    assert captured.out == ""
    assert not (tmp_path / "out").exists()


def test_a_number_of_labels_that_the_splits_lack(tmp_path, capsys):
    data = make_dataset(tmp_path / "data")
    assert run("--dataset_dir", data, "--labelled", "1,4", "--output_dir", tmp_path / "out") == 2
    assert "no split with 4 labelled scans" in capsys.readouterr().err


def test_a_data_set_without_splits(tmp_path, capsys):
    data = make_dataset(tmp_path / "data")
    (data / "splits.json").unlink()
    assert run("--dataset_dir", data, "--labelled", "1", "--output_dir", tmp_path / "out") == 2
    assert "has no fixed splits" in capsys.readouterr().err


@pytest.mark.parametrize("name", list(BENCHMARKS))
def test_every_benchmark_has_help(name, capsys):
    with pytest.raises(SystemExit) as stopped:
        command_line.main(["benchmark", name, "--help"])
    assert stopped.value.code == 0
    assert f"monai-semgan benchmark {name}" in capsys.readouterr().out


def test_options_of_the_page_exist(repository):
    parser = command_line.build_parser("benchmark")
    page = (repository / "docs" / "how_to" / "benchmark.md").read_text(encoding="utf-8")
    commands = re.findall(r"^python -m monai_semgan (.+)$", page, flags=re.MULTILINE)
    assert len(commands) >= 2
    given = [vars(parser.parse_args(shlex.split(command))) for command in commands]
    documented = set(re.findall(r"^\| `--(\w+)` \|", page, flags=re.MULTILINE))
    assert documented == set(given[0]) - {"command", "benchmark"}
    assert set(re.findall(r"^\| `(\w+)` \| .* \| .* \|$", page, flags=re.MULTILINE)) == set(PRESETS)


def test_help_does_not_load_torch():
    code = """
import sys
from monai_semgan.__main__ import main
try:
    main(["benchmark", "cross-domain", "--help"])
finally:
    assert "torch" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
