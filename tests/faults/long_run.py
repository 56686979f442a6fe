"""A long training of the smallest network, watched from outside: memory, speed, open files, size of MLflow's data base.

From the repository's root; with one slow core, some iterations a second:

    python -m tests.faults.long_run --iterations 20000 --out long

``long_run.json`` in the folder holds a row for each look; the first tenth is taken for warming up.
"""

from __future__ import annotations

import argparse
import csv
import os
import signal
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from monai_semgan.utils import write_json_atomic
from tests.faults.forked import child_of, run_bundle_here
from tests.faults.jobs import JOBS

__all__ = ["Look", "drift", "watch"]

SMALLEST = {
    "batch_size": 1, "unet_channels": "[4,8]", "unet_strides": "[2]", "checkpoint_every": 100, "validate_every": 1000,
}  # fmt: skip


@dataclass(frozen=True)
class Look:
    """What was seen of the process: seconds since its start, CPU seconds, MiB, open files, iteration, KiB on disk."""

    seconds: float
    cpu_seconds: float
    memory_mib: float
    files: int
    iteration: int
    database_kib: float
    table_kib: float


def watch(folder: Path, iterations: int, seconds: float = float("inf"), every: float = 10.0) -> list[Look]:
    """Train for ``iterations`` or ``seconds``, whichever is over first, and look every ``every`` seconds."""
    out = folder / "out"
    command = JOBS["supervised"].command(folder, out, **{**SMALLEST, "iterations": iterations})
    child, begin, looks = (
        child_of(lambda: run_bundle_here(command, export=False), folder / "log.txt"),
        time.monotonic(),
        [],
    )
    while True:
        found, status = os.waitpid(child, os.WNOHANG)
        if found:
            code = os.waitstatus_to_exitcode(status)
            if code:
                raise RuntimeError(f"exit code {code}, see {folder / 'log.txt'}")
            return looks
        now = time.monotonic() - begin
        look = _look(child, now, out)
        if look is not None:
            looks.append(look)
        if now > seconds:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            return looks
        time.sleep(every)


def _look(process: int, now: float, out: Path) -> Look | None:
    try:
        rows = list(csv.DictReader((out / "metrics.csv").read_text(encoding="utf-8").splitlines()))
        memory = int(Path(f"/proc/{process}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20
        spent = sum(map(int, Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[11:13]))
        return Look(
            round(now, 1), spent / os.sysconf("SC_CLK_TCK"), round(memory, 1), len(os.listdir(f"/proc/{process}/fd")),
            max(int(float(row["step"])) for row in rows), _kib(out / "mlruns.db"), _kib(out / "metrics.csv"),
        )  # fmt: skip
    except (OSError, ValueError, KeyError):
        return None


def _kib(path: Path) -> float:
    return round(path.stat().st_size / 1024, 1) if path.is_file() else 0.0


def drift(looks: list[Look]) -> dict[str, Any]:
    """How it went after the first tenth: growth in a thousand iterations, and the speed of both halves."""
    last = looks[-1]
    kept = [look for look in looks if look.iteration >= last.iteration / 10] or looks
    first, middle = kept[0], kept[len(kept) // 2]
    thousands = max(1, last.iteration - first.iteration) / 1000

    def rate(a: Look, b: Look) -> float:
        return (b.cpu_seconds - a.cpu_seconds) / max(1, b.iteration - a.iteration)

    return {
        "iterations": last.iteration,
        "memory_mib": [first.memory_mib, last.memory_mib],
        "memory_mib_a_thousand": round((last.memory_mib - first.memory_mib) / thousands, 3),
        "files": sorted({look.files for look in kept}),
        "cpu_ms_an_iteration": [round(1000 * rate(first, middle), 3), round(1000 * rate(middle, last), 3)],
        "database_kib": [first.database_kib, last.database_kib],
        "database_kib_a_thousand": round((last.database_kib - first.database_kib) / thousands, 2),
        "table_kib_a_thousand": round((last.table_kib - first.table_kib) / thousands, 2),
    }


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--iterations", type=int, default=20_000)
    parser.add_argument("--seconds", type=float, default=float("inf"), help="stop after these")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    looks = watch(args.out.absolute(), args.iterations, args.seconds)
    found = drift(looks)
    write_json_atomic(args.out / "long_run.json", {**found, "looks": [asdict(look) for look in looks]})
    print(found)
    return 0


if __name__ == "__main__":
    os.environ["MPLBACKEND"] = "Agg"
    raise SystemExit(main())
