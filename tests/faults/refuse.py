"""Refuse a command its writes (disk full, read-only, no permission, no room inside a file), then let it go on.

From the repository's root:

    python -m tests.faults.refuse --trials 40 --seed 0 --out refused

and with a file system of its own that is really full, where root may make one:

    mount -t tmpfs -o size=64m tmpfs /mnt/small
    python -m tests.faults.refuse --trials 40 --disk /mnt/small --out full

Each trial begins with a training that was stopped in its middle. The command is given again, and from a random write on
the system says no. It has to end with a message that names the trouble, or to go on where the write does not matter
(MLflow, pictures); nothing may be half-written, the earlier checkpoint must be readable, and once there is room the
weights must be those of an undisturbed run.
"""

from __future__ import annotations

import argparse
import errno
import os
import random
import re
import shutil
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import torch

from monai_semgan.utils import write_json_atomic
from tests.faults.audit import broken_files, other_weights
from tests.faults.forked import Ended, Trouble, run_bundle_here, run_forked
from tests.faults.jobs import JOBS

__all__ = ["Refusals", "refuse"]

KINDS = ("full", "read-only", "permission", "no room in a file", "one write")
REALLY_FULL = "really full"
_CLEAR = re.compile(r"No space left|disk is full|Read-only|[Pp]ermission|File too large|did not take all|no permission")


@dataclass
class Refusals:
    """How the trials ended."""

    trials: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    problems: list[str] = field(default_factory=list)


def refuse(name: str, folder: Path, trials: int, seed: int = 0, disk: Path | None = None) -> Refusals:
    """Refuse the training ``name`` its writes ``trials`` times; with ``disk``, a small empty one, by filling that."""
    job, draw, found = JOBS[name], random.Random(f"refuse/{seed}/{name}"), Refusals()
    whole, half = folder / name / "whole", folder / name / "half"

    def start(out: Path, trouble: Trouble | None) -> Ended:
        command = job.command(folder, out)
        return run_forked(lambda: run_bundle_here(command, export=False), folder / name / f"{out.name}.log", trouble)

    done = start(whole, Trouble(whole))
    if done.code:
        raise RuntimeError(f"{name} does not run undisturbed: {done.text[-2000:]}")
    stop = "{'_target_': 'tests.bundle_command.KillAt', 'iteration': 5}"
    command = job.command(folder, half, **{"train#handlers": f"[{stop}]"})
    run_forked(lambda: run_bundle_here(command, export=False), half.with_name("half.log"))
    checkpoint = Path(job.stages[-1]) / "last.pt"
    earlier = torch.load(half / checkpoint, weights_only=True)["iteration"]
    for number in range(trials):
        out = (disk or folder / name) / f"trial{number}"
        shutil.copytree(half, out)
        kind = REALLY_FULL if disk else KINDS[number % len(KINDS)]
        if disk:
            _fill(disk, round(draw.random() * (_size(whole) - _size(half))))
        end = start(out, None if disk else _trouble(kind, out, done, draw))
        found.trials += 1
        found.outcomes[f"{kind}: {'stopped' if end.code else 'went on'}"] += 1
        problems = broken_files(out)
        if end.code not in (0, 1) or (end.code == 1 and not _CLEAR.search(end.message)):
            problems.append(f"exit code {end.code}: {end.message or end.text[-300:]}")
        if torch.load(out / checkpoint, weights_only=True)["iteration"] < earlier:
            problems.append("an older checkpoint than before")
        if disk:
            (disk / "ballast").unlink()
        again = start(out, None)
        if again.code:
            problems.append(f"afterwards: exit code {again.code}: {again.message}")
        problems += [
            f"{weights}: other than undisturbed"
            for weights in job.weights
            if other_weights(whole / weights, out / weights)
        ]
        found.problems += [f"trial {number} ({kind}): {problem}" for problem in problems]
        if not problems or disk:
            shutil.rmtree(out)
    return found


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _fill(disk: Path, leave: int) -> None:
    """Write a file that leaves ``leave`` bytes."""
    space = os.statvfs(disk)
    with (disk / "ballast").open("wb") as file:
        left = max(0, space.f_bavail * space.f_frsize - leave)
        while left > 0:
            left -= file.write(bytes(min(left, 2**20)))


def _trouble(kind: str, out: Path, done: Ended, draw: random.Random) -> Trouble:
    first = draw.randint(1, max(2, done.writes * 2 // 3))
    if kind == "no room in a file":
        return Trouble(out, largest_file=draw.choice([100, 5_000, 20_000, 60_000]))
    if kind == "one write":
        return Trouble(out, refuse_from=first, refuse_count=1)
    number = {"full": errno.ENOSPC, "read-only": errno.EROFS, "permission": errno.EACCES}[kind]
    return Trouble(out, refuse_from=first, refuse_with=number)


def main() -> int:
    """The command line; returns 1 when anything was lost."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=40)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--job", choices=[n for n, job in JOBS.items() if len(job.stages) == 1], default="supervised")
    parser.add_argument(
        "--disk", type=Path, help="a small, empty file system: it is filled until nothing fits any more"
    )
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    if args.disk and (
        os.statvfs(args.disk).f_blocks * os.statvfs(args.disk).f_frsize > 2**30 or any(args.disk.iterdir())
    ):
        parser.error(f"--disk: {args.disk} is not empty, or larger than 1 GiB; it would be filled to the last byte")
    found = refuse(args.job, args.out.absolute(), args.trials, args.seed, args.disk and args.disk.absolute())
    write_json_atomic(args.out / "refused.json", {"trials": found.trials, "outcomes": found.outcomes})
    print(f"{args.job}: {found.trials} trials, {dict(found.outcomes)}, problems: {len(found.problems)}")
    for problem in found.problems:
        print(f"  {problem[:600]}")
    return 1 if found.problems else 0


if __name__ == "__main__":
    os.environ["MPLBACKEND"] = "Agg"
    import mlflow  # noqa: F401

    import monai_semgan.apps.evaluation  # noqa: F401

    raise SystemExit(main())
