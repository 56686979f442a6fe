"""Memory that is freed and wanted again a moment later."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import torch

__all__ = ["reuse_memory"]

# mallopt's names for them, and glibc's defaults
_TRIM_THRESHOLD, _TRIM_DEFAULT = -1, 128 * 1024
_MMAP_MAX, _MMAP_DEFAULT = -4, 65536
_NEVER = 2**31 - 1


@contextmanager
def reuse_memory(device: torch.device | str) -> Iterator[bool]:
    """Let the C library keep freed memory for the next tensors while a training runs on the CPU.

    An iteration frees and asks for the same large tensors again and again. By default glibc gives those above 32 MiB
    back to the system each time, which then hands out, and clears, every page anew: a tenth of a training's time.
    Results are not changed, and the peak is not either, as the sizes are the same in each iteration; so it is for
    trainings, not for volumes of any size.

    Yields whether it is in force: on Linux with glibc, on the CPU.
    """
    library = _glibc() if torch.device(device).type == "cpu" else None
    if library is None:
        yield False
        return
    library.mallopt(_MMAP_MAX, 0)
    library.mallopt(_TRIM_THRESHOLD, _NEVER)
    try:
        yield True
    finally:
        library.mallopt(_MMAP_MAX, _MMAP_DEFAULT)
        library.mallopt(_TRIM_THRESHOLD, _TRIM_DEFAULT)
        library.malloc_trim(0)


def _glibc() -> ctypes.CDLL | None:
    if not sys.platform.startswith("linux"):
        return None
    try:
        library = ctypes.CDLL(None)
        library.gnu_get_libc_version, library.mallopt, library.malloc_trim  # noqa: B018
    except (OSError, AttributeError):  # another C library, e.g. musl
        return None
    return library
