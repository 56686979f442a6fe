"""From methods, numbers of labels and seeds to the commands that have to be run."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...utils.errors import InputError
from .rows import BENCHMARK_METHODS, BenchmarkMethod, Preset, find_methods

__all__ = ["Cell", "choose_methods", "find_bundles", "plan_cells", "read_numbers", "read_seeds"]

CELLS_FOLDER = "cells"
# Where things lie and what is run says nothing about what is learned.
_PLACES = {"imports", "initialize", "run", "bundle_root", "phantom_dir", "dataset_dir", "output_dir", "checkpoint"}


@dataclass(frozen=True)
class Cell:
    """One training with its evaluation: a method, a number of labelled scans, a seed.

    Args:
        method: what is trained.
        preset: name of the budget.
        dataset: name of the data set's folder.
        labelled: number of labelled scans.
        seed: of the training.
        folder: holds the marker ``cell.json``, ``log.txt`` and the bundle's results in ``run/``.
        command: the bundle's command line.
        settings: every plain setting of the training, those of the bundle's file included, and the split.
        given: those settings that the benchmark itself gives.
        needs: key of the cell that must be finished before, or "".
        seconds: estimated CPU seconds of the training; None where it was not timed.
        tracked: whether the bundle has an ``experiment`` to hang the run under the benchmark's own.
    """

    method: BenchmarkMethod
    preset: str
    dataset: str
    labelled: int
    seed: int
    folder: Path
    command: tuple[str, ...]
    settings: Mapping[str, Any]
    given: Mapping[str, Any]
    needs: str = ""
    seconds: float | None = None
    tracked: bool = True

    @property
    def key(self) -> str:
        """Short and unique within a benchmark, e.g. ``unet_plain/labelled8_seed0``."""
        return f"{self.method.name}/{_cell_name(self.labelled, self.seed)}"

    @property
    def title(self) -> str:
        """For people."""
        return f"{self.method.name} labelled {self.labelled} seed {self.seed}"

    @property
    def output_dir(self) -> Path:
        """The bundle's output folder."""
        return self.folder / "run"

    @property
    def per_case(self) -> Path:
        """The table of scores that the bundle's evaluation writes."""
        return self.output_dir / "eval" / "per_case.csv"

    @property
    def log(self) -> Path:
        """What the bundle prints."""
        return self.folder / "log.txt"

    @property
    def settings_hash(self) -> str:
        """SHA-256 over the settings."""
        return hashlib.sha256(json.dumps(self.settings, sort_keys=True).encode()).hexdigest()


def read_numbers(option: str, text: str, least: int) -> list[int]:
    """``"1,4,8"`` as sorted numbers without repetition.

    Raises:
        InputError: it is no such list, or a number is below ``least``.
    """
    try:
        numbers = sorted({int(part) for part in str(text).split(",")})
    except ValueError:
        numbers = []
    if not numbers or numbers[0] < least:
        raise InputError(option, got=text, wanted=f"whole numbers from {least} on with commas between, e.g. 1,4,8")
    return numbers


def read_seeds(text: str) -> list[int]:
    """``"3"`` is 0, 1 and 2; a list with a comma (``"0,5"``, ``"7,"``) is taken as it stands.

    Raises:
        InputError: neither.
    """
    if "," in str(text):
        return read_numbers("--seeds", str(text).rstrip(","), least=0)
    (count,) = read_numbers("--seeds", text, least=1)
    return list(range(count))


def find_bundles(folder: str | Path | None = None) -> Path:
    """The folder with the bundles: the one given, else ``bundles/`` here, else that of the checkout.

    Raises:
        InputError: it is not there. Its own name must be ``bundles``: bundles look for themselves in there.
    """
    checkout = Path(__file__).resolve().parents[3] / "bundles"
    choices = [Path(folder)] if folder else [Path("bundles"), checkout]
    for choice in choices:
        if choice.is_dir() and choice.resolve().name == "bundles":
            return choice.resolve()
    raise InputError(
        "folder with the bundles", got=f"nothing at {choices[0]}", wanted="the folder bundles/ of a clone",
        fix="start the command in the clone's root, or give --bundles_dir",
    )  # fmt: skip


def choose_methods(names: Sequence[str] | None, bundles: Path) -> tuple[list[BenchmarkMethod], list[str]]:
    """The methods to run, and the names of those that are left out because their bundle is not there.

    Raises:
        InputError: a name is not known, a method that was asked for has no bundle or lacks the method it is
            built on, or nothing is left.
    """
    methods = find_methods(names)
    absent = [method for method in methods if not _train_config(bundles, method).is_file()]
    if names is not None and absent:
        raise InputError(
            f"method {absent[0].name} has no bundle", got=f"nothing at {_train_config(bundles, absent[0])}",
            fix="leave it out of --methods",
        )  # fmt: skip
    kept = [method for method in methods if method not in absent]
    chosen = {method.name for method in kept}
    for method in kept:
        if method.after and method.after not in chosen:
            raise InputError(f"method {method.name} is built on {method.after}", fix=f"add {method.after} to --methods")
    if not kept:
        raise InputError("no method is left", got=f"no bundle of {', '.join(m.name for m in methods)} in {bundles}")
    return kept, [method.name for method in absent]


