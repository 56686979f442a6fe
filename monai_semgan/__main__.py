"""The command line: `monai-semgan COMMAND ...` or `python -m monai_semgan COMMAND ...`.

A command is one row in `COMMANDS` and one module with two functions:

- `add_parser(subparsers)` adds the command's own parser under the command's name,
- `run(args) -> int` does the work and returns the exit code.

Only the module of the command that was asked for is imported, so that `--help` answers without loading torch
and one command's missing dependency does not stop the others.
"""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Sequence
from typing import NamedTuple

from monai_semgan import __version__
from monai_semgan.utils.errors import InputError

__all__ = ["main"]

USER_ERROR = 2  # what argparse itself returns for a wrong option
INTERRUPTED = 130


class Command(NamedTuple):
    """Where a command lives and the line that `--help` shows for it."""

    module: str
    summary: str


COMMANDS: dict[str, Command] = {
    "phantom": Command("monai_semgan.apps.phantom.command", "make a data set of synthetic abdomens (CT and MRI)"),
    "benchmark": Command(
        "monai_semgan.apps.benchmark.command", "compare the methods on the same splits with the same budget"
    ),
    "runs": Command("monai_semgan.apps.tracked_runs.command", "list and compare tracked runs in the terminal"),
    "mlflow-sync": Command("monai_semgan.apps.mlflow_sync", "send results that MLflow could not take at the time"),
    "report": Command("monai_semgan.apps.report.command", "write one page about a tracked run, to read and to share"),
    "generate": Command(
        "monai_semgan.apps.factory.command", "make image and mask pairs with a trained generative model"
    ),
    "one-shot": Command(
        "monai_semgan.apps.one_shot.command", "export the image to annotate for one-shot segmentation, read its mask"
    ),
    "label-app": Command(
        "monai_semgan.apps.label.command", "serve the bundles in MONAI Label, for 3D Slicer and the browser"
    ),
    "check": Command("monai_semgan.apps.check", "check a bundle's settings without running it"),
    "doctor": Command("monai_semgan.apps.doctor", "check this installation and say what is missing"),
}


def build_parser(command: str | None = None) -> argparse.ArgumentParser:
    """Build the parser; only `command`'s module is imported, the others are listed by their summary."""
    parser = argparse.ArgumentParser(
        prog="monai-semgan",
        description="Tools around the monai_semgan bundles, which are run with python -m monai.bundle.",
    )
    parser.add_argument("--version", action="version", version=f"monai-semgan {__version__}")
    subparsers = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name, entry in COMMANDS.items():
        if name == command:
            importlib.import_module(entry.module).add_parser(subparsers)
        else:
            subparsers.add_parser(name, help=entry.summary)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit code (2 for an input the user can mend, said without a traceback)."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    # The parser itself takes no option with a value, so the first word without a dash is the command.
    command = next((word for word in arguments if not word.startswith("-")), None)
    try:
        args = build_parser(command).parse_args(arguments)
        return int(importlib.import_module(COMMANDS[args.command].module).run(args))
    except InputError as error:
        print(f"monai-semgan: {error}", file=sys.stderr)
        return USER_ERROR
    except KeyboardInterrupt:
        print("monai-semgan: stopped", file=sys.stderr)
        return INTERRUPTED


if __name__ == "__main__":
    sys.exit(main())
