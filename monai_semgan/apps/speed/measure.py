"""All figures of one machine: what is measured, in which order, and what it means for a whole iteration."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any

import torch

from ...utils.allocator import reuse_memory
from ...utils.compiled import CompiledPasses
from ...utils.errors import InputError
from .cases import Case, data_cases, inference_cases, make_nets, network_cases, training_parts
from .peaks import measure_peaks
from .timing import Clock, Sample, peak_memory_of

__all__ = ["COMPILED_PARTS", "PARTS", "iteration_figures", "measure_speed", "start_up"]

PARTS = ("training", "networks", "inference", "data", "start-up", "memory")
COMPILED_PARTS = ("training", "networks")
"""What compiled passes change."""


@dataclass(frozen=True)
class How:
    """Slices of a batch, how many of them pass the networks at once (None: all), and torch's compiler (None: not)."""

    batch_size: int
    slices_at_once: int | None = None
    compile_mode: str | None = None


def measure_speed(
    sizes: Sequence[int],
    width: str = "w128",
    batch_size: int = 8,
    rounds: int = 3,
    parts: Sequence[str] | None = None,
    device: torch.device | str = "cpu",
    threads: int = 1,
    say: Callable[[str], None] = print,
    slices_at_once: int | None = None,
    compile_mode: str | None = None,
) -> dict[str, Any]:
    """Measure ``parts`` at ``sizes``; returns ``{"machine", "settings", "peak", "rows"}``, plain values alone.

    Each row has ``group``, ``name``, ``size`` and the figures of ``Sample.figures``; rows of memory have ``mib``. The
    peak is measured before and after everything and the better one is taken.

    Args:
        sizes: pixels.
        width: name in ``WIDTHS``.
        batch_size: slices of a training batch.
        rounds: timed rounds of each piece of work.
        parts: of ``PARTS``, or of ``COMPILED_PARTS`` with a ``compile_mode``; None: all of them.
        device: where.
        threads: of torch on a CPU.
        say: told what is being done.
        slices_at_once: of ``SemanticGANTrainer``; None: whole batches.
        compile_mode: of :class:`~monai_semgan.utils.CompiledPasses`. Operations are not counted then, and rows have
            ``first_seconds``: the time that passed until the first round was over, compiling included.
    """
    CompiledPasses(compile_mode)  # refuses a wrong mode before any time is spent
    possible = COMPILED_PARTS if compile_mode else PARTS
    parts = possible if parts is None else parts
    unknown = set(parts) - set(possible)
    if unknown:
        raise InputError(
            "parts to measure" + (" with compiled passes" if compile_mode else ""), got=sorted(unknown),
            wanted=f"of {', '.join(possible)}",
        )  # fmt: skip
    how = How(batch_size, slices_at_once, compile_mode)
    clock = Clock(device, threads)
    torch.set_num_threads(threads)
    large = clock.device.type == "cuda"
    first = measure_peaks(clock, large=large)
    rows: list[dict[str, Any]] = []
    for size in sizes:
        rows += _rows_of_size(clock, size, width, how, rounds, parts, say)
    if "start-up" in parts:
        rows += start_up(rounds)
    if "memory" in parts and clock.device.type == "cpu":
        rows += _memory(sizes, width, how, say)
    last = measure_peaks(clock, large=large)
    peak = {name: max(first[name], last[name]) for name in first}
    for row in rows:
        rate = row.get("gflop_per_second")
        row["share_of_peak"] = None if rate is None else rate * 1e9 / peak["conv"]
    return {
        "machine": _machine(clock),
        "settings": {"width": width, "batch_size": batch_size, "rounds": rounds, "slices_at_once": slices_at_once,
                     "compile": compile_mode},
        "peak": {"conv_gflops": peak["conv"] / 1e9, "matmul_gflops": peak["matmul"] / 1e9,
                 "copy_gb_per_second": peak["copy"] / 1e9},
        "rows": rows,
    }  # fmt: skip


def _rows_of_size(
    clock: Clock, size: int, width: str, how: How, rounds: int, parts: Sequence[str], say: Callable[[str], None]
) -> list[dict[str, Any]]:
    rows = []
    if "training" in parts:
        say(f"{size} px: training")
        rows += _training(clock, size, width, how, rounds)
    groups: list[tuple[str, Callable[[], dict[str, Case]]]] = [
        ("networks", lambda: network_cases(make_nets(size, width, clock.device), how.batch_size, how.compile_mode)),
        ("inference", lambda: inference_cases(make_nets(size, width, clock.device))),
        ("data", lambda: data_cases(size, how.batch_size, clock.device)),
    ]
    for group, cases in groups:
        if group in parts:
            say(f"{size} px: {group}")
            for name, case in cases().items():
                first = {"first_seconds": clock.time(case.work)[1]} if how.compile_mode else {}
                sample = clock.sample(case.work, rounds, case.per, case.amount, case.flops and not how.compile_mode)
                rows.append({"group": group, "name": name, "size": size, **sample.figures(None), **first})
    return rows


