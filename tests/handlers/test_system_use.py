"""Samples of the machine's use."""

from __future__ import annotations

import time

from monai_semgan.handlers.system_use import SystemUse


def test_samples_are_spaced_and_sensible():
    assert SystemUse(every_seconds=1000).sample() == {}
    use = SystemUse(every_seconds=0.05)
    end = time.monotonic() + 0.1
    while time.monotonic() < end:
        sum(range(1000))
    values = use.sample()
    assert use.sample() == {}
    assert all(name.startswith("system/") for name in values)
    assert values["system/cpu_utilization_percentage"] > 0
    if "system/system_memory_usage_percentage" in values:
        assert 0 < values["system/system_memory_usage_percentage"] <= 100
        assert values["system/process_memory_usage_megabytes"] > 10
