"""One tracked experiment: several training stages and their evaluation as a single MLflow run.

``monai.handlers.MLFlowHandler`` is not the base: it binds one run to one engine, sends every value in a
request of its own, cannot continue a run by id after a kill, and logs neither images nor models.
"""

from __future__ import annotations

import atexit
import json
import os
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from monai_semgan.utils import InputError

from .metrics_csv import MetricsCsv
from .mlflow_client import default_tracking_uri, export_model, log_dataset
from .mlflow_link import MlflowLink
from .run_environment import datalist_hash, describe_device, environment_tags, flatten_params

__all__ = ["ExperimentRun"]

_SHORTEST_PAUSE = 2.0  # seconds between two deliveries of metrics
_LONGEST_PAUSE = 60.0
_SHARE_OF_TIME = 0.005  # deliveries may take this share of the training time
_MOST_WAITING = 100_000  # metric values kept for a server that is away


class ExperimentRun:
    """Tracks an experiment in MLflow without being asked, and never gets in the way of the training.

    Nothing happens before the first use: no import of MLflow, no file. Metrics always go to
    ``<output_dir>/metrics.csv`` too. When MLflow fails, one warning is given, the training goes on, and
    parameters, tags and metrics are delivered once MLflow answers again. Values are sent in batches, rarely
    enough to stay below one per cent of the training time.

    The run's id is kept in ``<output_dir>/mlflow_run.json``: a training that was killed or has failed
    continues its run when it is resumed; after a finished one a new run is made.

    Args:
        output_dir: folder of the experiment's results.
        experiment: MLflow's experiment name: the bundle's name.
        run_name: shown in the list of runs, e.g. ``"SemanticGAN L8 64px seed0"``; the time is added.
        params: settings, nested as they are; logged flat.
        tags: further tags. Code, package versions and command are tagged anyway.
        tracking_uri: where to track; by default the environment's ``MLFLOW_TRACKING_URI``, else
            ``sqlite:///<output_dir>/mlruns.db`` with the artifacts beside it in ``mlruns/``.
        artifacts: files to keep with the run in ``config/``, e.g. the bundle's configuration.
        device: named in the tags.
        continue_run: ``"unfinished"`` (see above), ``"always"`` for an evaluation that belongs to a finished
            training in the same folder, or ``"never"``.
        enabled: False switches MLflow and the CSV off; by default they are on in the first process (rank 0).

    Raises:
        InputError: When ``continue_run`` is none of the three.

    Example:
        >>> run = ExperimentRun("eval", "ct_liver", "SemanticGAN L8 64px seed0")  # doctest: +SKIP
        >>> run.log_metrics({"gan/loss": 0.7}, step=640)  # doctest: +SKIP
        >>> run.finish()  # doctest: +SKIP
    """

    def __init__(
        self,
        output_dir: str | os.PathLike,
        experiment: str,
        run_name: str = "run",
        params: Mapping[str, Any] | None = None,
        tags: Mapping[str, Any] | None = None,
        tracking_uri: str | None = None,
        artifacts: Sequence[str | os.PathLike] = (),
        device: torch.device | str | None = None,
        continue_run: str = "unfinished",
        enabled: bool | None = None,
    ) -> None:
        if continue_run not in ("unfinished", "always", "never"):
            raise InputError("continue_run", continue_run, "'unfinished', 'always' or 'never'")
        self.output_dir = Path(output_dir).absolute()
        self.enabled = _is_first_process() if enabled is None else enabled
        self.csv = MetricsCsv(self.output_dir / "metrics.csv")
        uri = tracking_uri or os.environ.get("MLFLOW_TRACKING_URI") or default_tracking_uri(self.output_dir)
        id_file = self.output_dir / "mlflow_run.json"
        self._link = MlflowLink(
            id_file, experiment, run_name, uri, continue_run, self._first_tags, self._opened
        )
        self._device = device
        self._artifacts = [Path(path) for path in artifacts]
        self._params = flatten_params(params or {})
        self._tags = flatten_params(tags or {})
        self._unsent_params: dict[str, str] = {}
        self._unsent_tags: dict[str, str] = {}
        self._unsent_metrics: list[tuple[str, float, int, int]] = []
        self._process = os.getpid()
        self._next_delivery = 0.0

    @property
    def run_id(self) -> str | None:
        """MLflow's id of the run; None before the first use and while MLflow was never reached."""
        return self._link.run_id

    @property
    def tracking_uri(self) -> str:
        """Where the run is tracked."""
        return self._link.tracking_uri

    def start(self, fresh: bool = False) -> None:
        """Begin or continue the run now; otherwise the first logging call does it.

        Args:
            fresh: the training starts from scratch: an unfinished run of an earlier process is closed as
                FAILED and a new one is made.
        """
        if self.enabled and fresh:
            self._link.begin_anew()
        self.flush()

    def finish(self, status: str = "FINISHED") -> None:
        """Deliver what waits and close the run as ``"FINISHED"``, ``"FAILED"`` or ``"KILLED"``.

        Later logging still reaches the closed run. A run that has failed stays so.
        """
        if not self.enabled or (self.run_id is None and not self._anything_unsent()):
            return
        self.flush(now=True)
        if self._link.status == "RUNNING" or (self._link.status == "FINISHED" and status != "FINISHED"):
            self._link.close(status)
        atexit.unregister(self._at_exit)

    def __enter__(self) -> ExperimentRun:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: Any) -> None:
        self.finish(_status(error))

    def log_params(self, params: Mapping[str, Any]) -> None:
        """Add settings, nested or flat. MLflow forbids changing one: see ``_deliver_params``."""
        self._add(flatten_params(params), self._params, self._unsent_params)

    def set_tags(self, tags: Mapping[str, Any]) -> None:
        """Set tags, nested or flat."""
        self._add(flatten_params(tags), self._tags, self._unsent_tags)

    def log_metrics(self, metrics: Mapping[str, float], step: int) -> None:
        """Log numbers at ``step`` (images seen): at once to the CSV, with the next delivery to MLflow."""
        if not self.enabled or not metrics:
            return
        now = time.time()
        values = {name: float(value) for name, value in metrics.items()}
        self.csv.append(int(step), now, values)
        self._unsent_metrics += [(name, value, int(now * 1000), int(step)) for name, value in values.items()]
        del self._unsent_metrics[:-_MOST_WAITING]
        if time.monotonic() >= self._next_delivery:
            self.flush()

    def log_image(self, array: np.ndarray, key: str, step: int) -> None:
        """Log a uint8 picture ``(H, W, 3)``; one key is a series over ``step`` in MLflow's pages."""
        image = np.ascontiguousarray(array)
        self._attempt(lambda client, run_id: client.log_image(run_id, image, key=key, step=int(step)))

    def log_artifact(self, path: str | os.PathLike, folder: str | None = None) -> None:
        """Keep a copy of a file with the run, in ``folder`` of its artifacts."""
        self._attempt(lambda client, run_id: client.log_artifact(run_id, os.fspath(path), folder))

    def log_text(self, text: str, name: str) -> None:
        """Keep a text with the run as the file ``name``, e.g. ``"evaluation/summary.md"``."""
        self._attempt(lambda client, run_id: client.log_text(run_id, text, name))

    def log_config(self, config: Any, name: str = "config/config.json") -> None:
        """Keep a configuration with the run as JSON; what JSON does not know is written as text."""
        self.log_text(json.dumps(config, indent=2, default=str), name)

    def log_datalist(self, datalist: Mapping[str, Any]) -> None:
        """Record the split: its hash as the tag ``split.sha256``, and how many scans each part has.

        Names of scans may tell who the patient is: they are hashed, never sent.
        """
        digest, counts = datalist_hash(datalist), _count(datalist)
        self.set_tags({"split.sha256": digest})
        self.log_params({"scans": counts})
        name = self._link.experiment
        self._attempt(lambda client, run_id: log_dataset(client, run_id, name, digest, counts))

    def log_model(self, network: torch.nn.Module, example: torch.Tensor, name: str = "model") -> bool:
        """Log the deployable network as an MLflow model; True when that worked.

        It is kept as a ``torch.export`` program (MLflow's ``pt2`` format), not pickled: loading it runs no
        code of the file. A network that cannot be exported is left out with a warning, so log its weights
        with ``log_artifact("models/model.pt", "model_weights")`` in any case.

        Args:
            network: takes one tensor, gives a tensor; a copy on the CPU is exported.
            example: an input ``(B, C, H, W)``; with B at least 2 the batch size stays free.
            name: the model's name in the run.
        """
        if not self.enabled:
            return False
        answer = self._link.attempt(
            lambda client, run_id: export_model(client, run_id, network, example, name),
            what=f"the network as an MLflow model named {name!r}",
        )
        return bool(answer)

    def rewind(self, step: int, prefix: str = "") -> None:
        """Drop what the CSV holds of ``prefix...`` beyond ``step``: a resumed training logs it again."""
        if self.enabled:
            self.csv.rewind(step, prefix)

    def flush(self, now: bool = False) -> None:
        """Deliver everything that waits; ``now`` even while MLflow is given a rest after a failure."""
        if not self.enabled:
            return
        begin = time.monotonic()
        self._link.attempt(lambda client, run_id: self._deliver(), now)
        pause = (time.monotonic() - begin) / _SHARE_OF_TIME
        self._next_delivery = time.monotonic() + min(max(pause, _SHORTEST_PAUSE), _LONGEST_PAUSE)

    def _attempt(self, action: Any) -> None:
        if self.enabled:
            self._link.attempt(action)

    def _first_tags(self) -> dict[str, str]:
        device = {} if self._device is None else {"device": describe_device(self._device)}
        return environment_tags() | device

    def _opened(self) -> None:
        """The run is there: everything known goes to it. Called by the link."""
        self._unsent_params, self._unsent_tags = dict(self._params), dict(self._tags)
        atexit.unregister(self._at_exit)
        if self._link.status == "RUNNING":
            # An exception outside the engines or a forgotten finish() must not leave the run open for ever.
            atexit.register(self._at_exit)
        for path in self._artifacts:
            if path.is_file():
                self._link.client.log_artifact(self.run_id, os.fspath(path), "config")

    def _deliver(self) -> None:
        """Send parameters, tags and metrics in as few requests as MLflow allows."""
        from mlflow.entities import Metric, RunTag

        self._deliver_params()
        tags = [RunTag(name, value) for name, value in self._unsent_tags.items()]
        for start in range(0, len(tags), 100):
            self._link.client.log_batch(self.run_id, tags=tags[start : start + 100], synchronous=True)
        self._unsent_tags.clear()
        while self._unsent_metrics:
            part = [Metric(*value) for value in self._unsent_metrics[:1000]]
            self._link.client.log_batch(self.run_id, metrics=part, synchronous=True)
            del self._unsent_metrics[: len(part)]

    def _deliver_params(self) -> None:
        """MLflow forbids changing a parameter: the first stays, a new one becomes ``resumed.<name>``."""
        from mlflow.entities import Param

        known = self._link.known_params
        new = {name: value for name, value in self._unsent_params.items() if name not in known}
        changed = {n: v for n, v in self._unsent_params.items() if n in known and known[n] != v}
        self._unsent_tags.update({f"resumed.{name}": value for name, value in changed.items()})
        items = [Param(name, value) for name, value in new.items()]
        for start in range(0, len(items), 100):
            self._link.client.log_batch(self.run_id, params=items[start : start + 100], synchronous=True)
        known.update(new)
        self._unsent_params.clear()

    def _add(self, new: dict[str, str], kept: dict[str, str], unsent: dict[str, str]) -> None:
        kept.update(new)
        if self.enabled:
            unsent.update(new)
            self.flush()

    def _anything_unsent(self) -> bool:
        return bool(self._unsent_params or self._unsent_tags or self._unsent_metrics)

    def _at_exit(self) -> None:
        if os.getpid() == self._process and self._link.status == "RUNNING":
            # Set by Python when the process ends on an exception that nobody caught.
            self.finish(_status(getattr(sys, "last_value", None)))


def _status(error: BaseException | None) -> str:
    if error is None:
        return "FINISHED"
    return "KILLED" if isinstance(error, KeyboardInterrupt) else "FAILED"


def _is_first_process() -> bool:
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        return torch.distributed.get_rank() == 0
    return os.environ.get("RANK", "0") == "0"


def _count(items: Any) -> Any:
    if isinstance(items, Mapping):
        return {section: _count(inner) for section, inner in items.items()}
    return len(items)
