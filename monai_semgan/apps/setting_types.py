"""Whether a setting's value is of the kind that the configuration file has there."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["wanted_instead"]

_EVALUATED = ("$", "@", "%")
_NOT_PYTHON = {"true": "True", "false": "False", "yes": "True", "no": "False", "null": "$None", "none": "$None"}


def wanted_instead(name: str, default: Any, value: Any, from_file: bool = False) -> str | None:
    """What the value should have been, in words, or None when it will do.

    Args:
        name: last part of the setting's id; those of files and folders must be text.
        default: the value in the configuration file.
        value: the value given instead.
        from_file: it stands in a file; on the command line MONAI drops ``None`` without a word.
    """
    if isinstance(value, str) and value.startswith(_EVALUATED):
        return None
    if value is None and not from_file and default is not None:
        return f"{_describe(default)} (MONAI takes no notice of None; to say None, write '$None')"
    if name.endswith("_dir") or name == "checkpoint":
        return None if isinstance(value, str) else "a path (write ./NAME where NAME is a number or has commas)"
    if isinstance(value, str) and not (isinstance(default, str) and not default.startswith(_EVALUATED)):
        python = _NOT_PYTHON.get(value.lower())
        if python is not None:
            return f"{python} (as Python spells it)"
    if not _fits(default, value):
        return _describe(default)
    # no number of the bundles has a meaning below zero where the file has one above
    is_number = isinstance(default, (int, float)) and not isinstance(default, bool)
    return "0 or more" if is_number and default > 0 and value < 0 else None


def _fits(default: Any, value: Any) -> bool:
    if default is None:
        return True
    if isinstance(default, Mapping) and "_target_" in default:  # a word is a folder's name given to --dataset
        return value is None or (isinstance(value, Mapping) and "_target_" in value)
    if isinstance(default, str):
        return default.startswith(_EVALUATED) or isinstance(value, str)
    if isinstance(default, bool):
        return isinstance(value, bool)
    if isinstance(default, int):
        return isinstance(value, int) and not isinstance(value, bool)
    if isinstance(default, float):
        return isinstance(value, (int, float)) and not isinstance(value, bool)
    if isinstance(default, list):
        plain = default and all(isinstance(item, (int, float)) for item in default)
        return isinstance(value, (list, tuple)) and (not plain or all(_fits_item(default[0], item) for item in value))
    return not isinstance(default, Mapping) or isinstance(value, Mapping)


def _fits_item(default: Any, item: Any) -> bool:
    """A number, or one for each axis: strides are ``[2, 2]`` or ``[[2, 2, 1], 2]``."""
    return all(_fits(default, part) for part in item) if isinstance(item, (list, tuple)) else _fits(default, item)


def _describe(default: Any) -> str:
    if isinstance(default, bool):
        return "True or False"
    if isinstance(default, int):
        return f"a whole number, e.g. {default}"
    if isinstance(default, float):
        return f"a number, e.g. {default}"
    if isinstance(default, str):
        return "a value" if default.startswith(_EVALUATED) else f"text, e.g. {default!r}"
    if isinstance(default, list):
        plain = default and not isinstance(default[0], (Mapping, str))
        return f"a list, e.g. {default}" if plain else "a list"
    if "_target_" in default:
        return f"a component such as {default['_target_']}, '@ID' or '$None'"
    plain = all(isinstance(value, (int, float)) for value in default.values())
    return f"a table, e.g. {dict(default)}" if plain else f"a section with {', '.join(default)}"
