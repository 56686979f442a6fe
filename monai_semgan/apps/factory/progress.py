"""A bar on a terminal; elsewhere a line from time to time."""

from __future__ import annotations

import shutil
import sys
import time
from typing import TextIO

from ...handlers import format_duration

__all__ = ["FactoryProgress"]

_BAR = 20
_LINE_EVERY = 10.0


class FactoryProgress:
    """Shows ``612/1000 kept of 688 made | 7.1 made/s | 1 min 02 s left``.

    Args:
        number: pairs wanted.
        kept: pairs that were there before.
        made: samples that were there before.
        stream: where to; standard error by default.
    """

    def __init__(self, number: int, kept: int = 0, made: int = 0, stream: TextIO | None = None) -> None:
        self.number, self.stream = number, stream or sys.stderr
        self._before = (kept, made)
        self._started = self._last = time.monotonic()
        self._terminal = self.stream.isatty()
        self._open = False

    def __call__(self, kept: int, made: int) -> None:
        """Tell how far it is."""
        now = time.monotonic()
        if not self._terminal and now - self._last < _LINE_EVERY and kept < self.number:
            return
        self._last = now
        seconds = max(now - self._started, 1e-6)
        new = kept - self._before[0]
        left = f"{format_duration((self.number - kept) * seconds / new)} left" if new else "time left not known"
        speed = (made - self._before[1]) / seconds
        text = f"{kept}/{self.number} kept of {made} made | {speed:.1f} made/s | {left}"
        if not self._terminal:
            print(text, file=self.stream, flush=True)
            return
        filled = min(_BAR, _BAR * kept // self.number)
        line = f"[{'#' * filled}{'.' * (_BAR - filled)}] {text}"
        width = shutil.get_terminal_size().columns - 1
        print(f"\r{line[:width]:<{width}}", end="", file=self.stream, flush=True)
        self._open = True

    def close(self) -> None:
        """End the bar's line."""
        if self._open:
            print(file=self.stream, flush=True)
            self._open = False
