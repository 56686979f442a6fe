"""Progress of a training on the terminal: share done, images per second, time left and the losses.

One formatter serves both a terminal (a line rewritten in place) and a log file (a plain line every few
seconds), without the further package that Ignite's progress bar would need.
"""

from __future__ import annotations

import shutil
import sys
import time
from collections import deque
from collections.abc import Sequence
from typing import TextIO

from ignite.engine import Engine, Events

from ..utils.processes import is_first_process
from .track_training import images_seen, scalar_output

__all__ = ["ProgressReport", "format_duration"]

_WINDOW = 30.0  # seconds over which the speed is measured
_BAR = 20


def format_duration(seconds: float) -> str:
    """Seconds for people: ``8 s``, ``2 min 45 s``, ``1 h 05 min``."""
    seconds = round(max(seconds, 0.0))
    if seconds < 60:
        return f"{seconds} s"
    if seconds < 3600:
        return f"{seconds // 60} min {seconds % 60:02d} s"
    return f"{seconds // 3600} h {seconds % 3600 // 60:02d} min"


class ProgressReport:
    """Prints ``gan 12800/64000 images | 310 images/s | 2 min 45 s left | loss 0.7134``.

    Args:
        stage: name of what is running.
        total_images: images to see in all; without it the iterations are counted.
        every_seconds: time between two lines; on a terminal the line is rewritten twice a second.
        keys: numbers of the trainer's output to show; those it lacks are left out.
        stream: where to; standard error by default, looked up when the training starts.
        enabled: False prints nothing; by default only the first of several processes prints.
    """

    def __init__(
        self,
        stage: str = "train",
        total_images: int | None = None,
        every_seconds: float = 5.0,
        keys: Sequence[str] = ("loss",),
        stream: TextIO | None = None,
        enabled: bool | None = None,
    ) -> None:
        self.stage = stage
        self.total_images = total_images
        self.every_seconds = every_seconds
        self.keys = tuple(keys)
        self.stream = stream
        self.enabled = is_first_process() if enabled is None else enabled
        self._marks: deque[tuple[float, int]] = deque()
        self._start = (0.0, 0)
        self._next = 0.0
        self._open_line = False

    def attach(self, engine: Engine) -> None:
        """Follow ``engine``."""
        if self.enabled:
            engine.add_event_handler(Events.STARTED, self.started)
            engine.add_event_handler(Events.ITERATION_COMPLETED, self.iteration_completed)
            engine.add_event_handler(Events.COMPLETED, self.completed)

    def started(self, engine: Engine) -> None:
        """Start the clock; a resumed training measures its speed from where it is."""
        now, done = time.monotonic(), self._done(engine)
        self._start = (now, done)
        self._marks = deque([self._start])
        self._next = now + self._pause()

    def iteration_completed(self, engine: Engine) -> None:
        """Print when due."""
        now = time.monotonic()
        if now < self._next:
            return
        self._marks.append((now, self._done(engine)))
        while len(self._marks) > 2 and now - self._marks[0][0] > _WINDOW:
            self._marks.popleft()
        self._next = now + self._pause()
        self._print(self.line(engine))

    def completed(self, engine: Engine) -> None:
        """Say how much was done in what time."""
        elapsed, done = time.monotonic() - self._start[0], self._done(engine) - self._start[1]
        rate = f" | {_rate(done / elapsed)} {self._unit()}/s" if elapsed > 0 else ""
        total = f"{self.stage} {self._done(engine)} {self._unit()}"
        self._print(f"{total} done in {format_duration(elapsed)}{rate}")
        if self._open_line:
            print(file=self._stream(), flush=True)
            self._open_line = False

    def line(self, engine: Engine) -> str:
        """The progress line for the engine's present state."""
        done, total, unit = self._done(engine), self._total(engine), self._unit()
        parts = [f"{self.stage} {done}/{total} {unit}" if total else f"{self.stage} {done} {unit}"]
        (since, before), (now, after) = self._marks[0], self._marks[-1]
        if now > since and after > before:
            speed = (after - before) / (now - since)
            parts.append(f"{_rate(speed)} {unit}/s")
            if total:
                parts.append(f"{format_duration((total - done) / speed)} left")
        values = scalar_output(engine.state.output)
        parts += [f"{key} {values[key]:.4g}" for key in self.keys if key in values]
        if self._terminal() and total:
            filled = min(_BAR, _BAR * done // total)
            parts[0] = f"[{'#' * filled}{'-' * (_BAR - filled)}] {parts[0]}"
        return " | ".join(parts)

    def _print(self, text: str) -> None:
        if self._terminal():
            width = shutil.get_terminal_size().columns - 1
            print(f"\r\x1b[2K{text[:width]}", end="", file=self._stream(), flush=True)
            self._open_line = True
        else:
            print(text, file=self._stream(), flush=True)

    def _done(self, engine: Engine) -> int:
        return images_seen(engine) if self.total_images else int(engine.state.iteration)

    def _total(self, engine: Engine) -> int:
        if self.total_images:
            return self.total_images
        return (engine.state.max_epochs or 0) * (engine.state.epoch_length or 0)

    def _unit(self) -> str:
        return "images" if self.total_images else "iterations"

    def _pause(self) -> float:
        return 0.5 if self._terminal() else self.every_seconds

    def _terminal(self) -> bool:
        return bool(getattr(self._stream(), "isatty", lambda: False)())

    def _stream(self) -> TextIO:
        return self.stream or sys.stderr


def _rate(value: float) -> str:
    return f"{value:.0f}" if value >= 10 else f"{value:.2g}"
