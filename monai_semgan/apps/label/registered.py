"""Weights of a registered MLflow model for a bundle: fetched when the server is started, kept in the app's folder."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from ...handlers import RegisteredVersion, fetch_model_files, find_version, parse_model_address
from ...utils import InputError, write_json_atomic
from ...utils.failures import describe_failure
from ...utils.names import safe_name
from .app_folder import BundleSource
from .model import ServedModel
from .versions import ModelVersions

__all__ = ["fetch_registered"]

NOTE = "registered.json"
WEIGHTS = "models/model.pt"


def fetch_registered(
    source: BundleSource, app: Path, registry: str | None = None, say: Callable[[str], None] = print
) -> BundleSource:
    """The bundle with the weights of the registered version that it asks for.

    The registry is asked once, and what it gives is pinned: an alias that moves on counts from the next start. Weights
    and their settings are taken, the configuration is the bundle's own: nothing that was fetched is run. A version is
    kept whole, with its hash, in ``<app>/model/<bundle>/registered/``; one that is there is not fetched again, and
    answers while MLflow is away.

    Args:
        source: ``weights`` is ``models:/<name>/<version>`` or ``models:/<name>@<alias>``.
        app: the app's folder.
        registry: address of the MLflow server or data base; by default ``MLFLOW_TRACKING_URI``.
        say: takes a line about what is served.

    Returns:
        ``source`` with ``weights`` a file, and ``registered`` the address of the version.

    Raises:
        InputError: no address of MLflow, no such model, MLflow is away and the version was never fetched, or the
            model is one of another bundle, of other organs, or no weights that can be read safely.
    """
    uri = registry or os.environ.get("MLFLOW_TRACKING_URI", "")
    if not uri:
        raise InputError(
            f"{source.name}: {source.weights}", got="no address of MLflow",
            wanted="the server or data base where it is registered", fix="--registry URI, or set MLFLOW_TRACKING_URI",
        )  # fmt: skip
    name, number, alias = parse_model_address(source.weights)
    folder = app / "model" / source.name / "registered" / hashlib.sha256(uri.encode()).hexdigest()[:8] / safe_name(name)
    try:
        version = find_version(source.weights, uri)
    except ConnectionError as error:
        reason = str(error).replace(uri.rstrip("/"), _shown(uri).rstrip("/"))  # MLflow names whole addresses
        kept = _kept(folder, name, number or _aliases(folder).get(alias, ""))
        if kept is None:
            raise InputError(
                f"MLflow at {_shown(uri)}", got=reason, wanted=f"an answer: {source.weights} was never fetched",
                fix="start the server, or see that the address is that of the training",
            ) from error  # fmt: skip
        version = kept
        say(f"WARNING: MLflow at {_shown(uri)} is away ({reason}); {version.address}, fetched earlier, is served")
    place = folder / version.version
    if _kept(folder, name, version.version) == version:
        _check(source, version, place, say)
    else:
        _fetch(source, version, uri, place, say)
    if alias:
        write_json_atomic(folder / "aliases.json", {**_aliases(folder), alias: version.version})
    weights = place / WEIGHTS
    say(f"{source.name}: {version.address}{f' ({alias})' if alias else ''}{_score(version)}")
    served = ModelVersions(app / "model" / source.name, weights).number()
    if served:
        say(f"NOTE: {source.name}: version {served}, trained here, answers; for {version.address} write 0 into "
            f"{app / 'model' / source.name / 'served.json'}")  # fmt: skip
    return replace(source, weights=str(weights), registered=version.address)


def _fetch(source: BundleSource, version: RegisteredVersion, uri: str, place: Path, say: Callable[[str], None]) -> None:
    """Fetch into a folder beside, which takes its place when it is whole and fits."""
    place.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".fetching-", dir=place.parent) as temporary:
        made = fetch_model_files(version.address, Path(temporary) / "bundle", uri)
        _check(source, version, made, say)
        found = {"name": version.name, "version": version.version, "source": version.source,
                 "tags": dict(version.tags), "sha256": _hashes(made)}  # fmt: skip
        write_json_atomic(made / NOTE, found)
        shutil.rmtree(place, ignore_errors=True)
        os.replace(made, place)


def _kept(folder: Path, name: str, version: str) -> RegisteredVersion | None:
    """The version that lies there, if it is the one meant and its files are as they were fetched."""
    try:
        note = json.loads((folder / version / NOTE).read_text(encoding="utf-8"))
        found = RegisteredVersion(note["name"], note["version"], note["source"], note["tags"])
        if version and (found.name, found.version) == (name, version) and _hashes(folder / version) == note["sha256"]:
            return found
    except (OSError, ValueError, KeyError, TypeError):
        pass
    return None


def _hashes(folder: Path) -> dict[str, str]:
    files = [folder / WEIGHTS, (folder / WEIGHTS).with_suffix(".json")]
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def _aliases(folder: Path) -> dict[str, str]:
    """Alias to the version that it meant when it was last asked for."""
    try:
        found = json.loads((folder / "aliases.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return {str(alias): str(version) for alias, version in found.items()} if isinstance(found, dict) else {}


def _check(source: BundleSource, version: RegisteredVersion, fetched: Path, say: Callable[[str], None]) -> None:
    """Refuse what is no model of this bundle; tell when it was logged with other settings of inference."""
    root = Path(source.root)
    what = f"bundle {source.name}: {version.address}"
    ours, theirs = (_identity(folder, what) for folder in (root, fetched))
    if ours["organs"] != theirs["organs"]:
        raise InputError(
            what, got=f"a model of {_listed(theirs['organs'])}", wanted=f"one of {_listed(ours['organs'])}"
        )
    if ours["name"] != theirs["name"]:
        raise InputError(what, got=f"a model of the bundle {theirs['name']!r}", wanted=f"one of {ours['name']!r}")
    try:
        ServedModel(root, "inference.json", ModelVersions(fetched / "none", fetched / WEIGHTS))
    except Exception as error:  # whatever MONAI wraps around it
        raise InputError(
            what, got=describe_failure(error), wanted="weights that fit the bundle's configs/inference.json"
        ) from error
    other = sorted(key for key in {*ours["settings"], *theirs["settings"]}
                   if ours["settings"].get(key) != theirs["settings"].get(key))  # fmt: skip
    if other:
        say(f"NOTE: {what} was logged with other values of {', '.join(other)} in configs/inference.json; the bundle's "
            "own count here")  # fmt: skip


def _identity(folder: Path, what: str) -> dict[str, Any]:
    """Name, organs and settings of inference of a bundle's folder."""
    try:
        metadata, settings = (
            json.loads((folder / "configs" / name).read_text(encoding="utf-8"))
            for name in ("metadata.json", "inference.json")
        )
        outputs = next(iter(metadata["network_data_format"]["outputs"].values()))
        organs = {str(name): int(index) for index, name in outputs["channel_def"].items() if int(index) > 0}
        return {"name": str(metadata.get("name", "")), "organs": organs, "settings": dict(settings)}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, StopIteration) as error:
        raise InputError(what, got=describe_failure(error), wanted="metadata.json and inference.json") from error


def _listed(organs: dict[str, int]) -> str:
    return (
        ", ".join(f"{name} ({value})" for name, value in sorted(organs.items(), key=lambda item: item[1])) or "nothing"
    )


def _score(version: RegisteredVersion) -> str:
    """Its key metric, as far as it is known."""
    name, value = (version.tags.get(f"key_metric.{part}", "") for part in ("name", "value"))
    try:
        return f", {name} {float(value):.3f}"
    except ValueError:
        return ""


def _shown(uri: str) -> str:
    """An address without the name and password that may be in it."""
    try:
        parts = urlsplit(uri)
    except ValueError:
        return "its address"
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl() if "@" in parts.netloc else uri
