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

print(faults())
try:
    with reuse_memory("cpu"):
        print(faults())
        raise ValueError
except ValueError:
    print(faults())
"""


@needs_glibc
def test_pages_are_handed_out_once_until_the_training_ends(repository) -> None:
    """In a process of its own: where the heap cannot grow in one piece, nothing is gained and nothing lost."""
    environment = {**os.environ, "PYTHONPATH": str(repository), "OMP_NUM_THREADS": "1"}
    counts = []
    for _ in range(4):  # the system places the heap, and decides on huge pages, anew each time
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM], env=environment, capture_output=True, text=True, check=True, timeout=200
        )
        usual, kept, afterwards = map(int, done.stdout.split())
        counts.append((usual, kept, afterwards))
        if kept < 0.1 * usual and afterwards > 0.5 * usual:
            return
    pytest.fail(f"pages handed out usually, within, afterwards: {counts}")


@needs_glibc
def test_it_is_in_force_on_the_cpu_alone() -> None:
    with reuse_memory("cpu") as in_force:
        assert in_force
    with reuse_memory("cuda") as in_force:
        assert not in_force