def plan_cells(
    methods: Sequence[BenchmarkMethod],
    preset: Preset,
    splits: Mapping[int, str],
    seeds: Sequence[int],
    dataset_dir: str | Path,
    output_dir: str | Path,
    bundles: Path,
) -> list[Cell]:
    """Every cell, ordered so that all methods stand side by side as early as can be: seed, labels, method.

    Args:
        methods: as ``choose_methods`` gives them.
        preset: the budget.
        splits: number of labelled scans -> hash of who is in which part (``datalist_hash``).
        seeds: of the trainings.
        dataset_dir: the data set's folder.
        output_dir: the benchmark's results folder.
        bundles: folder of the bundles.

    Raises:
        InputError: a bundle's file cannot be read, or lacks a setting that the preset gives.
    """
    dataset_dir, output_dir = Path(dataset_dir).resolve(), Path(output_dir).resolve()
    configs = {method.name: _read_config(method, preset, bundles) for method in methods}
    cells = []
    for seed in seeds:
        for labelled, split in splits.items():
            for method in sorted(methods, key=_depth):
                folder = output_dir / CELLS_FOLDER / method.name / _cell_name(labelled, seed)
                before = output_dir / CELLS_FOLDER / method.after / _cell_name(labelled, seed)
                given = _fill(preset.settings(method), before / "run")
                plain = {**configs[method.name], **given, "labelled": labelled, "seed": seed}
                # `before` names a place; what is there is known by the method it is built on.
                settings = {**plain, **_fill(preset.settings(method), Path(method.after))}
                cells.append(
                    Cell(
                        method=method,
                        preset=preset.name,
                        dataset=dataset_dir.name,
                        labelled=labelled,
                        seed=seed,
                        folder=folder,
                        command=_command(method, preset, bundles, {
                            "dataset_dir": str(dataset_dir), "output_dir": str(folder / "run"),
                            "labelled": labelled, "seed": seed, **given,
                        }),
                        settings={"bundle": method.bundle, "split": split, **_plain_values(settings, given)},
                        given=given,
                        needs=f"{method.after}/{_cell_name(labelled, seed)}" if method.after else "",
                        seconds=_estimate(method, plain) if preset.timed else None,
                        tracked="experiment" in configs[method.name],
                    )
                )  # fmt: skip
    return cells


def _cell_name(labelled: int, seed: int) -> str:
    return f"labelled{labelled}_seed{seed}"


def _depth(method: BenchmarkMethod) -> int:
    """0 for a method of its own, 1 for one that is built on such a one, ..."""
    depth, seen = 0, {method.name}
    while method.after:
        method, depth = BENCHMARK_METHODS[method.after], depth + 1
        if method.name in seen:
            raise ValueError(f"methods are built on each other in a circle: {', '.join(sorted(seen))}")
        seen.add(method.name)
    return depth


def _fill(options: Mapping[str, Any], before: Path) -> dict[str, Any]:
    """Options with the output folder of the cell that is built on in place of ``{after}``."""
    return {
        name: value.replace("{after}", str(before)) if isinstance(value, str) else value
        for name, value in options.items()
    }


def _train_config(bundles: Path, method: BenchmarkMethod) -> Path:
    return bundles / method.bundle / "configs" / "train.json"


def _config_files(method: BenchmarkMethod, preset: Preset, bundles: Path) -> list[Path]:
    names = [*preset.overlays.get(method.name, ()), *method.overlays]
    return [_train_config(bundles, method), *(bundles / method.bundle / name for name in names)]


def _read_config(method: BenchmarkMethod, preset: Preset, bundles: Path) -> dict[str, Any]:
    config: dict[str, Any] = {}
    for path in _config_files(method, preset, bundles):
        try:
            config.update(json.loads(path.read_text(encoding="utf-8")))
        except (OSError, ValueError) as error:
            raise InputError(f"configuration {path} cannot be read", got=str(error), wanted="a JSON file") from error
    strangers = [name for name in preset.settings(method) if name.split("#")[0] not in config]
    if strangers:
        raise InputError(
            f"preset {preset.name}, method {method.name}", got=f"settings {', '.join(strangers)}",
            wanted=f"settings of {_train_config(bundles, method)}", fix="correct apps/benchmark/rows.py",
        )  # fmt: skip
    return config


def _plain_values(config: Mapping[str, Any], given: Iterable[str]) -> dict[str, Any]:
    """The settings of a training: plain values at the top level, and whatever was given."""
    return {
        name: value
        for name, value in sorted(config.items())
        if name in given or (name not in _PLACES and not _has_components(value))
    }


def _has_components(value: Any) -> bool:
    items = value if isinstance(value, list) else [value]
    return any(isinstance(item, Mapping) for item in items)


def _estimate(method: BenchmarkMethod, config: Mapping[str, Any]) -> float | None:
    if not method.seconds:
        return None
    return sum(seconds * float(config.get(name, 0)) for name, seconds in method.seconds.items())


def _command(method: BenchmarkMethod, preset: Preset, bundles: Path, options: Mapping[str, Any]) -> tuple[str, ...]:
    # Relative to the folder above, where it is run: the same words in everybody's clone.
    files = [path.relative_to(bundles.parent).as_posix() for path in _config_files(method, preset, bundles)]
    words = [sys.executable, "-m", "monai.bundle", "run", "--config_file", files[0] if len(files) == 1 else str(files)]
    return (*words, *_option_words(options.items()))


def _option_words(options: Iterable[tuple[str, Any]]) -> Iterable[str]:
    for name, value in options:
        yield f"--{name}"
        yield value if isinstance(value, str) else repr(value)
