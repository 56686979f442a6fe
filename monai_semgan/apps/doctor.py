"""`monai-semgan doctor`: what this installation has, what it lacks, and what to do about it."""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import sys
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from types import ModuleType
from typing import Literal

from packaging.requirements import Requirement

from monai_semgan import __version__

__all__ = ["Finding", "add_parser", "examine", "run"]

DISTRIBUTION = "monai-semgan"
INSTALL = "pip install -c constraints.txt -e ."
OPTIONAL = {
    "tqdm": "progress bars (pip install tqdm)",
    "tensorboard": "TensorBoard logs (pip install tensorboard)",
}
SCRATCH_GB = 5  # a run's checkpoints, pictures and MLflow store

Level = Literal["ok", "note", "missing"]


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at: `missing` stops a run, `note` may slow or limit it."""

    level: Level
    what: str
    found: str
    advice: str = ""


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the `doctor` command."""
    parser = subparsers.add_parser(
        "doctor",
        help="check this installation and say what is missing",
        description="Check Python, packages, GPU and output folder. Exit code 1 when something is missing.",
    )
    parser.add_argument(
        "--out",
        type=Path,
        default=Path(),
        help="folder that runs will write to (default: this folder)",
    )


def run(args: argparse.Namespace) -> int:
    """Print every finding and what to do; 0 when nothing is missing."""
    findings = examine(args.out)
    width = max(len(finding.what) for finding in findings)
    for finding in findings:
        print(f"{finding.level:8}{finding.what:{width}}  {finding.found}")
        if finding.advice:
            print(f"{'':8}{'':{width}}  -> {finding.advice}")
    missing = sum(finding.level == "missing" for finding in findings)
    print(f"\n{missing} missing" if missing else "\nnothing is missing")
    return 1 if missing else 0


def examine(output_dir: Path) -> list[Finding]:
    """Look at everything: Python, required and optional packages, processor, GPU, output folder."""
    return [
        *_examine_python(),
        *_examine_required(),
        *_examine_optional(),
        *_examine_label(),
        *_examine_devices(),
        *_examine_folder(output_dir),
    ]


def _examine_python() -> Iterable[Finding]:
    found = f"{platform.python_version()} on {platform.system()} {platform.machine()}"
    if (3, 10) <= sys.version_info[:2] < (3, 13):
        yield Finding("ok", "python", found)
    else:
        yield Finding("missing", "python", found, "use Python 3.10, 3.11 or 3.12")


def _examine_required() -> Iterable[Finding]:
    # The installed metadata is the list itself: a second list here would drift from pyproject.toml.
    try:
        requirements = [Requirement(line) for line in metadata.requires(DISTRIBUTION) or []]
    except metadata.PackageNotFoundError:
        yield Finding("missing", DISTRIBUTION, f"{__version__}, from a folder, not installed", INSTALL)
        return
    yield Finding("ok", DISTRIBUTION, __version__)
    for requirement in requirements:
        if requirement.marker is not None and not requirement.marker.evaluate({"extra": ""}):
            continue
        wanted = f"{requirement.name}{requirement.specifier}"
        version = _installed_version(requirement.name)
        if version is None:
            yield Finding("missing", requirement.name, f"not installed; wanted {wanted}", INSTALL)
        elif not requirement.specifier.contains(version, prereleases=True):
            yield Finding("missing", requirement.name, f"{version}; wanted {wanted}", INSTALL)
        else:
            yield Finding("ok", requirement.name, version)


def _examine_optional() -> Iterable[Finding]:
    for name, use in OPTIONAL.items():
        version = _installed_version(name)
        if version is None:
            yield Finding("note", name, "not installed; not needed", f"only for {use}")
        else:
            yield Finding("ok", name, version)


def _examine_label() -> Iterable[Finding]:
    from .label.requirements import INSTALL_LABEL, missing_for_label

    missing = missing_for_label()
    if missing:
        found = f"not complete ({len(missing)} packages, {missing[0]} first); not needed"
        yield Finding("note", "MONAI Label", found, f"only for label-app ({INSTALL_LABEL})")
    else:
        yield Finding("ok", "MONAI Label", "label-app can be started")


def _examine_devices() -> Iterable[Finding]:
    try:
        import torch
    except (ImportError, OSError) as error:  # OSError: a shared library of torch cannot be loaded
        yield Finding("missing", "torch", f"cannot be imported: {error}", INSTALL)
        return
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    yield Finding(
        "ok",
        "processor",
        f"{cores} cores, {torch.get_num_threads()} torch threads, {_cpu_instructions(torch)}",
    )
    if not torch.cuda.is_available():
        advice = "training runs on the CPU; with an NVIDIA GPU install the torch build that fits its driver"
        yield Finding("note", "gpu", f"none that torch {torch.__version__} can use", advice)
        return
    for index in range(torch.cuda.device_count()):
        properties = torch.cuda.get_device_properties(index)
        memory = f"{properties.total_memory / 2**30:.0f} GiB"
        yield Finding("ok", f"gpu {index}", f"{properties.name}, {memory}, CUDA {torch.version.cuda}")
    bf16 = torch.cuda.is_bf16_supported(including_emulation=False)
    yield Finding("ok", "gpu bf16", "yes") if bf16 else Finding("note", "gpu bf16", "no", "leave amp off")


def _cpu_instructions(torch: ModuleType) -> str:
    # /proc/cpuinfo exists on Linux only; elsewhere only torch's own word for the instruction set is given.
    capability = torch.backends.cpu.get_cpu_capability()
    try:
        flags = set(Path("/proc/cpuinfo").read_text(encoding="utf-8").split())
    except OSError:
        return str(capability)
    bf16 = sorted(flags & {"avx512_bf16", "amx_bf16"})
    return f"{capability}, bf16 {'by ' + ', '.join(bf16) if bf16 else 'not in hardware'}"


def _examine_folder(folder: Path) -> Iterable[Finding]:
    advice = "choose another folder with --out"
    shown = folder.resolve()
    if not folder.is_dir():
        yield Finding("missing", "output folder", f"{shown} is not a folder", advice)
        return
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(b"monai-semgan doctor")
    except OSError as error:
        yield Finding("missing", "output folder", f"{shown} cannot be written to: {error.strerror}", advice)
        return
    free = shutil.disk_usage(folder).free / 1e9
    if free < SCRATCH_GB:
        yield Finding("note", "output folder", f"{shown}, {free:.1f} GB free", f"keep {SCRATCH_GB} GB for one run")
    else:
        yield Finding("ok", "output folder", f"{shown}, {free:.0f} GB free")


def _installed_version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None
