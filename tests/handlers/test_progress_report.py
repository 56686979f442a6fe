"""Progress lines: numbers, time left, resumed trainings, terminals."""

from __future__ import annotations

import io

import pytest
from ignite.engine import Engine

from monai_semgan.handlers import ProgressReport, format_duration, progress_report


@pytest.fixture
def clock(monkeypatch) -> list[float]:
    now = [100.0]
    monkeypatch.setattr(progress_report.time, "monotonic", lambda: now[0])
    return now


def trainer(clock: list[float], seconds: float = 1.0, start: int = 0) -> Engine:
    def update(engine, _):
        clock[0] += seconds
        engine.state.images_seen += 64
        return {"loss": 0.71344, "other": 3.0}

    engine = Engine(update)
    engine.state.images_seen = start
    return engine


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_plain_lines_at_intervals(clock):
    stream, engine = io.StringIO(), trainer(clock)
    ProgressReport("gan", total_images=6400, every_seconds=5, stream=stream).attach(engine)
    engine.run([0] * 20, max_epochs=1)
    lines = stream.getvalue().splitlines()
    assert lines[0] == "gan 320/6400 images | 64 images/s | 1 min 35 s left | loss 0.7134"
    assert len(lines) == 5
    assert lines[-1] == "gan 1280 images done in 20 s | 64 images/s"


def test_a_resumed_training_measures_its_own_speed(clock):
    stream, engine = io.StringIO(), trainer(clock, start=3200)
    ProgressReport("gan", total_images=6400, every_seconds=5, stream=stream).attach(engine)
    engine.run([0] * 5, max_epochs=1)
    assert stream.getvalue().startswith("gan 3520/6400 images | 64 images/s | 45 s left")


def test_iterations_when_no_total_is_known(clock):
    stream, engine = io.StringIO(), trainer(clock, seconds=20)
    ProgressReport("l_net", keys=("other", "missing"), stream=stream).attach(engine)
    engine.run([0] * 3, max_epochs=2)
    assert stream.getvalue().splitlines()[0] == "l_net 1/6 iterations | 0.05 iterations/s | 1 min 40 s left | other 3"


def test_a_terminal_gets_one_line_with_a_bar(clock):
    stream, engine = Terminal(), trainer(clock)
    ProgressReport("gan", total_images=1280, stream=stream).attach(engine)
    engine.run([0] * 10, max_epochs=1)
    text = stream.getvalue()
    assert text.count("\n") == 1
    assert text.endswith("\n")
    assert "[##########----------] gan 640/1280" in text


def test_switched_off(clock):
    stream, engine = io.StringIO(), trainer(clock, seconds=60)
    ProgressReport(stream=stream, enabled=False).attach(engine)
    engine.run([0] * 3, max_epochs=1)
    assert stream.getvalue() == ""


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(7.6, "8 s"), (59.7, "1 min 00 s"), (165, "2 min 45 s"), (3900, "1 h 05 min"), (-3, "0 s")],
)
def test_durations(seconds, text):
    assert format_duration(seconds) == text
