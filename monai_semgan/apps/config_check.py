"""Refuse misspelt and ill-typed settings before anything runs: MONAI takes any ``--name value`` in silence."""

from __future__ import annotations

import difflib
import inspect
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from pydoc import locate
from typing import Any

from monai.bundle import ConfigParser

from ..utils import InputError
from .command_line import BundleCommand, read_bundle_command
from .config_build import impossible_settings
from .setting_types import wanted_instead

__all__ = ["check_command", "check_configuration", "references"]

_REFERENCE = re.compile(r"@(\w+(?:(?:#|::)\w+)*)")


def check_configuration(argv: Sequence[str] | None = None) -> None:
    """Hold the overrides and overlays of ``python -m monai.bundle run`` against the configuration file.

    A bundle calls it in ``initialize``. Every id must be one of the file's (the first of ``--config_file``), or
    an argument of a component there, or be referred to (``@id``) by what was given; a plain value must be of
    the type of the file's own value. Anything else, e.g. MONAI Label or a notebook, is left alone.

    Args:
        argv: the command line; ``sys.argv`` by default.

    Raises:
        InputError: unknown ids (with the nearest known ones), values of another type, references to nothing; missing
            files; values out of range; networks, losses or transforms that cannot be built of their values.
    """
    command = read_bundle_command(sys.argv if argv is None else argv)
    if command is not None:
        check_command(command)


def check_command(command: BundleCommand) -> None:
    """Check one command: ids and types first; when those are right, ranges, files, and what is built of values alone.

    Raises:
        InputError: what is wrong, each with its id.
    """
    problems = list(_problems(command))
    problems = problems or list(impossible_settings(command.config_files, command.overrides))
    if len(problems) == 1:
        raise problems[0]
    if problems:
        lines = "".join(f"\n  - {problem}" for problem in problems)
        raise InputError(f"{len(problems)} settings cannot be used:{lines}")


def _problems(command: BundleCommand) -> Iterator[InputError]:
    base = ConfigParser.load_config_file(command.config_files[0])
    overlays = [(file, ConfigParser.load_config_file(file)) for file in command.config_files[1:]]
    given = [content for _, content in overlays] + [command.overrides]
    new = {reference[0] for values in given for reference in references(values)} | set(command.entry_points)
    merged = ConfigParser(config=ConfigParser.load_config_files(list(command.config_files)))
    sources = [*overlays, (None, command.overrides)]
    for file, values in sources:
        for name, value in values.items():
            path = _split(name)
            problem = _problem(base, command.config_files[0], path, value, file, new)
            if problem is not None:
                yield problem
            elif file is None:
                merged[name] = value
    for file, values in sources:
        for path in references(values):
            if not _exists(merged.config, path):
                where = "on the command line" if file is None else f"in {file}"
                yield InputError(
                    f"reference @{'#'.join(path)} {where}", got="an id that is in no configuration file",
                    wanted=f"an id of {command.config_files[0]}", fix=_suggest(base, path, "@"),
                )  # fmt: skip
    if command.entry_points[0] not in merged:
        yield InputError(
            f"argument {command.entry_points[0]!r} on the command line",
            got="a word without an option's name before it", wanted="--name value",
            fix="put paths with spaces into quotation marks; see that every value has its --name",
        )  # fmt: skip


def _problem(
    base: Mapping[str, Any], base_file: str, path: list[str], value: Any, file: str | None, new: set[str]
) -> InputError | None:
    option = f"--{'#'.join(path)}" if file is None else f"{'#'.join(path)!r} in {file}"
    found, default = _find(base, path)
    if not found:
        if path[0] in new and path[0] not in base:
            return None
        dashes = "--" if file is None else ""
        return InputError(
            f"setting {option}", got="a name that is not known", wanted=f"a setting of {base_file}",
            fix=_suggest(base, path, dashes),
        )  # fmt: skip
    wanted = wanted_instead(path[-1], default, value, from_file=file is not None)
    if wanted is None:
        return None
    shown = value if isinstance(value, str) else repr(value)
    return InputError(f"setting {option}", got=shown, wanted=wanted)


