"""The command line: lazy commands, readable errors, exit codes."""

from __future__ import annotations

import subprocess
import sys
import types

import pytest

from monai_semgan import __main__ as command_line
from monai_semgan import __version__
from monai_semgan.utils.errors import InputError


def add_command(monkeypatch: pytest.MonkeyPatch, run) -> None:
    """Register the command `probe --count N`, whose work is `run(args)`."""
    module = types.ModuleType("probe_command")

    def add_parser(subparsers) -> None:
        subparsers.add_parser("probe").add_argument("--count", type=int, default=0)

    module.add_parser, module.run = add_parser, run
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setitem(command_line.COMMANDS, "probe", command_line.Command(module.__name__, "a test's command"))


def test_arguments_and_exit_code_pass_through(monkeypatch: pytest.MonkeyPatch) -> None:
    add_command(monkeypatch, lambda args: args.count)
    assert command_line.main(["probe", "--count", "7"]) == 7


def test_user_error_is_one_line_without_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(args):
        raise InputError("--count", got="0", wanted="1 or more", fix="count something")

    add_command(monkeypatch, run)
    assert command_line.main(["probe"]) == command_line.USER_ERROR
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("monai-semgan: --count")
    assert "count something" in captured.err
    assert "Traceback" not in captured.err


def test_programming_error_is_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    def run(args):
        raise ZeroDivisionError

    add_command(monkeypatch, run)
    with pytest.raises(ZeroDivisionError):
        command_line.main(["probe"])


def test_interrupt_has_the_shell_exit_code(monkeypatch: pytest.MonkeyPatch) -> None:
    def run(args):
        raise KeyboardInterrupt

    add_command(monkeypatch, run)
    assert command_line.main(["probe"]) == command_line.INTERRUPTED


@pytest.mark.parametrize("argv", [[], ["nothing-of-that-name"], ["--nothing"]])
def test_unknown_command_exits_with_two(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        command_line.main(argv)
    assert stopped.value.code == 2
    assert "usage: monai-semgan" in capsys.readouterr().err


def test_help_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        command_line.main(["--help"])
    assert stopped.value.code == 0
    shown = capsys.readouterr().out
    assert all(name in shown for name in command_line.COMMANDS)


@pytest.mark.parametrize("name", sorted(command_line.COMMANDS))
def test_every_command_has_help(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        command_line.main([name, "--help"])
    assert stopped.value.code == 0
    assert f"monai-semgan {name}" in capsys.readouterr().out


def test_help_does_not_load_torch() -> None:
    code = """
import sys
from monai_semgan.__main__ import main
try:
    main(["--version"])
finally:
    assert "torch" not in sys.modules
"""
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == f"monai-semgan {__version__}"
