"""The few things asked of MLflow itself, which is imported at the first use."""

from __future__ import annotations

import copy
import json
import logging
import os
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

__all__ = [
    "default_tracking_uri",
    "export_model",
    "get_or_create_experiment",
    "log_dataset",
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


def open_client(tracking_uri: str) -> Any:
    """MLflow's client. Its usage statistics, which it would send to its makers, are off unless asked for."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    from mlflow import MlflowClient

    for name in ("mlflow.store.db.utils", "alembic"):  # some forty lines about tables that nobody asked for
        logging.getLogger(name).setLevel(logging.WARNING)
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


def log_dataset(client: Any, run_id: str, name: str, digest: str, counts: Mapping[str, Any]) -> None:
    """Make the split appear in MLflow's Dataset column, by name, digest and counts."""
    from mlflow.entities import Dataset, DatasetInput, InputTag

    dataset = Dataset(
        name=name,
        digest=digest[:8],
        source_type="local",
        source=json.dumps({"split_sha256": digest}),
        profile=json.dumps(counts),
    )
    tags = [InputTag("mlflow.data.context", "training")]
    client.log_inputs(run_id, datasets=[DatasetInput(dataset=dataset, tags=tags)])


def export_model(
    client: Any, run_id: str, network: torch.nn.Module, example: torch.Tensor, name: str
) -> bool:
    """Log ``network`` as an MLflow model in the ``pt2`` format, with requirements given and not guessed."""
    import mlflow
    import mlflow.pytorch

    # The exported program holds the graph itself: whoever loads it needs neither MONAI nor this package.
    requirements = [f"mlflow=={mlflow.__version__}", f"torch=={torch.__version__.split('+')[0]}", "numpy"]
    frozen = copy.deepcopy(network).cpu().eval().requires_grad_(False)
    before, status = mlflow.get_tracking_uri(), client.get_run(run_id).info.status
    mlflow.set_tracking_uri(client.tracking_uri)
    try:
        # MLflow logs models to its active run only, in whose experiment they are filed.
        with mlflow.start_run(run_id=run_id), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # type hints and axes: nothing that the user could mend
            mlflow.pytorch.log_model(
                frozen,
                name=name,
                input_example=example.detach().cpu().numpy(),
                pip_requirements=requirements,
                serialization_format="pt2",
            )
        return True
    finally:
        mlflow.set_tracking_uri(before)
        client.update_run(run_id, status=status)  # leaving the block has closed the run
