"""How busy the machine is while a training runs: processor, memory and, where there is one, the GPU."""

from __future__ import annotations

import os
import time
from contextlib import suppress
from pathlib import Path

import torch

__all__ = ["SystemUse"]

_MIB = 2**20


class SystemUse:
    """Samples named as MLflow's "System metrics" page wants them, ``system/...``.

    MLflow's own monitor is a thread that sends a request every ten seconds and needs a further package; this one is
    asked when numbers are sent anyway.

    Args:
        every_seconds: least time between two samples.
    """

    def __init__(self, every_seconds: float = 10.0) -> None:
        self.every_seconds = every_seconds
        self.started = time.monotonic()
        self._last = (self.started, time.process_time())

    def sample(self) -> dict[str, float]:
        """The use since the last sample, or nothing when that was too short a time ago.

        ``cpu_utilization_percentage`` is that of this process in per cent of one core.
        """
        now, used = time.monotonic(), time.process_time()
        seconds = now - self._last[0]
        if seconds < max(self.every_seconds, 1e-3):
            return {}
        values = {"system/cpu_utilization_percentage": 100 * (used - self._last[1]) / seconds}
        self._last = (now, used)
        resident = _resident_bytes()
        if resident:
            values["system/process_memory_usage_megabytes"] = resident / _MIB
        total, free = _memory()
        if total:
            values["system/system_memory_usage_megabytes"] = (total - free) / _MIB
            values["system/system_memory_usage_percentage"] = 100 * (total - free) / total
        return values | _gpu()

    @property
    def seconds(self) -> int:
        """Seconds since the start: the step of a sample."""
        return int(time.monotonic() - self.started)


def _resident_bytes() -> int:
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError, AttributeError):  # not Linux
        return 0


def _memory() -> tuple[int, int]:
    """Bytes of memory in the machine, and how many could be had."""
    try:
        lines = dict(line.split(":", 1) for line in Path("/proc/meminfo").read_text().splitlines() if ":" in line)
        return tuple(int(lines[name].split()[0]) * 1024 for name in ("MemTotal", "MemAvailable"))  # type: ignore[return-value]
    except (OSError, KeyError, ValueError):
        return 0, 0


def _gpu() -> dict[str, float]:
    if not torch.cuda.is_initialized():
        return {}
    values = {}
    free, total = torch.cuda.mem_get_info()
    values["system/gpu_0_memory_usage_megabytes"] = (total - free) / _MIB
    values["system/gpu_0_memory_usage_percentage"] = 100 * (total - free) / total
    with suppress(Exception):  # needs NVIDIA's own package
        values["system/gpu_0_utilization_percentage"] = float(torch.cuda.utilization())
    return values
