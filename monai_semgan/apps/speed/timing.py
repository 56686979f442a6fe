"""Time, floating point operations and memory of one piece of work."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import nullcontext, suppress
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from ...utils.errors import InputError

__all__ = ["Clock", "Sample", "count_flops", "peak_memory_of"]


@dataclass
class Sample:
    """What was measured of one piece of work, once for each round.

    Attributes:
        seconds: of the clock that shares are computed with (see :class:`Clock`).
        wall: seconds that passed.
        flops: floating point operations of one round, multiply and add counted as two; None: not counted.
        per: name of what one round handles, e.g. ``"iteration"``, ``"slice"``.
        amount: how many of those a round handles.
    """

    seconds: list[float] = field(default_factory=list)
    wall: list[float] = field(default_factory=list)
    flops: float | None = None
    per: str = ""
    amount: float = 1.0

    def figures(self, peak: float | None) -> dict[str, Any]:
        """Median, spread, rate and share of ``peak`` (FLOP/s), as plain values; times for one of ``per``."""
        each = sorted(s / self.amount for s in self.seconds)
        middle = statistics.median(each)
        rate = None if self.flops is None or middle <= 0 else self.flops / self.amount / middle
        return {
            "per": self.per,
            "seconds": middle,
            "least": each[0],
            "most": each[-1],
            "wall_seconds": statistics.median(self.wall) / self.amount,
            "rounds": len(each),
            "gflop": None if self.flops is None else self.flops / self.amount / 1e9,
            "gflop_per_second": None if rate is None else rate / 1e9,
            "share_of_peak": None if rate is None or not peak else rate / peak,
        }

    def as_values(self) -> dict[str, Any]:
        return asdict(self)


class Clock:
    """Times work in the way that is true for a device.

    One thread on a CPU: the processor time of that thread, which other programs on the machine disturb least (the
    backward pass of a CPU runs in the calling thread). Several threads or a GPU: the time that passes, the GPU having
    finished.

    Args:
        device: where the work is done.
        threads: of torch, on a CPU.
        enough: seconds after which one round is enough.
    """

    def __init__(self, device: torch.device | str = "cpu", threads: int = 1, enough: float = 60.0) -> None:
        self.device, self.threads, self.enough = torch.device(device), threads, enough
        self.processor_time = self.device.type == "cpu" and threads == 1

    def time(self, work: Callable[[], Any]) -> tuple[float, float]:
        """Seconds of this clock and seconds that passed."""
        self._finish()
        begin, cpu = time.perf_counter(), time.thread_time()
        work()
        self._finish()
        cpu, wall = time.thread_time() - cpu, time.perf_counter() - begin
        return (cpu if self.processor_time else wall), wall

    def sample(self, work: Callable[[], Any], rounds: int, per: str, amount: float = 1.0, flops: bool = True) -> Sample:
        """One round whose operations are counted, then ``rounds`` more that are timed.

        Work that takes longer than ``enough`` seconds is done once, and that round is the figure: what the first round
        of anything costs beside (memory, choice of kernels) and the counting are nothing against it.
        """
        sample = Sample(per=per, amount=amount)
        counter = _Counter()
        first = Sample()
        with counter if flops else nullcontext():
            self.add(first, work)
        sample.flops = float(counter.flops) if flops else None
        if first.wall[0] > self.enough and rounds:
            sample.seconds, sample.wall = first.seconds, first.wall
            return sample
        for _ in range(rounds):
            self.add(sample, work)
        return sample

    def add(self, sample: Sample, work: Callable[[], Any]) -> None:
        """Time one round more."""
        seconds, wall = self.time(work)
        sample.seconds.append(seconds)
        sample.wall.append(wall)

    def _finish(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)


def count_flops(work: Callable[[], Any]) -> float:
    """Floating point operations of convolutions and matrix products in ``work``, backward passes too."""
    with _Counter() as counter:
        work()
    return float(counter.flops)


class _Counter(TorchDispatchMode):
    """What ``FlopCounterMode`` counts, without its hooks on modules, which stop at a gradient for an input."""

    def __init__(self) -> None:
        super().__init__()
        self.flops = 0

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = function(*args, **(kwargs or {}))
        formula = flop_registry.get(function._overloadpacket)
        if formula is not None:
            self.flops += formula(*args, **(kwargs or {}), out_val=out)
        return out


def peak_memory_of(arguments: list[str]) -> float | None:
    """Largest resident memory, in MiB, of ``python -m monai_semgan.apps.speed.memory ARGUMENTS``: one process a figure.

    Raises:
        InputError: the process failed.
    """
    with suppress(ImportError):
        import resource  # not on Windows

        command = [sys.executable, "-m", "monai_semgan.apps.speed.memory", *arguments]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise InputError(f"measuring memory ({' '.join(arguments)})", got=done.stderr.strip()[-300:])
        assert resource is not None
        return float(done.stdout.split()[-1])
    return None
