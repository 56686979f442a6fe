"""What a run was made with: code version, packages, device and split, as flat tags and parameters."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

__all__ = [
    "datalist_hash",
    "describe_datasets",
    "describe_device",
    "environment_tags",
    "flatten_params",
    "hash_files",
    "parent_tags",
]

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


def describe_datasets(datalist: Mapping[str, Any], name: str) -> list[dict[str, Any]]:
    """The split and its parts as MLflow's data sets (see ``log_datasets``): hashes and counts, no names of scans.

    The first is the whole split, with the number of scans of each part as its profile.
    """
    sections: dict[str, list[str]] = {}
    _collect_names(datalist, "", sections)
    whole = {"name": name, "digest": datalist_hash(datalist), "context": "training", "profile": _count(datalist)}
    parts = []
    for section, names in sections.items():
        first = section.split("/")[0]
        context = {"validation": "validation", "test": "testing"}.get(first, "training")
        digest = datalist_hash({section: names})
        parts.append({
            "name": f"{name} {section}", "digest": digest, "context": context, "profile": {"scans": len(names)},
        })  # fmt: skip
    return [whole, *parts]


def hash_files(datalist: Mapping[str, Any]) -> dict[str, list[dict[str, str]]]:
    """Section -> for each scan the hash of its name (``scan``) and of its files (``image``, ``label``).

    A file's hash is taken over its size and its first and last MiB: gigabytes are not read for it. Folders (DICOM
    series) and files that are not there have none.
    """
    hashed: dict[str, list[dict[str, str]]] = {}
    for section, item in _items(datalist, ""):
        entry = {"scan": hashlib.sha256(_name(item).encode()).hexdigest()[:16]}
        for key in ("image", "label"):
            path = Path(str(item.get(key) or "")) if isinstance(item, Mapping) else Path()
            if path.is_file():
                entry[key] = _file_hash(path)
        hashed.setdefault(section, []).append(entry)
    return hashed


def _file_hash(path: Path) -> str:
    size, part = path.stat().st_size, 2**20
    digest = hashlib.sha256(str(size).encode())
    with path.open("rb") as stream:
        digest.update(stream.read(part))
        if size > 2 * part:
            stream.seek(-part, 2)
        digest.update(stream.read())
    return digest.hexdigest()


def _items(value: Any, section: str) -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping) and not {"name", "image"} & value.keys():
        for key, inner in value.items():
            yield from _items(inner, f"{section}/{key}" if section else str(key))
    elif isinstance(value, Sequence) and not isinstance(value, str):
        for inner in value:
            yield from _items(inner, section)
    else:
        yield section, value


def _name(item: Any) -> str:
    if isinstance(item, Mapping):
        return str(item.get("name") or Path(str(item["image"])).name)
    return str(item)


def _count(items: Any) -> Any:
    if isinstance(items, Mapping):
        return {section: _count(inner) for section, inner in items.items()}
    return len(items)


def parent_tags(training_dir: str | os.PathLike | None, experiment: str, tracking_uri: str) -> dict[str, str]:
    """Tags of an evaluation: the training's run, as the one above when both stand at the same place."""
    if training_dir is None:
        return {}
    try:
        stored = json.loads((Path(training_dir) / "mlflow_run.json").read_text(encoding="utf-8"))
        tags = {"training.run_id": str(stored["run_id"])}
    except (OSError, ValueError, KeyError):
        return {}
    if (stored.get("experiment"), stored.get("tracking_uri")) == (experiment, tracking_uri):
        tags["mlflow.parentRunId"] = tags["training.run_id"]
    return tags


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
