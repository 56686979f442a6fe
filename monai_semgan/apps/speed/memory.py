"""One figure of memory, in a process of its own: the largest resident size never falls again.

``python -m monai_semgan.apps.speed.memory SIZE WIDTH BATCH WHAT [SLICES_AT_ONCE]`` prints MiB
above what is there before the work.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import nullcontext

WHAT = ("iteration", "volume, careful", "volume, student")


def main(arguments: Sequence[str]) -> None:
    """Do the work once, and print how much memory it took at most beyond torch and the networks."""
    import resource

    import torch

    from ...utils.allocator import reuse_memory
    from .cases import inference_cases, make_nets, training_parts

    size, width, batch_size, what = int(arguments[0]), arguments[1], int(arguments[2]), arguments[3]
    slices_at_once = int(arguments[4]) or None if len(arguments) > 4 else None
    torch.set_num_threads(1)
    nets = make_nets(size, width, "cpu")
    if what == "iteration":
        _, parts = training_parts(nets, batch_size, slices_at_once)
        work = [function for _, function, _ in parts]
    else:
        work = [inference_cases(nets)[what].work]
    unit = 1 if sys.platform == "darwin" else 1024  # bytes there, KiB elsewhere
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with reuse_memory("cpu") if what == "iteration" else nullcontext():
        for function in work:
            function()
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(round((after - before) * unit / 2**20, 1))


if __name__ == "__main__":
    main(sys.argv[1:])