_NO_DEFAULT = "$"  # like an expression: nothing is known about its type


def _find(config: Any, path: Sequence[str]) -> tuple[bool, Any]:
    """Whether the id may be set, and the value that the file has for it."""
    in_component = False
    for number, part in enumerate(path):
        if isinstance(config, list) and part.isdigit() and int(part) < len(config):
            config = config[int(part)]
        elif isinstance(config, Mapping) and part in config:
            config, in_component = config[part], in_component or "_target_" in config
        elif not isinstance(config, Mapping):
            return False, None
        elif "_target_" in config:
            return part.startswith("_") or _takes(config["_target_"], part), _NO_DEFAULT
        else:
            # {"liver": 1} may be given a spleen; a section of the configuration has no room for strangers
            is_table = bool(config) and all(isinstance(v, (int, float)) for v in config.values())
            return in_component or (is_table and number == len(path) - 1), _NO_DEFAULT
    return True, config


def _takes(target: Any, argument: str) -> bool:
    """Whether the component has this argument; True when that cannot be told."""
    component = locate(target) if isinstance(target, str) and "." in target else None
    if not callable(component):
        return True
    # **options are handed on to the parent class, as a rule, so its arguments count too
    links = [c for c in component.__mro__ if "__init__" in vars(c)] if inspect.isclass(component) else [component]
    for link in links:
        try:
            parameters = inspect.signature(link.__init__ if inspect.isclass(link) else link).parameters
        except (TypeError, ValueError):
            return True
        if argument in parameters:
            return True
        if not any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
            return False
    return True


def _exists(config: Any, path: Sequence[str]) -> bool:
    for part in path:
        if isinstance(config, list) and part.isdigit() and int(part) < len(config):
            config = config[int(part)]
        elif isinstance(config, Mapping) and part in config:
            config = config[part]
        else:
            return isinstance(config, str)  # a reference or macro: what is behind it is MONAI's to find
    return True


def references(value: Any) -> Iterator[list[str]]:
    """The ids of ``@id`` in everything that MONAI evaluates."""
    if isinstance(value, Mapping):
        value = list(value.values())
    if isinstance(value, (list, tuple)):
        for item in value:
            yield from references(item)
    elif isinstance(value, str) and value.startswith(("@", "$")):
        yield from (_split(match) for match in _REFERENCE.findall(value))


def _split(name: str) -> list[str]:
    return str(name).removeprefix("+").replace("::", "#").split("#")


def _suggest(base: Mapping[str, Any], path: Sequence[str], dashes: str) -> str:
    """What may have been meant: a similar id at the same place, or the same name elsewhere."""
    section: Any = base
    for number, part in enumerate(path):
        if isinstance(section, Mapping) and part in section:
            section = section[part]
            continue
        names = [str(key) for key in section] if isinstance(section, Mapping) else []
        near = difflib.get_close_matches(part, names, n=1, cutoff=0.9)
        near = near or difflib.get_close_matches(part, names, n=3, cutoff=0.6)
        ids = ["#".join([*path[:number], name, *path[number + 1 :]]) for name in near]
        ids = ids or [full for full in _all_ids(base) if full.rsplit("#", 1)[-1] == part][:3]
        if ids:
            return f"did you mean {' or '.join(dashes + name for name in ids)}?"
        break
    return "look for the right name at the top of that file"


def _all_ids(config: Any, prefix: str = "") -> Iterator[str]:
    items: Any = config.items() if isinstance(config, Mapping) else ()
    items = enumerate(config) if isinstance(config, list) else items
    for key, value in items:
        yield f"{prefix}{key}"
        yield from _all_ids(value, f"{prefix}{key}#")
