"""What a user sees when something of theirs is wrong: the message, an exit code, no page of Python."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from monai_semgan.apps.error_messages import find_input_error, show_input_errors
from monai_semgan.utils import InputError


def raised(error: BaseException, cause: BaseException | None = None) -> BaseException:
    try:
        raise error from cause
    except BaseException as caught:
        return caught


def test_found_however_deep_it_lies() -> None:
    inner = InputError("scan a.nii.gz", got="nothing")
    assert find_input_error(raised(inner)) is inner
    wrapped = raised(RuntimeError("failed to instantiate"), raised(ValueError("transform"), inner))
    assert find_input_error(wrapped) is inner
    assert find_input_error(raised(RuntimeError("a bug"))) is None
    assert find_input_error(None) is None


def test_found_when_it_is_only_the_context() -> None:
    inner = InputError("scan")

    def clumsy() -> None:
        try:
            raise inner
        except InputError:
            raise KeyError("while handling") from None

    with pytest.raises(KeyError) as info:
        clumsy()
    assert find_input_error(info.value) is inner


def test_the_outermost_one_counts() -> None:
    """One that wraps another names all the bad files."""
    outer = InputError("many files")
    assert find_input_error(raised(RuntimeError("run"), raised(outer, InputError("the file")))) is outer


def test_installed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "excepthook", sys.__excepthook__)
    show_input_errors()
    first = sys.excepthook
    show_input_errors()
    assert sys.excepthook is first
    assert first is not sys.__excepthook__


def test_other_errors_go_to_the_hook_that_was_there(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    monkeypatch.setattr(sys, "excepthook", lambda *args: seen.append(args))
    show_input_errors()
    error = raised(RuntimeError("a bug"))
    sys.excepthook(RuntimeError, error, error.__traceback__)
    assert seen[0][1] is error


@pytest.mark.parametrize(
    ("cause", "line"),
    [
        (KeyError("size"), "ERROR: KeyError: 'size'"),
        (OSError(errno.ENOSPC, "No space left"), "No space left. What to do: look at the disk's free space"),
        (MemoryError(), "ERROR: MemoryError. What to do: choose a smaller --batch_size"),
    ],
)
def test_the_last_line_names_the_cause(
    cause: Exception, line: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setattr(sys, "excepthook", sys.__excepthook__)
    show_input_errors()
    error = raised(RuntimeError("Failed to evaluate"), cause)
    sys.excepthook(RuntimeError, error, error.__traceback__)
    text = capsys.readouterr().err
    assert "Traceback" in text
    assert line in text.splitlines()[-1]


def test_the_message_alone_is_printed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    monkeypatch.delenv("MONAI_SEMGAN_TRACEBACK", raising=False)
    monkeypatch.setattr(sys, "excepthook", sys.__excepthook__)
    show_input_errors()
    error = raised(RuntimeError("wrapper"), InputError("scan a", got="3", wanted="4", fix="do it"))
    sys.excepthook(RuntimeError, error, error.__traceback__)
    text = capsys.readouterr().err
    assert text.strip() == "ERROR: scan a: got 3; wanted 4. What to do: do it"
    monkeypatch.setenv("MONAI_SEMGAN_TRACEBACK", "1")
    sys.excepthook(RuntimeError, error, error.__traceback__)
    assert "Traceback" in capsys.readouterr().err


@pytest.mark.slow
def test_a_process_ends_with_code_one(repository: Path) -> None:
    script = (
        "from monai_semgan.apps.error_messages import show_input_errors\n"
        "from monai_semgan.utils import InputError\n"
        "show_input_errors()\n"
        "raise InputError('scan a', fix='look')\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(repository), "OMP_NUM_THREADS": "1"}
    environment.pop("MONAI_SEMGAN_TRACEBACK", None)
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.strip().splitlines()[-1] == "ERROR: scan a. What to do: look"
    assert "Traceback" not in done.stderr
