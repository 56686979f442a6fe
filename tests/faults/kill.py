"""Kill a command at random moments, give it again until it is done, and hold the result against an undisturbed one.

From the repository's root, a hundred kills of each command (some minutes each):

    python -m tests.faults.kill --kills 100 --seed 0 --out kills
    python -m tests.faults.kill --kills 300 --jobs semantic_gan inference --out kills

Half of the kills come just before a write (a checkpoint, a table, a picture, MLflow's files; every write is as likely),
half at any time. ``kills.json`` in the folder holds every trial. Every fourth results folder begins empty and has its
model exported to MLflow; the others begin with MLflow's empty tables and leave the export out, for speed.
"""

from __future__ import annotations

import argparse
import random
import shutil
import time
from collections import Counter
from dataclasses import asdict, dataclass, field
from pathlib import Path

from monai_semgan.handlers.whole_database import make_whole_database
from monai_semgan.utils import write_json_atomic
from tests.faults.audit import broken_files, counted_twice, finished_runs, other_weights, same_table
from tests.faults.forked import Ended, Trouble, run_forked
from tests.faults.jobs import JOBS, Job
from tests.faults.stages import STAGES

__all__ = ["Campaign", "Trial", "campaign"]

ALL: dict[str, Job] = {**JOBS, **STAGES}
assert len(ALL) == len(JOBS) + len(STAGES), "a stage has the name of a command"
_MOST_IN_A_ROW = 6
_TABLES = ("per_case.csv", "report.csv", "report_cases.csv", "results.csv")


@dataclass
class Trial:
    """One results folder: where its command was killed, and what was wrong in the end."""

    kills: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


@dataclass
class Campaign:
    """All trials of one command."""

    name: str
    writes: int = 0
    seconds: float = 0.0
    trials: list[Trial] = field(default_factory=list)
    stages: dict[str, int] = field(default_factory=dict)

    @property
    def kills(self) -> int:
        return sum(len(trial.kills) for trial in self.trials)

    @property
    def problems(self) -> list[str]:
        return [problem for trial in self.trials for problem in trial.problems]


def campaign(name: str, folder: Path, kills: int, seed: int = 0, most_in_a_row: int = _MOST_IN_A_ROW) -> Campaign:
    """Kill the command ``name`` at least ``kills`` times.

    Args:
        name: of ``ALL``.
        folder: for data, the undisturbed run (``whole``), and the trials, which are deleted when they are right.
        kills: how many.
        seed: of the moments.
        most_in_a_row: of one results folder, before it may end.
    """
    job, draw = ALL[name], random.Random(f"{seed}/{name}")
    whole = folder / name / "whole"
    if job.stages:
        _give_database(folder, whole)
    done = _start(job, folder, whole, Trouble(whole), export=False)
    if not _is_right_end(name, done):
        raise RuntimeError(f"{name} does not run undisturbed: {done.text[-2000:]}")
    result = Campaign(name, done.writes, done.seconds)
    stages: Counter[str] = Counter()
    while result.kills < kills:
        out = folder / name / f"trial{len(result.trials)}"
        trial, export = Trial(), len(result.trials) % 4 == 0
        result.trials.append(trial)
        if job.stages and not export:
            _give_database(folder, out)
        for _ in range(min(draw.randint(1, most_in_a_row), kills - result.kills)):
            killed = _start(job, folder, out, _draw(draw, out, done), export)
            if killed.code >= 0:  # it was through before its moment came
                break
            stages[_reached(job, out)] += 1
            trial.kills.append(f"{killed.seconds:.2f} s, write {killed.writes}: {killed.last_write}")
            trial.problems += broken_files(out)
        trial.problems += _finish(name, job, folder, out, whole, finished_runs(out) + 1)
        if not trial.problems:
            shutil.rmtree(out, ignore_errors=True)
    result.stages = dict(stages)
    return result


def _start(job: Job, folder: Path, out: Path, trouble: Trouble | None, export: bool = False) -> Ended:
    action = job.action(folder, out, export)
    return run_forked(action, out.with_name(f"{out.name}.log"), trouble)


def _give_database(folder: Path, out: Path) -> None:
    """Begin with MLflow's tables made, as after a kill just behind that: it takes longer than all the rest."""
    empty = folder / "empty" / "mlruns.db"
    make_whole_database(f"sqlite:///{empty}")
    out.mkdir(parents=True, exist_ok=True)
    shutil.copy(empty, out / "mlruns.db")


def _draw(draw: random.Random, out: Path, done: Ended) -> Trouble:
    if draw.random() < 0.5:
        return Trouble(out, kill_at_write=draw.randint(1, done.writes))
    return Trouble(out, kill_after=draw.uniform(0.05, done.seconds))


def _reached(job: Job, out: Path) -> str:
    """The part of the command in which it was killed, told by what is there."""
    if not job.stages:
        return job.config
    for stage, weights in zip(job.stages, job.weights, strict=True):
        if not (out / weights).is_file():
            return stage if (out / stage).exists() else f"before {stage}"
    return "evaluation"


def _is_right_end(name: str, done: Ended) -> bool:
    # one of the scans to segment is broken on purpose
    return done.code == 0 or (name == "inference" and "1 of 5 scans gave no result" in done.message)


def _finish(name: str, job: Job, folder: Path, out: Path, whole: Path, finished: int) -> list[str]:
    end = _start(job, folder, out, None)
    if not _is_right_end(name, end):
        return [f"{out}: exit code {end.code}: {end.message or end.text[-500:]}"]
    problems = broken_files(out) + counted_twice(out, finished)
    for weights in job.weights or [path.relative_to(whole) for path in whole.rglob("*.pt")]:
        different = other_weights(whole / weights, out / weights)
        problems += [f"{out / weights}: other than undisturbed: {', '.join(different[:3])}"] if different else []
    for path in whole.rglob("*.csv"):
        other = out / path.relative_to(whole)
        if path.name in _TABLES and "mlruns" not in path.parts and not (other.is_file() and same_table(path, other)):
            problems.append(f"{other}: another table than undisturbed")
    for path in whole.glob("*_seg.nii.gz"):
        if (out / path.name).read_bytes() != path.read_bytes():
            problems.append(f"{out / path.name}: another mask than undisturbed")
    return problems


def main() -> int:
    """The command line; returns 1 when anything was lost."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", nargs="+", choices=list(ALL), default=list(ALL))
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seconds", type=float, default=float("inf"), help="start no further command after these")
    args = parser.parse_args()
    begin, lost, results = time.monotonic(), 0, {}
    for name in args.jobs:
        if time.monotonic() - begin > args.seconds:
            break
        result = campaign(name, args.out.absolute(), args.kills, args.seed)
        results[name] = {**asdict(result), "kills": result.kills}
        write_json_atomic(args.out / "kills.json", results)
        lost += len(result.problems)
        print(
            f"{name}: {result.kills} kills in {len(result.trials)} runs {result.stages}, "
            f"problems: {len(result.problems)}",
            flush=True,
        )
        for problem in result.problems[:20]:
            print(f"  {problem}")
    return 1 if lost else 0


if __name__ == "__main__":
    # what every command would import, once
    import matplotlib

    matplotlib.use("Agg")
    import mlflow  # noqa: F401

    import monai_semgan.apps.evaluation
    import monai_semgan.handlers  # noqa: F401

    raise SystemExit(main())
