"""Errors that a user can mend are shown as their message, not as a page of Python."""

from __future__ import annotations

import errno
import os
import sys
import traceback
from types import TracebackType

import torch

from ..utils import InputError
from ..utils.failures import describe_failure

_DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EPERM, errno.EROFS, errno.EIO)


def find_input_error(error: BaseException | None) -> InputError | None:
    """The outermost :class:`InputError` in an exception's chain.

    MONAI's configuration wraps ours in errors of its own; one of ours that wraps another says more than that
    (all bad files instead of the first).
    """
    while error is not None and not isinstance(error, InputError):
        error = error.__cause__ or error.__context__
    return error


def show_input_errors() -> None:
    """Install an exception hook for this process; ``MONAI_SEMGAN_TRACEBACK=1`` keeps every traceback.

    A bundle calls it as its ``initialize`` step. The last line on standard error then says ``ERROR:`` and what
    went wrong, without the errors that MONAI's configuration wraps around it. An :class:`InputError` is shown
    without a traceback, which is of no use to those who can mend it. The exit code stays 1.
    """
    previous = sys.excepthook
    if getattr(previous, "shows_input_errors", False):
        return

    def hook(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        found = find_input_error(error)
        if found is None:
            previous(kind, error, trace)
        elif os.environ.get("MONAI_SEMGAN_TRACEBACK"):
            traceback.print_exception(kind, error, trace)
        if found is not None or isinstance(error, Exception):
            sys.stdout.flush()  # what the job printed before stands before it, also in one file of both streams
            message = str(found) if found is not None else describe_failure(error) + _advice(error)
            print(f"\nERROR: {message}", file=sys.stderr, flush=True)

    hook.shows_input_errors = True  # type: ignore[attr-defined]
    sys.excepthook = hook


def _advice(error: BaseException | None) -> str:
    while error is not None:
        if isinstance(error, OSError) and error.errno in _DISK_ERRORS:
            return ". What to do: look at the disk's free space and at the folder's permissions"
        if isinstance(error, (MemoryError, torch.OutOfMemoryError)):
            return ". What to do: choose a smaller --batch_size or --slice_batch, or end other programs"
        error = error.__cause__ or error.__context__
    return ""
