"""A bundle command in a forked child, which can be killed at any write, at any time, or be refused any write.

Importing MONAI takes most of a small command's time: the parent has done that once, and a killed command starts
again within a tenth of a second. A child that is killed is gone as a process of its own would be: nothing tidies up.
"""

from __future__ import annotations

import atexit
import errno
import os
import resource
import signal
import sys
import threading
import time
import traceback
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import fire
import monai.bundle
import torch

import monai_semgan.apps as semgan_apps
from tests.bundle_command import REPOSITORY

__all__ = ["Ended", "Trouble", "child_of", "run_bundle_here", "run_forked"]

_LONGEST = 1500.0


@dataclass(frozen=True)
class Trouble:
    """What happens to the child. Writes: files opened for writing, renamed or deleted below ``where``, from 1 on.

    Args:
        where: the folder.
        kill_at_write: SIGKILL just before this write.
        kill_after: SIGKILL after these seconds.
        refuse_from, refuse_count, refuse_with: this many writes, from this one on, raise ``OSError`` of this errno.
        largest_file: no file may grow beyond these bytes (the system's own limit, as on a full disk in the middle
            of a file).
    """

    where: Path
    kill_at_write: int = 0
    kill_after: float = 0.0
    refuse_from: int = 0
    refuse_count: int = 10**9
    refuse_with: int = errno.ENOSPC
    largest_file: int = 0


@dataclass(frozen=True)
class Ended:
    """How the child ended: exit code (minus the signal's number), seconds, writes below the folder, what it printed."""

    code: int
    seconds: float
    writes: int
    text: str
    last_write: str

    @property
    def message(self) -> str:
        """What stands after the last `ERROR: `."""
        return self.text.rpartition("\nERROR: ")[2].strip()


def run_bundle_here(command: Sequence[str], export: bool = True) -> None:
    """``python -m monai.bundle ...`` in this process; ``export``: of the model to MLflow, which takes longest."""
    if not export:
        semgan_apps.log_bundle_model = lambda *_, **__: None
    os.chdir(REPOSITORY)
    sys.argv = [str(Path(monai.bundle.__file__).with_name("__main__.py")), *command]
    fire.Fire({"run": monai.bundle.run}, command=list(command), name="monai.bundle")


def run_forked(
    action: Callable[[], Any], log: Path, trouble: Trouble | None = None, longest: float = _LONGEST
) -> Ended:
    """Run ``action`` in a child; everything it prints goes to ``log``."""
    begin, trace = time.monotonic(), log.with_suffix(".writes")
    child = child_of(action, log, trouble)
    limit = trouble.kill_after if trouble is not None and trouble.kill_after else longest
    status = None
    while status is None:
        found, answer = os.waitpid(child, os.WNOHANG)
        if found:
            status = answer
        elif time.monotonic() - begin > limit:
            os.kill(child, signal.SIGKILL)
            _, status = os.waitpid(child, 0)
        else:
            time.sleep(0.01)
    names = trace.read_text(encoding="utf-8", errors="replace").splitlines()
    return Ended(
        os.waitstatus_to_exitcode(status), time.monotonic() - begin, len(names),
        log.read_text(encoding="utf-8", errors="replace"), names[-1] if names else "",
    )  # fmt: skip


def child_of(action: Callable[[], Any], log: Path, trouble: Trouble | None = None) -> int:
    """Start ``action`` in a child, and give its process id."""
    log.parent.mkdir(parents=True, exist_ok=True)
    trace = log.with_suffix(".writes")
    trace.write_bytes(b"")
    log.write_bytes(b"")
    sys.stdout.flush()
    sys.stderr.flush()
    child = os.fork()
    if child == 0:
        _child(action, log, trace, trouble)
    return child


def _child(action: Callable[[], Any], log: Path, trace: Path, trouble: Trouble | None) -> None:
    code = 1
    try:
        atexit._clear()  # what the parent has registered is the parent's
        for descriptor in (1, 2):
            os.dup2(os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT), descriptor)
        sys.stdout, sys.stderr = os.fdopen(1, "w", buffering=1), os.fdopen(2, "w", buffering=1)
        sys.excepthook = sys.__excepthook__
        torch.set_num_threads(1)
        warnings.resetwarnings()  # a test run takes them for errors
        warnings.simplefilter("ignore")
        if trouble is not None:
            _watch_writes(trouble, trace)
            if trouble.largest_file:
                signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
                resource.setrlimit(resource.RLIMIT_FSIZE, (trouble.largest_file,) * 2)
        try:
            action()
            code = 0
        except SystemExit as stop:
            code = stop.code if isinstance(stop.code, int) else 0 if stop.code is None else 1
        except BaseException as error:
            sys.excepthook(type(error), error, error.__traceback__)
        atexit._run_exitfuncs()
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


def _watch_writes(trouble: Trouble, trace: Path) -> None:
    root, count, lock = str(trouble.where), 0, threading.Lock()
    listing = os.open(trace, os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    def hook(event: str, arguments: tuple) -> None:
        nonlocal count
        if event == "open":
            path, mode, flags = arguments
            writes = bool(flags & (os.O_WRONLY | os.O_RDWR)) if isinstance(flags, int) else "r" not in str(mode)
        elif event in ("os.rename", "os.remove", "os.mkdir", "sqlite3.connect"):
            path, writes = arguments[-1] if event == "sqlite3.connect" else arguments[0], True
        else:
            return
        if not writes or isinstance(path, int) or not os.fsdecode(path).startswith(root):
            return
        with lock:
            count += 1
            number = count
        os.write(listing, f"{event} {os.path.relpath(os.fsdecode(path), root)}\n".encode())
        if number == trouble.kill_at_write:
            os.kill(os.getpid(), signal.SIGKILL)
        if trouble.refuse_from and trouble.refuse_from <= number < trouble.refuse_from + trouble.refuse_count:
            raise OSError(trouble.refuse_with, os.strerror(trouble.refuse_with), os.fsdecode(path))

    sys.addaudithook(hook)