def _training(clock: Clock, size: int, width: str, how: How, rounds: int) -> list[dict[str, Any]]:
    """Each phase, in turn round after round, and the iteration put together from them."""
    nets = make_nets(size, width, clock.device)
    if clock.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(clock.device)
    _, parts = training_parts(nets, how.batch_size, how.slices_at_once, how.compile_mode)
    with reuse_memory(clock.device):  # as the trainer does
        # a compiler must not see the counter of operations, which would keep it from fusing them
        first = {name: clock.time(work)[1] for name, work, _ in parts} if how.compile_mode else {}
        samples = {name: clock.sample(work, 0, "step", flops=not how.compile_mode) for name, work, _ in parts}
        for _ in range(rounds):
            for name, work, _ in parts:
                clock.add(samples[name], work)
    rows = [{"group": "training", "name": name, "size": size, **samples[name].figures(None)} for name, _, _ in parts]
    for row in rows:
        if row["name"] in first:
            row["first_seconds"] = first[row["name"]]
    every = {name: number for name, _, number in parts}
    whole = {"group": "training", "name": "iteration", "size": size, **iteration_figures(samples, every)}
    if clock.device.type == "cuda":
        whole["mib"] = torch.cuda.max_memory_allocated(clock.device) / 2**20
        whole["images_per_second"] = how.batch_size / whole["seconds"]
    return [whole, *rows]


def iteration_figures(samples: dict[str, Sample], every: dict[str, float]) -> dict[str, Any]:
    """Mean iteration: each phase as often as it is due, round by round, so that the spread is that of iterations."""
    rounds = range(len(next(iter(samples.values())).seconds))
    counted = any(s.flops is not None for s in samples.values())
    flops = sum((s.flops or 0.0) / every[n] for n, s in samples.items()) if counted else None
    whole = Sample(per="iteration", flops=flops)
    whole.seconds = [sum(s.seconds[i] / every[n] for n, s in samples.items()) for i in rounds]
    whole.wall = [sum(s.wall[i] / every[n] for n, s in samples.items()) for i in rounds]
    return whole.figures(None)


def start_up(rounds: int) -> list[dict[str, Any]]:
    """How long it takes until a program of this package does anything: processor time of a process of its own."""
    commands = {
        "python alone": ["-c", "pass"],
        "monai-semgan --help": ["-m", "monai_semgan", "--help"],
        "import torch, monai": ["-c", "import torch, monai.bundle"],
        "import monai_semgan.engines": ["-c", "import monai_semgan.engines"],
    }
    rows = []
    for name, command in commands.items():
        sample = Sample(per="start")
        for number in range(rounds + 1):
            before, begin = os.times(), time.perf_counter()
            subprocess.run([sys.executable, *command], check=True, stdout=subprocess.DEVNULL)
            after = os.times()
            if number:  # the first one fills the cache of files
                spent = after.children_user + after.children_system - before.children_user - before.children_system
                sample.seconds.append(spent)
                sample.wall.append(time.perf_counter() - begin)
        rows.append({"group": "start-up", "name": name, "size": None, **sample.figures(None)})
    return rows


def _memory(sizes: Sequence[int], width: str, how: How, say: Callable[[str], None]) -> list[dict[str, Any]]:
    from .memory import WHAT

    rows = []
    for size in sizes:
        say(f"{size} px: memory")
        for what in WHAT:
            mib = peak_memory_of([str(size), width, str(how.batch_size), what, str(how.slices_at_once or 0)])
            if mib is not None:
                rows.append({"group": "memory", "name": what, "size": size, "mib": mib})
    return rows


def _machine(clock: Clock) -> dict[str, Any]:
    device = clock.device
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else _processor()
    return {
        "device": name,
        "threads": clock.threads if device.type == "cpu" else None,
        "clock": "processor time of the thread" if clock.processor_time else "time passed",
        "load": round(os.getloadavg()[0], 1) if hasattr(os, "getloadavg") else None,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "date": datetime.now(timezone.utc).date().isoformat(),
    }


def _processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as stream:
            names = [line.partition(":")[2].strip() for line in stream if line.startswith("model name")]
    except OSError:
        names = []
    return f"{names[0]}, {os.cpu_count()} cores" if names else f"{platform.machine()}, {os.cpu_count()} cores"
