"""`monai-semgan check BUNDLE`: hold a bundle's settings against what is known of them, without running anything."""

from __future__ import annotations

import argparse
import difflib
from collections.abc import Sequence
from pathlib import Path

from ..utils.errors import InputError

__all__ = ["add_parser", "run"]


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the `check` command."""
    parser = subparsers.add_parser(
        "check",
        help="check a bundle's settings without running it",
        description="Check the settings of `python -m monai.bundle run`: names, types, ranges, files, and whether the "
        "networks and transforms can be built of them. No data are loaded. Every run makes the same check first.",
        epilog="example: monai-semgan check ct_liver --config_file train.json,gpu_128.json --labelled 4",
    )
    parser.add_argument("bundle", help="the bundle's folder, or its name below bundles/")
    parser.add_argument(
        "settings",
        nargs=argparse.REMAINDER,
        help="as for `monai.bundle run`: --config_file FILES (below configs/; default: train.json) and --NAME VALUE",
    )


def run(args: argparse.Namespace) -> int:
    """Check, and say what was checked; 0 when nothing is wrong.

    Raises:
        InputError: what is wrong.
    """
    from .config_check import check_command

    command = read_command(args.bundle, args.settings)
    check_command(command)
    given = f" with {len(command.overrides)} given settings" if command.overrides else ""
    print(f"{', '.join(command.config_files)}{given}: nothing is wrong")
    return 0


def read_command(bundle: str, settings: Sequence[str]):
    """The `BundleCommand` that was meant.

    Raises:
        InputError: there is no such bundle or file.
    """
    from .command_line import BundleCommand, parse_options

    folder = find_bundle(bundle)
    options = parse_options(settings)
    files = options.pop("config_file", "train.json")
    names = files.split(",") if isinstance(files, str) else [str(name) for name in files]
    return BundleCommand([find_config(folder, name.strip()) for name in names], options)


def find_bundle(name: str) -> Path:
    """The folder of a bundle.

    Raises:
        InputError: there is none.
    """
    for folder in (Path(name), Path("bundles") / name):
        if (folder / "configs").is_dir():
            return folder
    known = sorted(path.parent.name for path in Path("bundles").glob("*/configs"))
    near = difflib.get_close_matches(name, known, n=1)
    raise InputError(
        f"bundle {name}", got="no folder with configs/ of that name", wanted=", ".join(known) or "a bundle's folder",
        fix=f"did you mean {near[0]}?" if near else "give the path of the bundle's folder",
    )  # fmt: skip


def find_config(folder: Path, name: str) -> str:
    """A configuration file: of the bundle, or anywhere.

    Raises:
        InputError: there is none.
    """
    for path in (folder / "configs" / name, Path(name)):
        if path.is_file():
            return str(path)
    known = sorted(path.name for path in (folder / "configs").glob("*.json"))
    near = difflib.get_close_matches(name, known, n=1)
    raise InputError(
        f"configuration {name}", got="no such file", wanted=f"one of {', '.join(known)}, or a path",
        fix=f"did you mean {near[0]}?" if near else None,
    )  # fmt: skip
