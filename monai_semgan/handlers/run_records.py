"""What can be sent to an MLflow run, as plain records: the same whether sent at once or kept for later.

``{"kind": ..., "stage": nested run or "", "time": ms since 1970, ...}`` with, by kind: ``metrics`` (``values``: name,
value, time in ms, step), ``params`` and ``tags`` (``values``), ``file`` (``file``, ``folder``), ``image`` (``array`` or
``file``, ``key``, ``step``), ``text`` (``text``, ``name``), ``table`` (``rows``, ``name``), ``datasets``
(``datasets``), ``model`` (``file``: folder, and what ``log_pyfunc`` wants) and ``stage`` (``status``).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from .mlflow_client import log_datasets, log_pyfunc, no_links

__all__ = ["perform"]

_BATCH = 100  # parameters or tags in a request: MLflow's own limit


def perform(link: Any, record: Mapping[str, Any]) -> None:
    """Send one record to the run of an ``MlflowLink``."""
    run_id = link.run_of(record.get("stage", ""), record["time"])
    _ACTIONS[record["kind"]](link, run_id, record)


def _metrics(link: Any, run_id: str, record: Mapping[str, Any]) -> None:
    from mlflow.entities import Metric

    metrics = [Metric(name, value, time, step) for name, value, time, step in record["values"]]
    if link.known_points is not None:
        metrics = link.known_points.new(link.client, run_id, metrics)
    link.client.log_batch(run_id, metrics=metrics, synchronous=True)


def _params(link: Any, run_id: str, record: Mapping[str, Any]) -> None:
    """MLflow forbids changing a parameter: the first stays, a new one becomes the tag ``resumed.<name>``."""
    from mlflow.entities import Param

    known, values = link.known_params, record["values"]
    new = [Param(name, value) for name, value in values.items() if name not in known]
    for start in range(0, len(new), _BATCH):
        link.client.log_batch(run_id, params=new[start : start + _BATCH], synchronous=True)
    changed = {f"resumed.{n}": v for n, v in values.items() if n in known and known[n] != v}
    _tags(link, run_id, {"values": changed})
    known.update({param.key: param.value for param in new})


def _tags(link: Any, run_id: str, record: Mapping[str, Any]) -> None:
    from mlflow.entities import RunTag

    tags = [RunTag(name, value) for name, value in record["values"].items()]
    for start in range(0, len(tags), _BATCH):
        link.client.log_batch(run_id, tags=tags[start : start + _BATCH], synchronous=True)


def _file(link: Any, run_id: str, record: Mapping[str, Any]) -> None:
    link.client.log_artifact(run_id, record["file"], record.get("folder"))


def _image(link: Any, run_id: str, record: Mapping[str, Any]) -> None:
    picture = record.get("array")
    if picture is None:
        from PIL import Image

        with Image.open(record["file"]) as opened:
            picture = np.asarray(opened.convert("RGB"))
    link.client.log_image(run_id, picture, key=record["key"], step=record["step"], timestamp=record["time"])


def _text(link: Any, run_id: str, record: Mapping[str, Any]) -> None:
    link.client.log_text(run_id, record["text"], record["name"])


def _table(link: Any, run_id: str, record: Mapping[str, Any]) -> None:
    """A table as MLflow's pages show it. Its own ``log_table`` would append to one of an earlier evaluation."""
    rows = record["rows"]
    columns = list(dict.fromkeys(name for row in rows for name in row))
    table = {"columns": columns, "data": [[_cell(row.get(name)) for name in columns] for row in rows]}
    link.client.log_text(run_id, json.dumps(table, default=str), record["name"])
    tag = "mlflow.loggedArtifacts"
    known = json.loads(link.client.get_run(run_id).data.tags.get(tag, "[]"))
    entry = {"path": record["name"], "type": "table"}
    if entry not in known:
        link.client.set_tag(run_id, tag, json.dumps([*known, entry]))


def _cell(value: Any) -> Any:
    """JSON has no NaN and MLflow's page no infinity."""
    return None if isinstance(value, float) and not np.isfinite(value) else value


def _datasets(link: Any, run_id: str, record: Mapping[str, Any]) -> None:
    log_datasets(link.client, run_id, record["datasets"])


def _model(link: Any, run_id: str, record: Mapping[str, Any]) -> None:
    log_pyfunc(link.client, run_id, record["file"], record["model"])


def _stage(link: Any, run_id: str, record: Mapping[str, Any]) -> None:
    with no_links():
        link.client.set_terminated(run_id, record["status"], record["time"])


_ACTIONS = {
    "metrics": _metrics,
    "params": _params,
    "tags": _tags,
    "file": _file,
    "image": _image,
    "text": _text,
    "table": _table,
    "datasets": _datasets,
    "model": _model,
    "stage": _stage,
}
