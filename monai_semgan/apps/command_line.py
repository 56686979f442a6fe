"""What was asked for on the command line of ``python -m monai.bundle run``."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from monai.bundle import ConfigParser

__all__ = ["BundleCommand", "parse_options", "read_bundle_command"]

_POSITIONAL = ("run_id", "init_id", "final_id", "meta_file", "config_file", "logging_file", "tracking", "args_file")
_OWN_OPTIONS = {*_POSITIONAL, "workflow_name", "workflow_type", "properties_path"}
_TRACKING_OPTIONS = {"tracking_uri", "experiment_name", "run_name", "save_execute_config"}


@dataclass(frozen=True)
class BundleCommand:
    """One command.

    Args:
        config_files: the configuration and, after it, its overlays.
        overrides: id -> value, as they were given; MONAI's own options are not among them.
        entry_points: the ids that are run: ``run``, ``initialize`` and ``finalize`` unless others were named.
    """

    config_files: list[str]
    overrides: dict[str, Any] = field(default_factory=dict)
    entry_points: tuple[str, ...] = ("run", "initialize", "finalize")


def read_bundle_command(argv: Sequence[str]) -> BundleCommand | None:
    """Read ``sys.argv`` as MONAI's command line does (Fire's rules, ``--args_file`` included).

    Returns None when the program was not started as ``python -m monai.bundle run`` with a configuration file:
    under MONAI Label or in a notebook.
    """
    program = Path(argv[0]) if argv else Path()
    if program.parts[-3:] != ("monai", "bundle", "__main__.py") or list(argv[1:2]) != ["run"]:
        return None
    options = parse_options(argv[2:])
    if isinstance(options.get("args_file"), str):
        options = {**ConfigParser.load_config_file(options["args_file"]), **options}
    files = options.get("config_file")
    if isinstance(files, str):
        # several files in one text are understood too, unless a file is called like that
        files = [files] if Path(files).is_file() else files.split(",")
    if not files:
        return None
    entry_points = tuple(
        str(options.get(option) or default)
        for option, default in (("run_id", "run"), ("init_id", "initialize"), ("final_id", "finalize"))
    )
    own = _OWN_OPTIONS | (_TRACKING_OPTIONS if options.get("tracking") else set())
    overrides = {name: value for name, value in options.items() if name not in own}
    return BundleCommand([str(file) for file in files], overrides, entry_points)


def parse_options(words: Sequence[str]) -> dict[str, Any]:
    """``--name value``, ``--name=value``, ``--name`` alone (True) and what has no name, by position."""
    from fire.parser import DefaultParseValue

    words = list(words)
    if "--" in words:  # what follows is for Fire itself
        words = words[: words.index("--")]
    named: dict[str, Any] = {}
    unnamed: list[Any] = []
    while words:
        word = words.pop(0)
        if not _is_name(word):
            unnamed.append(DefaultParseValue(word))
            continue
        name, equals, value = word.lstrip("-").partition("=")
        name = name.replace("-", "_")
        if not equals and (not words or _is_name(words[0])):
            negated = name.startswith("no") and name not in _POSITIONAL
            named[name.removeprefix("no") if negated else name] = not negated
        else:
            named[name] = DefaultParseValue(value if equals else words.pop(0))
    free = [option for option in _POSITIONAL if option not in named]
    return {**dict(zip(free, unnamed, strict=False)), **named}


def _is_name(word: str) -> bool:
    return word.startswith("--") or re.match(r"-[a-zA-Z]", word) is not None
