"""Errors that a user can mend are shown as their message, not as a page of Python."""

from __future__ import annotations

import os
import sys
import traceback
from types import TracebackType

from ..utils import InputError


def find_input_error(error: BaseException | None) -> InputError | None:
    """The innermost :class:`InputError` in an exception's chain: MONAI's configuration wraps ours twice."""
    found = None
    while error is not None:
        if isinstance(error, InputError):
            found = error
        error = error.__cause__ or error.__context__
    return found


def show_input_errors() -> None:
    """Install an exception hook for this process; ``MONAI_SEMGAN_TRACEBACK=1`` keeps the traceback.

    A bundle calls it as its ``initialize`` step. The exit code stays 1 and other errors look as ever.
    """
    previous = sys.excepthook
    if getattr(previous, "shows_input_errors", False):
        return

    def hook(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        found = find_input_error(error)
        if found is None:
            previous(kind, error, trace)
            return
        if os.environ.get("MONAI_SEMGAN_TRACEBACK"):
            traceback.print_exception(kind, error, trace)
        print(f"\nERROR: {found}", file=sys.stderr)

    hook.shows_input_errors = True  # type: ignore[attr-defined]
    sys.excepthook = hook
