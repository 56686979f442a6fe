"""The few things asked of MLflow itself, which is imported at the first use."""

from __future__ import annotations

import copy
import json
import logging
import os
import shutil
import tempfile
import warnings
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from .whole_database import make_whole_database

__all__ = [
    "default_tracking_uri",
    "export_model",
    "get_or_create_experiment",
    "global_address",
    "log_datasets",
    "log_pyfunc",
    "no_links",
    "no_statistics",
    "open_client",
    "short_patience",
]

_SQLITE = "sqlite:///"
# MLflow's own defaults repeat a request for some four minutes, which a training would have to sit out.
_PATIENCE = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1", "MLFLOW_HTTP_REQUEST_TIMEOUT": "30"}


def default_tracking_uri(output_dir: Path) -> str:
    """A data base in the results folder: works at once, offline and without a server."""
    return f"{_SQLITE}{(output_dir / 'mlruns.db').as_posix()}"


@contextmanager
def short_patience() -> Iterator[None]:
    """Within the block MLflow's requests give up soon; values set by the user in the environment win."""
    added = {name: value for name, value in _PATIENCE.items() if name not in os.environ}
    os.environ.update(added)
    try:
        yield
    finally:
        for name in added:
            os.environ.pop(name, None)


def no_statistics() -> None:
    """Switch off MLflow's usage statistics, which go to its makers, unless asked for. Call before its import."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")


def open_client(tracking_uri: str) -> Any:
    """MLflow's client."""
    no_statistics()
    from mlflow import MlflowClient

    for name in ("mlflow.store.db.utils", "alembic"):  # some forty lines about tables that nobody asked for
        logging.getLogger(name).setLevel(logging.WARNING)
    make_whole_database(tracking_uri)
    return MlflowClient(tracking_uri)


def get_or_create_experiment(client: Any, name: str, tracking_uri: str) -> str:
    """The id of the experiment ``name``; with SQLite its artifacts lie in ``mlruns/`` beside it."""
    found = client.get_experiment_by_name(name)
    if found is None:
        place = None
        if tracking_uri.startswith(_SQLITE):
            place = (Path(tracking_uri[len(_SQLITE) :]).absolute().parent / "mlruns").as_uri()
        try:
            return client.create_experiment(name, artifact_location=place)
        except Exception:  # another process may have made it a moment ago
            found = client.get_experiment_by_name(name)
            if found is None:
                raise
    if found.lifecycle_stage == "deleted":
        client.restore_experiment(found.experiment_id)
    return found.experiment_id


def log_datasets(client: Any, run_id: str, datasets: Sequence[Mapping[str, Any]]) -> None:
    """Make data sets appear in MLflow's Dataset column.

    Args:
        datasets: each with ``name``, ``digest`` (SHA-256 in hex), ``context`` (``"training"``, ``"testing"`` ...) and
            ``profile`` (plain values).
    """
    from mlflow.entities import Dataset, DatasetInput, InputTag

    inputs = []
    for entry in datasets:
        dataset = Dataset(
            name=entry["name"],
            digest=entry["digest"][:8],
            source_type="local",
            source=json.dumps({"sha256": entry["digest"]}),
            profile=json.dumps(entry["profile"]),
        )
        tags = [InputTag("mlflow.data.context", entry["context"])]
        inputs.append(DatasetInput(dataset=dataset, tags=tags))
    client.log_inputs(run_id, datasets=inputs)


@contextmanager
def no_links() -> Iterator[None]:
    """Within the block MLflow does not print where a run can be seen: once a training is enough."""
    name = "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT"
    if name in os.environ:
        yield
        return
    os.environ[name] = "true"
    try:
        yield
    finally:
        os.environ.pop(name, None)


@contextmanager
def global_address(tracking_uri: str | None) -> Iterator[None]:
    """Within the block MLflow's functions that take no address use this one, registry included (None: as it is)."""
    import mlflow

    # MLflow puts its address into the environment, where the next training of this process would take it for the user's
    before = os.environ.get("MLFLOW_TRACKING_URI")
    if tracking_uri is not None:
        mlflow.set_tracking_uri(tracking_uri)
    try:
        with warnings.catch_warnings(), no_links():
            warnings.simplefilter("ignore")  # type hints and axes: nothing that the user could mend
            yield
    finally:
        mlflow.set_tracking_uri(before)


