"""The configuration as it was run: files, overlays and command line brought together."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from typing import Any

from monai.bundle import ConfigParser

from .command_line import read_bundle_command

__all__ = ["resolved_configuration"]

_REFERENCE = re.compile(r"@([\w#]+)")


def resolved_configuration(argv: Sequence[str] | None = None) -> dict[str, Any]:
    """What ``python -m monai.bundle run`` was asked to do, as plain values.

    Overlays and ``--name value`` are in it, and the expressions at the top of the file (``output_dir``, ``device`` ...)
    are replaced by what they give here. Components stay as they are written, so that the result is a configuration
    again.

    Args:
        argv: the command line; ``sys.argv`` by default.

    Returns:
        The configuration; empty when the program was started otherwise (MONAI Label, a notebook).
    """
    command = read_bundle_command(sys.argv if argv is None else argv)
    if command is None:
        return {}
    parser = ConfigParser(config=ConfigParser.load_config_files(list(command.config_files)))
    for name, value in command.overrides.items():
        parser[name] = value
    config = dict(parser.get())
    for name, value in config.items():
        if isinstance(value, str) and value.startswith(("$", "@")) and _is_plain(config, value, (name,)):
            config[name] = _evaluated(parser, name, value)
    return config


def _is_plain(config: dict[str, Any], value: Any, seen: tuple[str, ...]) -> bool:
    """Whether an expression is made of plain values alone: nothing must be built, and no file read, for a record."""
    if not isinstance(value, str):
        return not isinstance(value, dict)
    names = [name.split("#")[0] for name in _REFERENCE.findall(value)] if value.startswith(("$", "@")) else []
    return all(name in config and name not in seen and _is_plain(config, config[name], (*seen, name)) for name in names)


def _evaluated(parser: ConfigParser, name: str, expression: str) -> Any:
    try:
        found = parser.get_parsed_content(name)
    except Exception:  # it needs what this machine or this moment has not: the expression says enough
        return expression
    if found is None or isinstance(found, (str, int, float, bool, list, tuple, dict)):
        return found
    return str(found) if type(found).__module__.startswith("torch") and not callable(found) else expression
