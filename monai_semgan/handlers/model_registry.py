"""MLflow's model registry: versions, and the alias of the best one."""

from __future__ import annotations

import logging
import math
import re
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..utils import InputError
from .mlflow_client import global_address, no_statistics, open_client, short_patience

__all__ = [
    "CHAMPION",
    "RegisteredVersion",
    "fetch_model_files",
    "find_version",
    "is_better",
    "parse_model_address",
    "register_version",
]

CHAMPION = "champion"
_ADDRESS = re.compile(r"models:/(?P<name>[^/@:]+)(?:/(?P<version>[0-9]{1,9})|@(?P<alias>[^/@:]+))")
_NOT_THERE = ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE")  # the second is what an unknown alias gives

logger = logging.getLogger(__name__)


def register_version(
    client: Any, info: Any, run_id: str, name: str, key_metric: Mapping[str, Any], tags: Mapping[str, str]
) -> dict[str, Any]:
    """Make a logged model the next version of a registered one, and the champion when it is better.

    Args:
        client: MLflow's client.
        info: what MLflow returned when the model was logged.
        run_id: the model's run.
        name: of the registered model; made when it is not there.
        key_metric: ``name`` and ``value`` (high is good) of the metric that decides, and ``split``, hash of the data it
            was measured on; without a value the champion stays.
        tags: kept with the version.

    Returns:
        ``{"version": "3", "champion": bool}``.
    """
    from mlflow.exceptions import MlflowException

    try:
        client.create_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    own = {f"key_metric.{part}": str(value) for part, value in key_metric.items() if value is not None}
    made = client.create_model_version(
        name, info.model_uri, run_id=run_id, tags={**tags, **own}, model_id=info.model_id
    )
    try:
        champion = client.get_model_version_by_alias(name, CHAMPION)
    except MlflowException:  # there is none, or the model it was has been deleted
        champion = None
    better = is_better(own, None if champion is None else champion.tags, name)
    if better:
        client.set_registered_model_alias(name, CHAMPION, made.version)
    return {"version": str(made.version), "champion": better}


def is_better(new: Mapping[str, str], champion: Mapping[str, str] | None, name: str = "model") -> bool:
    """Whether a version's key metric makes it the champion: the first one with a number, then every higher one.

    Numbers of another metric or of other data say nothing about each other: the champion stays, with a warning.
    """
    value = _number(new)
    if value is None:
        logger.warning("%s: the new version has no key metric, so the champion stays as it is", name)
        return False
    if champion is None or _number(champion) is None:
        return True
    for part in ("name", "split"):
        ours, theirs = new.get(f"key_metric.{part}"), champion.get(f"key_metric.{part}")
        if ours != theirs:
            logger.warning(
                "%s: the champion's key metric was measured otherwise (%s %s, now %s), so it stays; set the alias by "
                "hand if the new version is the better one", name, part, theirs, ours,
            )  # fmt: skip
            return False
    return value > (_number(champion) or -math.inf)


@dataclass(frozen=True)
class RegisteredVersion:
    """A version of a registered model, as the registry has it.

    Args:
        name: of the registered model.
        version: its number.
        source: MLflow's address of what was logged: another one is another model, whatever its number.
        tags: given when it was registered, its key metric among them.
    """

    name: str
    version: str
    source: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)

    @property
    def address(self) -> str:
        """``models:/<name>/<version>``, which stays the same when an alias moves on."""
        return f"models:/{self.name}/{self.version}"


def parse_model_address(address: str) -> tuple[str, str, str]:
    """Name, version and alias of ``models:/<name>/<version>`` or ``models:/<name>@<alias>``; what it lacks is empty.

    Raises:
        InputError: it is neither.
    """
    found = _ADDRESS.fullmatch(address)
    if found is None:
        raise InputError(
            "MLflow model",
            got=address,
            wanted="models:/NAME/VERSION or models:/NAME@ALIAS, e.g. models:/ct_liver@champion",
        )
    return found["name"], found["version"] or "", found["alias"] or ""


def find_version(address: str, tracking_uri: str) -> RegisteredVersion:
    """Ask the registry which version an address means; nothing is fetched.

    Args:
        address: ``models:/<name>/<version>`` or ``models:/<name>@<alias>``.
        tracking_uri: of the MLflow server or data base.

    Raises:
        InputError: the address is none, or the registry has no such model, version or alias.
        ConnectionError: MLflow cannot be asked: the server is away, refuses, or there is no such data base.
    """
    name, version, alias = parse_model_address(address)
    place = tracking_uri.removeprefix("sqlite:///").partition("?")[0]
    if tracking_uri.startswith("sqlite:///") and not Path(place).is_file():
        raise ConnectionError(f"no data base {place}")  # MLflow would make an empty one
    no_statistics()
    from mlflow.exceptions import MlflowException

    try:
        with short_patience():
            client = open_client(tracking_uri)
            found = client.get_model_version_by_alias(name, alias) if alias else client.get_model_version(name, version)
    except MlflowException as error:
        if error.error_code not in _NOT_THERE:
            raise ConnectionError(_first_line(error)) from error
        raise InputError(
            f"MLflow model {address}", got=_first_line(error), wanted="a registered model of that name and version",
            fix="look at the Models page of MLflow",
        ) from error  # fmt: skip
    except Exception as error:
        raise ConnectionError(_first_line(error)) from error
    return RegisteredVersion(name, str(found.version), str(found.source), dict(found.tags))


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def _number(tags: Mapping[str, str]) -> float | None:
    try:
        value = float(tags["key_metric.value"])
    except (KeyError, ValueError):
        return None
    return value if math.isfinite(value) else None


def fetch_model_files(model_uri: str, folder: str | Path, tracking_uri: str | None = None) -> Path:
    """Copy the bundle folder of a logged model from MLflow: weights, their settings and the configuration.

    Args:
        model_uri: ``models:/<name>/<version>``, ``models:/<name>@champion`` or the address of a run's model.
        folder: where to; files of an earlier call are replaced.
        tracking_uri: of the MLflow server or data base; by default as in the environment.

    Returns:
        ``folder``, with ``models/model.pt``, ``models/model.json``, ``configs/inference.json`` and
        ``configs/metadata.json``.

    Raises:
        InputError: there is no such model, MLflow cannot be reached, or the model is none of this package.
    """
    try:
        no_statistics()
        import mlflow

        with short_patience(), global_address(tracking_uri), tempfile.TemporaryDirectory() as temporary:
            found = mlflow.artifacts.download_artifacts(artifact_uri=model_uri, dst_path=temporary)
            source = Path(found) / "artifacts"
            inner = next((path.parent.parent for path in sorted(source.rglob("models/model.pt"))), None)
            if inner is None:
                raise InputError(
                    f"MLflow model {model_uri}", got="no models/model.pt in it", wanted="a model of a bundle"
                )
            shutil.copytree(inner, folder, dirs_exist_ok=True)
    except InputError:
        raise
    except Exception as error:
        raise InputError(
            f"MLflow model {model_uri}", got=_first_line(error), wanted="models:/NAME/VERSION or models:/NAME@champion",
            fix="look at the Models page of MLflow, and see that MLFLOW_TRACKING_URI is that of the training",
        ) from error  # fmt: skip
    return Path(folder)
