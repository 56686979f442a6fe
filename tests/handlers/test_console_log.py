"""What is printed is kept, and the streams are given back."""

from __future__ import annotations

import logging
import sys

from monai_semgan.handlers.console_log import ConsoleLog


def test_prints_log_and_redrawn_lines(tmp_path, capsys):
    log = ConsoleLog(tmp_path / "out" / "console.log")
    before = sys.stdout, sys.stderr
    log.start()
    log.start()
    assert not log.path.exists()
    print("one")
    print("\r\x1b[2Kgan 1/10", end="", file=sys.stderr)
    print("\r\x1b[2Kgan 10/10", file=sys.stderr)
    logging.getLogger("somewhere").warning("careful")
    print("no end of line", end="")
    log.stop()
    assert (sys.stdout, sys.stderr) == before
    text = log.path.read_text()
    assert text.splitlines()[:2] == ["one", "gan 10/10"]
    assert text.splitlines()[2].endswith("WARNING somewhere: careful")
    assert text.endswith("no end of line\n")
    assert "\x1b" not in text
    shown = capsys.readouterr()
    assert shown.out == "one\nno end of line"
    assert "\x1b[2Kgan 1/10" in shown.err
    print("later")
    assert "later" not in log.path.read_text()


def test_the_reason_of_a_failure_is_kept(tmp_path):
    log = ConsoleLog(tmp_path / "console.log")
    log.start()
    try:
        raise RuntimeError("diverged")
    except RuntimeError:
        log.stop()
    assert "RuntimeError: diverged" in log.path.read_text()


def test_somebody_elses_stream_stays(tmp_path, monkeypatch):
    log = ConsoleLog(tmp_path / "console.log")
    log.start()
    with monkeypatch.context() as patch:
        other = object()
        patch.setattr(sys, "stdout", other)
        log.stop()
        assert sys.stdout is other
        patch.undo()
    sys.stdout = getattr(sys.stdout, "_stream", sys.stdout)
