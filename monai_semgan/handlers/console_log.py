"""What a training prints, kept in a file beside its results."""

from __future__ import annotations

import logging
import re
import sys
import threading
import traceback
from pathlib import Path
from typing import Any, TextIO

__all__ = ["ConsoleLog"]

_REDRAWN = re.compile(r"[^\n]*\r(?=[^\n])|\x1b\[[0-9;]*[A-Za-z]")
_MOST_BYTES = 5_000_000


class ConsoleLog:
    """Copies standard output, standard error and the log into a file, from ``start`` to ``stop``.

    The terminal gets everything as before. Of a line that is redrawn in place only the last state is kept. The file is
    appended to, so a resumed training goes on in it; beyond 5 MB nothing more is written.

    Args:
        path: the file; made when the first line comes.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._streams: dict[str, tuple[Any, _Tee]] = {}
        self._handler: logging.Handler | None = None
        self._lock = threading.Lock()
        self._rest = ""

    @property
    def running(self) -> bool:
        """Whether it is copying."""
        return self._handler is not None

    def start(self) -> None:
        """Begin to copy; a second call does nothing."""
        if self.running:
            return
        for name in ("stdout", "stderr"):
            before = getattr(sys, name)
            tee = _Tee(before, self)
            self._streams[name] = (before, tee)
            setattr(sys, name, tee)
        # Handlers of the log that were made earlier keep the streams they had: they do not pass the tee.
        self._handler = _ToFile(self)
        self._handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
        logging.getLogger().addHandler(self._handler)

    def stop(self) -> None:
        """Stop copying, and give the streams back."""
        if not self.running:
            return
        error = sys.exc_info()[1]
        if error is not None:
            self.write("".join(traceback.format_exception(error)))
        for name, (before, tee) in self._streams.items():
            if getattr(sys, name) is tee:
                setattr(sys, name, before)
        logging.getLogger().removeHandler(self._handler)  # type: ignore[arg-type]
        self._streams, self._handler = {}, None
        if self._rest:
            self.write("\n")

    def write(self, text: str) -> None:
        """Add text; a line is written once it is complete."""
        with self._lock:
            self._rest = _REDRAWN.sub("", self._rest + text)
            lines, newline, self._rest = self._rest.rpartition("\n")
            if not newline:
                return
            try:
                if not self.path.exists() or self.path.stat().st_size < _MOST_BYTES:
                    self.path.parent.mkdir(parents=True, exist_ok=True)
                    with self.path.open("a", encoding="utf-8", errors="replace") as stream:
                        stream.write(lines + newline)
            except OSError:  # a full disk is told by what really matters
                pass


class _Tee:
    """A stream that hands everything on and keeps a copy."""

    def __init__(self, stream: TextIO, log: ConsoleLog) -> None:
        self._stream = stream
        self._log = log

    def write(self, text: str) -> int:
        self._log.write(text)
        return self._stream.write(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


class _ToFile(logging.Handler):
    def __init__(self, log: ConsoleLog) -> None:
        super().__init__(logging.INFO)
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self._log.write(self.format(record) + "\n")
        except Exception:
            self.handleError(record)