@contextmanager
def _active_run(client: Any, run_id: str) -> Iterator[None]:
    """MLflow logs models to its active run only, in whose experiment they are filed."""
    import mlflow

    status = client.get_run(run_id).info.status
    try:
        with global_address(client.tracking_uri), mlflow.start_run(run_id=run_id):
            yield
    finally:
        client.update_run(run_id, status=status)  # leaving the block has closed the run


def export_model(client: Any, run_id: str, network: torch.nn.Module, example: torch.Tensor, name: str) -> bool:
    """Log ``network`` as an MLflow model in the ``pt2`` format, with requirements given and not guessed."""
    import mlflow
    import mlflow.pytorch

    # The exported program holds the graph itself: whoever loads it needs neither MONAI nor this package.
    requirements = [f"mlflow=={mlflow.__version__}", f"torch=={torch.__version__.split('+')[0]}", "numpy"]
    frozen = copy.deepcopy(network).cpu().eval().requires_grad_(False)
    with _active_run(client, run_id):
        mlflow.pytorch.log_model(
            frozen,
            name=name,
            input_example=example.detach().cpu().numpy(),
            pip_requirements=requirements,
            serialization_format="pt2",
        )
    return True


def log_pyfunc(client: Any, run_id: str, folder: str | Path, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Log a folder and the code that reads it as an MLflow ``pyfunc`` model; nothing is pickled.

    Args:
        folder: what the model is made of, e.g. weights and configuration: its artifact ``"bundle"``.
        settings: plain values: ``name``; ``code``, file that calls ``mlflow.models.set_model``; ``package``, folder
            of the package it imports, given to it as the artifact ``"package"``, a ZIP file; ``requirements``;
            ``params``, defaults of the call's parameters; ``example``, an input; ``register``, name in the model
            registry or None; ``key_metric`` (``name``, ``value``, ``split``) for the alias ``champion``; ``tags``.

    Returns:
        ``{"uri": ..., "model_id": ...}``, and with ``register`` its ``"version"`` and whether it is the ``"champion"``.
    """
    import mlflow.pyfunc
    from mlflow.models import ModelSignature, infer_signature
    from mlflow.types.schema import AnyType, ColSpec, Schema

    params = infer_signature([""], params=dict(settings["params"])).params if settings["params"] else None
    anything = Schema([ColSpec(AnyType())])
    signature = ModelSignature(inputs=anything, outputs=anything, params=params)
    # With this MLflow hands the input on as it is; it would put an array into a table otherwise, and refuse volumes.
    signature._is_signature_from_type_hint = True
    with tempfile.TemporaryDirectory() as code, _quiet("mlflow"):
        package = _zipped(Path(settings["package"]), Path(code))
        # MLflow notes where the file was: not the folder of an installation, which may say whose it is
        script = shutil.copy(settings["code"], code)
        with _active_run(client, run_id):
            info = mlflow.pyfunc.log_model(
                name=settings["name"],
                python_model=str(script),
                artifacts={"bundle": str(folder), "package": str(package)},
                signature=signature,
                input_example=settings["example"],
                pip_requirements=list(settings["requirements"]),
                metadata=dict(settings["tags"]),
            )
            answer: dict[str, Any] = {"uri": info.model_uri, "model_id": info.model_id}
            if settings.get("register"):
                from .model_registry import register_version

                answer |= register_version(
                    client, info, run_id, settings["register"], settings.get("key_metric") or {}, settings["tags"]
                )
    return answer


def _zipped(package: Path, folder: Path) -> Path:
    """The modules of a package as one file that Python can import from: hundreds of uploads would take minutes."""
    path = folder / f"{package.name}.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for module in sorted(package.rglob("*.py")):
            archive.write(module, module.relative_to(package.parent))
    return path


@contextmanager
def _quiet(name: str) -> Iterator[None]:
    """Within the block a logger says warnings only."""
    found = logging.getLogger(name)
    before = found.level
    found.setLevel(logging.ERROR)
    try:
        yield
    finally:
        found.setLevel(before)
