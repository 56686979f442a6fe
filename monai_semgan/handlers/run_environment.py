"""What a run was made with: code version, packages, device and split, as flat tags and parameters."""

from __future__ import annotations

import hashlib
import json
import platform
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

__all__ = ["datalist_hash", "describe_device", "environment_tags", "flatten_params"]

_PACKAGES = ("torch", "monai", "pytorch-ignite", "numpy", "nibabel", "mlflow", "monai-semgan")
_LONGEST_VALUE = 500
_NOT_ALLOWED = re.compile(r"[^\w\-. /]")


def flatten_params(params: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Nested settings as flat text: ``{"gan": {"lr": 0.002}}`` becomes ``{"gan.lr": "0.002"}``.

    Lists of plain values stay one value; values above 500 characters are cut; characters that MLflow refuses
    in a name become ``_``.
    """
    flat: dict[str, str] = {}
    for key, value in _walk(params, prefix):
        text = value if isinstance(value, str) else json.dumps(value, default=str)
        if len(text) > _LONGEST_VALUE:
            text = text[: _LONGEST_VALUE - 1] + "…"
        flat[_NOT_ALLOWED.sub("_", key)[:250]] = text
    return flat


def _walk(value: Any, prefix: str) -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping) and (value or not prefix):
        for key, inner in value.items():
            yield from _walk(inner, f"{prefix}.{key}" if prefix else str(key))
    else:
        yield prefix, value


def datalist_hash(datalist: Mapping[str, Any] | Sequence[Any]) -> str:
    """SHA-256 over who is in which part of a split: names only, whatever folder and order they come in.

    Args:
        datalist: section -> items, nested or not; an item is a name or a mapping with ``"name"`` (or
            ``"image"``, of which the file name counts).
    """
    sections: dict[str, list[str]] = {}
    _collect_names(datalist, "", sections)
    text = json.dumps({section: sorted(names) for section, names in sorted(sections.items())})
    return hashlib.sha256(text.encode()).hexdigest()


def _collect_names(value: Any, section: str, sections: dict[str, list[str]]) -> None:
    if isinstance(value, Mapping) and not {"name", "image"} & value.keys():
        for key, inner in value.items():
            _collect_names(inner, f"{section}/{key}" if section else str(key), sections)
    elif isinstance(value, Mapping):
        name = value.get("name") or Path(str(value["image"])).name
        sections.setdefault(section, []).append(str(name))
    elif isinstance(value, Sequence) and not isinstance(value, str):
        sections.setdefault(section, [])
        for inner in value:
            _collect_names(inner, section, sections)
    else:
        sections.setdefault(section, []).append(str(value))


def describe_device(device: torch.device | str) -> str:
    """The device in words: the GPU's name, or ``cpu`` with the number of threads."""
    device = torch.device(device)
    if device.type == "cuda" and torch.cuda.is_available():
        return torch.cuda.get_device_name(device)
    if device.type == "cpu":
        return f"cpu, {torch.get_num_threads()} threads"
    return str(device)


def environment_tags() -> dict[str, str]:
    """Tags for code, packages and command; names as MLflow's own pages expect them where there are any.

    The command is named without folders, and neither user nor host are recorded.
    """
    tags = {"mlflow.source.name": _command(), "mlflow.source.type": "LOCAL"}
    tags["version.python"] = platform.python_version()
    for package in _PACKAGES:
        try:
            tags[f"version.{package}"] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    if torch.version.cuda:
        tags["version.cuda"] = torch.version.cuda
    return tags | _git_tags(Path(__file__).resolve().parent)


def _command() -> str:
    for number, word in enumerate(sys.argv):
        name, _, value = word.partition("=")
        if name.lstrip("-") == "config_file":
            return value or " ".join(sys.argv[number + 1 : number + 2])
    return Path(sys.argv[0]).name or "python"


def _git_tags(folder: Path) -> dict[str, str]:
    def git(*words: str) -> str | None:
        try:
            answer = subprocess.run(
                ["git", "-C", str(folder), *words], capture_output=True, text=True, timeout=5, check=False
            )
        except (OSError, subprocess.TimeoutExpired):
            return None
        return answer.stdout.strip() if answer.returncode == 0 else None

    # An installed copy may lie, ignored, inside somebody else's checkout: that commit says nothing about it.
    if git("ls-files", "--error-unmatch", Path(__file__).name) is None:
        return {}
    commit, changes = git("rev-parse", "HEAD"), git("status", "--porcelain", "--untracked-files=no")
    if commit is None:
        return {}
    return {"mlflow.source.git.commit": commit, "git.dirty": str(bool(changes)).lower()}
