"""What tracking costs: processor time inside the tracking handlers, against that of the training they follow.

``python -m tests.tracking_cost --divide 8`` trains ``ct_liver`` on its phantom, with the bundle's own networks and
intervals and an eighth of its iterations, and prints a table: what was measured, and what follows for the bundle's own
length. Both shares count everything that would not happen without tracking: opening the run (with the import of
MLflow), each loss, look, picture and delivery, logging the model and closing the run. Against them stand the three
trainings alone, without preparing the data and without the evaluation.

Per part it grows as follows: ``once`` is paid once a training; ``iteration`` with the iterations; ``interval`` with the
number of looks, those at the end of a stage included; ``time`` with the time that passes.
"""

from __future__ import annotations

import argparse
import functools
import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from monai.bundle import ConfigParser

from monai_semgan.apps import log_bundle_model, prepare_phantom
from monai_semgan.handlers import (
    CriticMonitor,
    ExperimentRun,
    GeneratorMonitor,
    SampleGridSaver,
    SliceValidation,
    TrackTraining,
)
from monai_semgan.handlers.console_log import ConsoleLog
from monai_semgan.handlers.mlflow_link import MlflowLink
from tests.bundle_command import BUNDLES

# part -> how it grows, and the methods that are it; what one calls of another counts for the inner one
PARTS: dict[str, tuple[str, list[tuple[type, str]]]] = {
    "opening the run": ("once", [(ExperimentRun, "start"), (MlflowLink, "_connect")]),
    "stages, closing the run": ("once", [(ExperimentRun, n) for n in ("start_stage", "finish_stage", "finish")]),
    "losses, rates, norms": ("iteration", [(TrackTraining, "iteration_completed")]),
    "console log": ("iteration", [(ConsoleLog, "write")]),
    "critics": ("interval", [(CriticMonitor, "__call__")]),
    "samples against slices": ("interval", [(GeneratorMonitor, "__call__")]),
    "pictures": ("interval", [(SampleGridSaver, "save")]),
    "validation slices": ("interval", [(SliceValidation, "__call__")]),
    "animations": ("once", [(SampleGridSaver, "animate")]),
    "deliveries of numbers": ("time", [(ExperimentRun, "flush")]),
}
MODEL = "model"
STAGES = {
    "gan": ("warmup_iterations", "gan_iterations"),
    "train": ("encoder_iterations",),
    "distil": ("student_iterations",),
}


@dataclass
class Cost:
    """Calls of one part in one stage, with their processor seconds and the seconds that passed."""

    calls: int = 0
    cpu: float = 0.0
    wall: float = 0.0


