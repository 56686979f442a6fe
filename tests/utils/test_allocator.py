"""Freed memory is kept while a training runs, and given back afterwards."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from monai_semgan.utils.allocator import _glibc, reuse_memory

needs_glibc = pytest.mark.skipif(_glibc() is None, reason="another C library")
# Pages that the system hands out while tensors of 64 MiB, more than glibc keeps by itself, are made and freed. The heap
# grows in the first rounds, as aligned tensors need a little more than was freed.
PROGRAM = """
import resource, torch
from monai_semgan.utils.allocator import reuse_memory

def faults():
    for _ in range(8):
        torch.ones(2**24)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(3):
        torch.ones(2**24)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

def resident():
    with open("/proc/self/statm") as stream:
        return int(stream.read().split()[1])

print(faults())
print(resident())
try:
    with reuse_memory("cpu"):
        print(faults())
        print(resident())
        raise ValueError
except ValueError:
    print(resident())
"""


@needs_glibc
def test_pages_are_handed_out_once_until_the_training_ends(repository) -> None:
    """In a process of its own: where the heap cannot grow in one piece, nothing is gained and nothing lost."""
    environment = {**os.environ, "PYTHONPATH": str(repository), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], env=environment, capture_output=True, text=True, check=True, timeout=200
    )
    usual, before, kept, within, afterwards = map(int, done.stdout.split())
    assert kept < 0.1 * usual
    tensor = usual / 3  # pages of one
    assert within > before + 0.9 * tensor  # what was freed is kept,
    assert afterwards < before + 0.1 * tensor  # and goes back at the end


@needs_glibc
def test_it_is_in_force_on_the_cpu_alone() -> None:
    with reuse_memory("cpu") as in_force:
        assert in_force
    with reuse_memory("cuda") as in_force:
        assert not in_force
