"""Impossible settings found before data are loaded: values out of range, missing files, parts that cannot be built."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from importlib import import_module
from pathlib import Path
from pydoc import locate
from typing import Any

import torch
from monai.bundle import ConfigParser

from ..utils import InputError
from ..utils.failures import describe_failure

__all__ = ["impossible_settings"]

# What is made of values alone; trainers, data sets, handlers and whatever refers to them are left to the run.
_BUILT = (
    "monai.inferers.", "monai.losses.", "monai.networks.", "monai.transforms.", "monai_semgan.data.OrganRoles",
    "monai_semgan.inferers.", "monai_semgan.losses.", "monai_semgan.networks.", "monai_semgan.transforms.", "torch.nn.",
)  # fmt: skip
_COUNTS = (
    "batch_size", "checkpoint_every", "validate_every", "picture_every", "slice_batch", "stack_depth", "labelled",
)  # fmt: skip
_SHARES = ("_fraction", "_probability", "_start")
_FILES = ("checkpoint", "tags_file")


def impossible_settings(files: Sequence[str], overrides: Mapping[str, Any]) -> Iterator[InputError]:
    """What cannot work in a configuration whose ids and types are right, each with its id.

    Networks, losses, transforms and inferers are built once, on the CPU and with the global random numbers put back,
    unless they need data; nothing is read but the settings beside a checkpoint.

    Args:
        files: the configuration and its overlays.
        overrides: id -> value, from the command line.
    """
    base = ConfigParser.load_config_file(files[0])
    parser = ConfigParser(config=ConfigParser.load_config_files(list(files)))
    meta = Path(files[0]).with_name("metadata.json")
    if meta.is_file():
        parser.read_meta(str(meta))
    for name, value in overrides.items():
        parser[name] = value
    if "device" in parser:
        parser["device"] = "$torch.device('cpu')"
    problems = [*_values(base, parser.config), *_targets(parser.config)]
    with torch.random.fork_rng(devices=[]):
        problems += _places(parser)
        yield from problems or _parts(parser)


def _values(base: Mapping[str, Any], config: Mapping[str, Any]) -> Iterator[InputError]:
    """Plain values out of their range, and lists that do not fit each other where they do in the file."""
    for name, value in config.items():
        if _is_bad_count(name, value) and not _is_bad_count(name, base.get(name)):
            yield InputError(f"option {name}", got=value, wanted=f"{name} at least 1")
        elif _is_bad_share(name, value) and not _is_bad_share(name, base.get(name)):
            yield InputError(f"option {name}", got=value, wanted="a share between 0 and 1")
        if name.endswith("_strides"):
            channels = name.replace("_strides", "_channels")
            if _gap(base, channels, name) is not None and _gap(config, channels, name) != _gap(base, channels, name):
                yield InputError(
                    f"options {channels} and {name}", got=f"{config[channels]} and {value}",
                    wanted=f"{_gap(base, channels, name)} more channels than strides",
                    fix=f"give both, e.g. --{channels} {base[channels]} --{name} {base[name]}".replace(" [", " '[")
                    .replace("]", "]'"),
                )  # fmt: skip
            elif _divides(base, name) and not _divides(config, name):
                yield InputError(
                    f"options image_size and {name}", got=f"{config['image_size']} and {value}",
                    wanted=f"an image_size that can be divided by the product of the strides, {math.prod(value)}",
                )  # fmt: skip


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _is_bad_count(name: str, value: Any) -> bool:
    return name.endswith(_COUNTS) and _is_number(value) and value < 1


def _is_bad_share(name: str, value: Any) -> bool:
    return name.endswith(_SHARES) and _is_number(value) and not 0 <= value <= 1


def _gap(config: Mapping[str, Any], channels: str, strides: str) -> int | None:
    both = config.get(channels), config.get(strides)
    return len(both[0]) - len(both[1]) if all(isinstance(v, (list, tuple)) for v in both) else None


def _divides(config: Mapping[str, Any], strides: str) -> bool:
    size, factors = config.get("image_size"), config[strides]
    whole = isinstance(size, int) and isinstance(factors, (list, tuple)) and all(isinstance(f, int) for f in factors)
    return not whole or size % max(1, math.prod(factors)) == 0


def _targets(config: Any, path: str = "") -> Iterator[InputError]:
    """``_target_`` that name nothing."""
    if isinstance(config, Mapping):
        target = config.get("_target_")
        if isinstance(target, str) and "." in target and not target.startswith(("$", "%", "@")) and not _found(target):
            yield InputError(f"component {path}", got=f"_target_ {target}, which does not exist", fix=_nearest(target))
    items: Any = config.items() if isinstance(config, Mapping) else ()
    items = enumerate(config) if isinstance(config, list) else items
    for key, value in items:
        if isinstance(value, (Mapping, list)):
            yield from _targets(value, f"{path}#{key}" if path else str(key))


def _found(target: str) -> bool:
    try:
        return locate(target) is not None
    except Exception:  # the module is there and cannot be imported: the run's own error says why
        return True


def _nearest(target: str) -> str:
    module, _, name = target.rpartition(".")
    try:
        near = get_close_matches(name, dir(import_module(module)), n=1)
    except ImportError:
        return "give the full path of a class, e.g. monai.networks.nets.UNet"
    return f"did you mean {module}.{near[0]}?" if near else f"look for the right name in {module}"


def _places(parser: ConfigParser) -> Iterator[InputError]:
    """Files and folders that have to be there before a run."""
    # a phantom is made where its folder is the data set's
    if isinstance(parser.config.get("dataset_dir"), str):
        data, made = _value(parser, "dataset_dir"), _value(parser, "phantom_dir")
        if isinstance(data, str) and data != made and not Path(data).expanduser().exists():
            yield InputError(
                f"option dataset_dir: data set folder {data} is missing", wanted="a folder with scans",
                fix="correct the path",
            )  # fmt: skip
    for name in parser.config:
        if name.endswith(_FILES) and isinstance(parser.config[name], str):
            path = _value(parser, name)
            if isinstance(path, str) and not Path(path).expanduser().is_file():
                yield InputError(
                    f"option {name}: Weights {path}" if "checkpoint" in name else f"option {name}: {path}",
                    got="no such file", wanted="an existing file",
                    fix="train first, or correct the path" if "checkpoint" in name else "correct the path",
                )  # fmt: skip


def _value(parser: ConfigParser, name: str) -> Any:
    try:
        return parser.get_parsed_content(name) if name in parser.config else None
    except Exception:  # it depends on more than is known now
        return None


def _parts(parser: ConfigParser) -> Iterator[InputError]:
    """Parts that their values alone make impossible, each once: what is built of a broken part is not told again."""
    safe: dict[str, bool] = {}
    told: set[str] = set()
    for name, value in parser.config.items():
        if not (isinstance(value, Mapping) and "_target_" in value and _is_safe(parser.config, name, safe)):
            continue
        try:
            parser.get_parsed_content(name)
        except Exception as error:
            why = describe_failure(error)
            if why not in told:
                told.add(why)
                yield InputError(f"component {name}: {why}")


def _is_safe(config: Mapping[str, Any], name: str, known: dict[str, bool]) -> bool:
    """Whether a top-level id and all it refers to can be made of values alone."""
    from .config_check import references

    if name not in known:
        known[name] = False  # a circle is not for us to solve
        value = config.get(name)
        known[name] = name in config and _only_built(value) and all(
            _is_safe(config, path[0], known) for path in references(value)
        )  # fmt: skip
    return known[name]


def _only_built(value: Any) -> bool:
    if isinstance(value, Mapping):
        target = value.get("_target_")
        if target is not None and not (isinstance(target, str) and (target.startswith(_BUILT) or "." not in target)):
            return False
        return all(_only_built(item) for item in value.values())
    if isinstance(value, (list, tuple)):
        return all(_only_built(item) for item in value)
    # an expression may do anything; those of the bundles that read files begin with a function of ours
    return not (isinstance(value, str) and value.startswith("$") and ("semgan_apps." in value or "os." in value))