@dataclass
class Meter:
    """Adds up what goes on inside the methods that it watches; time of an inner call is not the outer one's."""

    costs: dict[tuple[str, str], Cost] = field(default_factory=dict)
    stage: str = ""
    _inner: list[list[float]] = field(default_factory=list)

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Count a block as one call of ``name``."""
        cpu, wall = time.process_time(), time.perf_counter()
        self._inner.append([0.0, 0.0])
        try:
            yield
        finally:
            took = [time.process_time() - cpu, time.perf_counter() - wall]
            inner = self._inner.pop()
            cost = self.costs.setdefault((self.stage, name), Cost())
            cost.calls += 1
            cost.cpu += took[0] - inner[0]
            cost.wall += took[1] - inner[1]
            if self._inner:
                self._inner[-1] = [whole + part for whole, part in zip(self._inner[-1], took, strict=True)]

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Within the block the methods of ``PARTS`` are counted."""
        before = [(owner, name, vars(owner)[name]) for _, methods in PARTS.values() for owner, name in methods]
        for part, (_, methods) in PARTS.items():
            for owner, name in methods:
                setattr(owner, name, self._watched(part, vars(owner)[name]))
        try:
            yield
        finally:
            for owner, name, method in before:
                setattr(owner, name, method)

    def _watched(self, part: str, method: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(method)
        def watched(*args: Any, **options: Any) -> Any:
            with self.part(part):
                return method(*args, **options)

        return watched


@dataclass
class Trained:
    """One stage: its iterations here and in the bundle, and what it took, tracking included."""

    iterations: int
    full: int
    cpu: float
    wall: float


def train(dataset: Path, output: Path, divide: float, options: dict[str, Any]) -> tuple[Meter, dict[str, Trained]]:
    """The three trainings of ``ct_liver`` with ``1 / divide`` of its iterations, without the evaluation."""
    parser = ConfigParser()
    parser.read_config(str(BUNDLES / "ct_liver" / "configs" / "train.json"))
    full = {stage: {name: int(parser[name]) for name in names} for stage, names in STAGES.items()}
    less = {name: max(1, round(n / divide)) for counts in full.values() for name, n in counts.items()}
    given = {"bundle_root": str(BUNDLES / "ct_liver"), "dataset_dir": str(dataset), "output_dir": str(output),
             "device": "$torch.device('cpu')", "mixed_precision": False, **options, **less}  # fmt: skip
    for name, value in given.items():
        parser[name] = value
    if "student_rounds" in parser.get():  # their number is that of a whole training, whatever its length
        parser["student_rounds"] = []
    torch.manual_seed(int(parser["seed"]))
    meter, trained = Meter(), {}
    with meter.watching():
        run = parser.get_parsed_content("experiment")
        for stage, counts in full.items():
            trainer = parser.get_parsed_content(f"{stage}#trainer")
            meter.stage = stage
            cpu, wall = time.process_time(), time.perf_counter()
            trainer.run()
            iterations = sum(less[name] for name in counts)
            trained[stage] = Trained(
                iterations, sum(counts.values()), time.process_time() - cpu, time.perf_counter() - wall
            )
        meter.stage = ""
        with meter.part(MODEL):
            log_bundle_model(run, given["bundle_root"], output / "student" / "model.pt")
        run.finish()
    return meter, trained


def intervals(config: dict[str, Any]) -> dict[tuple[str, str], int]:
    """How often each look is taken in a training of the bundle's length, by stage and part."""
    gan, encoder, student = (sum(int(config[name]) for name in names) for names in STAGES.values())
    validate, picture = int(config["validate_every"]), int(config["picture_every"])
    critics = max(1, validate // 2)
    ends = lambda n, every: n // every + (n % every > 0)  # noqa: E731  every so often, and at the end
    return {
        ("gan", "critics"): gan // critics - (int(config["warmup_iterations"]) - 1) // critics,
        ("gan", "samples against slices"): gan // validate + 1,
        ("gan", "pictures"): ends(gan, picture),
        ("train", "pictures"): ends(encoder, picture),
        ("train", "validation slices"): encoder // validate + 1,
        ("distil", "validation slices"): student // validate + 1,
    }


def estimate(
    meter: Meter, trained: dict[str, Trained], looks: dict[tuple[str, str], int]
) -> tuple[dict[str, tuple[float, float]], float, float]:
    """Processor seconds of each part here and at full length, and of the trainings alone here and at full length."""
    inside = {stage: sum(cost.cpu for (at, _), cost in meter.costs.items() if at == stage) for stage in trained}
    here = {stage: found.cpu - inside[stage] for stage, found in trained.items()}
    there = {stage: here[stage] * found.full / found.iterations for stage, found in trained.items()}
    rows: dict[str, tuple[float, float]] = {}
    for (stage, part), cost in meter.costs.items():
        kind = "once" if part == MODEL else PARTS[part][0]
        full = cost.cpu
        if stage and kind == "iteration":
            full *= trained[stage].full / trained[stage].iterations
        elif stage and kind == "time":
            full *= there[stage] / here[stage]
        elif kind == "interval":
            full *= looks[stage, part] / cost.calls
        measured, expected = rows.get(part, (0.0, 0.0))
        rows[part] = measured + cost.cpu, expected + full
    return rows, sum(here.values()), sum(there.values())


def table(meter: Meter, trained: dict[str, Trained], config: dict[str, Any]) -> tuple[str, float, float]:
    """The result as Markdown, and both shares."""
    looks = intervals(config)
    rows, here, there = estimate(meter, trained, looks)
    calls = {part: sum(cost.calls for (_, name), cost in meter.costs.items() if name == part) for part in rows}
    wall = sum(cost.wall for cost in meter.costs.values())
    lines = ["| part | grows with | calls | CPU seconds | at the bundle's length |", "|---|---|---|---|---|"]
    for part, (measured, expected) in rows.items():
        kind = "once" if part == MODEL else PARTS[part][0]
        lines.append(f"| {part} | {kind} | {calls[part]} | {measured:.2f} | {expected:.2f} |")
    sums = [sum(row[place] for row in rows.values()) for place in (0, 1)]
    shares = sums[0] / (here + sums[0]), sums[1] / (there + sums[1])
    lines += [
        f"| all tracking | | | {sums[0]:.2f} | {sums[1]:.2f} |",
        f"| trainings alone | | {sum(t.iterations for t in trained.values())} iterations | {here:.1f} | {there:.1f} |",
        f"| share of both | | | {100 * shares[0]:.2f} % | {100 * shares[1]:.2f} % |",
    ]
    lines.append(f"\nSeconds that passed inside tracking: {wall:.1f}; in the trainings, tracking included: "
                 f"{sum(t.wall for t in trained.values()):.1f}.")  # fmt: skip
    return "\n".join(lines), *shares


def measure(dataset: Path, output: Path, divide: float, **options: Any) -> tuple[str, float, float]:
    """Train and give the table, the share measured, and the share that follows for the bundle's own length."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        meter, trained = train(dataset, output, divide, options)
    finally:
        torch.set_num_threads(threads)
    config = json.loads((BUNDLES / "ct_liver" / "configs" / "train.json").read_text(encoding="utf-8"))
    return table(meter, trained, {**config, **options})


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--dataset", type=Path, help="the bundle's phantom (default: made anew, which takes a minute)")
    parser.add_argument("--divide", type=float, default=8.0, help="the bundle's iterations by this (default: 8)")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        dataset = args.dataset or Path(prepare_phantom(Path(folder) / "phantom"))
        print(measure(dataset, Path(folder) / "out", args.divide)[0])
    return 0


if __name__ == "__main__":
    sys.exit(main())
