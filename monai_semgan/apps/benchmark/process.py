"""One bundle command as a process of its own, with its cost."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from ...utils.errors import InputError

__all__ = ["BundleProcess", "Ended", "folder_lock", "last_message"]


@dataclass(frozen=True)
class Ended:
    """How a process ended.

    Args:
        code: exit code; minus the signal's number when a signal ended it.
        wall_seconds: from start to end.
        cpu_seconds: of the process and the processes that it waited for; None where the system does not tell.
    """

    code: int
    wall_seconds: float
    cpu_seconds: float | None


class BundleProcess:
    """A process whose output goes to the end of a log file.

    It is the first of a session of its own: Ctrl-C on the terminal reaches the benchmark alone, which then asks
    its trainings to stop, once, and waits for them.

    Args:
        command: words of the command.
        folder: where to run it.
        log: file for all that it prints.
        environment: variables in addition to this process's own.
        keep_open: file descriptors that it inherits.
    """

    def __init__(
        self,
        command: Sequence[str],
        folder: Path,
        log: Path,
        environment: Mapping[str, str],
        keep_open: Sequence[int] = (),
    ) -> None:
        log.parent.mkdir(parents=True, exist_ok=True)
        posix = {"start_new_session": True, "pass_fds": tuple(keep_open)} if os.name == "posix" else {}
        with log.open("ab") as stream, _hears_sigint():
            self._process = subprocess.Popen(
                list(command), cwd=folder, env={**os.environ, **environment}, stdin=subprocess.DEVNULL,
                stdout=stream, stderr=subprocess.STDOUT, **posix,
            )  # fmt: skip
        self._started = time.monotonic()

    def poll(self) -> Ended | None:
        """How it ended, or None while it runs."""
        cpu_seconds = None
        if hasattr(os, "wait4"):
            # subprocess would throw the usage away, and RUSAGE_CHILDREN mixes processes that run side by side.
            found, status, usage = os.wait4(self._process.pid, os.WNOHANG)
            if found == 0:
                return None
            self._process.returncode = os.waitstatus_to_exitcode(status)
            cpu_seconds = round(usage.ru_utime + usage.ru_stime, 2)
        elif self._process.poll() is None:
            return None
        return Ended(int(self._process.returncode), round(time.monotonic() - self._started, 2), cpu_seconds)

    def interrupt(self) -> None:
        """Ask it to stop, as Ctrl-C does: the run is closed in MLflow, the last checkpoint stays."""
        self._send(signal.SIGINT)

    def kill(self) -> None:
        """End it at once; checkpoints are written whole or not at all."""
        self._send(signal.SIGKILL if hasattr(signal, "SIGKILL") else signal.SIGTERM)

    def _send(self, number: int) -> None:
        if self._process.returncode is None:
            self._process.send_signal(number)


@contextmanager
def _hears_sigint() -> Iterator[None]:
    """A process started here can be interrupted, even by a benchmark in a script's background.

    Shells have such a program ignore SIGINT, and what it starts inherits that, unless it has a handler just then.
    """
    main = threading.current_thread() is threading.main_thread()
    if not (main and signal.getsignal(signal.SIGINT) is signal.SIG_IGN):
        yield
        return
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)


@contextmanager
def folder_lock(folder: Path) -> Iterator[list[int]]:
    """Hold a folder for one benchmark and the trainings it starts; gives the file descriptors they inherit.

    The lock goes with the last process that has it open: trainings that outlive a killed benchmark still keep a
    second one from writing to the same files. Where the system has no such lock there is none.

    Raises:
        InputError: somebody else holds it.
    """
    try:
        import fcntl
    except ImportError:  # Windows
        yield []
        return
    stream: IO[bytes]
    with (folder / "benchmark.lock").open("ab") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise InputError(
                f"results folder {folder}", got="a benchmark, or a training that it left behind, is running there",
                fix="wait for it, end it, or give another --output_dir",
            ) from error  # fmt: skip
        yield [stream.fileno()]


def last_message(log: Path) -> str:
    """What a failed command said last: its ``ERROR:`` line, or its last line."""
    try:
        with log.open("rb") as stream:
            stream.seek(max(0, log.stat().st_size - 20_000))
            text = stream.read().decode("utf-8", errors="replace").strip()
    except OSError:
        return "no log"
    _, found, message = f"\n{text}".rpartition("\nERROR: ")
    lines = (message if found else text).strip().splitlines() or ["nothing was printed"]
    line = lines[0] if found else lines[-1]
    return line if len(line) <= 300 else line[:299] + "…"
