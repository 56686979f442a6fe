"""One tracked experiment: several training stages and their evaluation as an MLflow run with runs below it.

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

from .console_log import ConsoleLog
from .metrics_csv import MetricsCsv, read_metrics
from .mlflow_client import default_tracking_uri, export_model, log_pyfunc
from .mlflow_link import MlflowLink
from .record_sender import RecordSender, now_ms
from .run_environment import (
    datalist_hash,
    describe_datasets,
    describe_device,
    environment_tags,
    flatten_params,
    hash_files,
    parent_tags,
)
from .run_records import perform
from .system_use import SystemUse

__all__ = ["ExperimentRun"]

_SHORTEST_PAUSE = 2.0  # seconds between two deliveries of metrics
_LONGEST_PAUSE = 60.0
_SHARE_OF_TIME = 0.005  # deliveries may take this share of the training time
_BATCH = 1000  # metric values in a request: MLflow's own limit


class ExperimentRun:
    """Tracks an experiment in MLflow without being asked, and never gets in the way of the training.

    Nothing happens before the first use: no import of MLflow, no file. Metrics always go to
    ``<output_dir>/metrics.csv`` too. When MLflow fails, one warning is given and the training goes on; everything is
    kept in ``<output_dir>/mlflow_unsent/`` and delivered once MLflow answers again, or by :func:`send_unsent`. Values
    are sent in batches, rarely enough to stay below one per cent of the training time.

    The run's id is kept in ``<output_dir>/mlflow_run.json``: a training that was killed or has failed
    continues its run when it is resumed; after a finished one a new run is made.

    The run holds everything. A stage (see :meth:`start_stage`) has a run of its own below it, with that stage's curves,
    times and end, so that stages of several trainings can be held against each other.

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
        config: the configuration as it was run, kept as ``config/resolved.json``; see
            ``monai_semgan.apps.resolved_configuration``.
        datalist: the split: see :meth:`log_datalist`.
        console: keep what is printed while the run is open in ``<output_dir>/console.log``, and with the run.
        training_dir: for an evaluation: results folder of the training that made the weights. Its run is named in a
            tag, and stands above this one when both are tracked at the same place.

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
        config: Mapping[str, Any] | None = None,
        datalist: Mapping[str, Any] | None = None,
        console: bool = False,
        training_dir: str | os.PathLike | None = None,
    ) -> None:
        if continue_run not in ("unfinished", "always", "never"):
            raise InputError("continue_run", continue_run, "'unfinished', 'always' or 'never'")
        self.output_dir = Path(output_dir).absolute()
        self.enabled = _is_first_process() if enabled is None else enabled
        self.csv = MetricsCsv(self.output_dir / "metrics.csv")
        uri = tracking_uri or os.environ.get("MLFLOW_TRACKING_URI") or default_tracking_uri(self.output_dir)
        self._link = MlflowLink(
            self.output_dir / "mlflow_run.json", experiment, run_name, uri, continue_run, self._first_tags, self._opened
        )
        self._sender = RecordSender(self._link, self._first_records, self._at_exit)
        self._device = device
        self._artifacts = [Path(path) for path in artifacts]
        self._config, self._datalist = config, datalist
        self._params = flatten_params(params or {})
        self._tags = flatten_params({"bundle": experiment, **(tags or {})}) | parent_tags(training_dir, experiment, uri)
        self._console = ConsoleLog(self.output_dir / "console.log") if console else None
        self._system = SystemUse()
        self._stages: dict[str, str] = {}
        self._metrics: list[tuple[str, float, int, int]] = []
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

    @property
    def tags(self) -> dict[str, str]:
        """The tags set so far, without those about code and packages."""
        return dict(self._tags)

    # ---- beginning and end -----------------------------------------------------------------------
    def start(self, fresh: bool = False) -> None:
        """Begin or continue the run now; otherwise the first logging call does it.

        Args:
            fresh: the training starts from scratch: an unfinished run of an earlier process is closed as
                FAILED and a new one is made.
        """
        if not self.enabled:
            return
        if self._console is not None:
            self._console.start()
        if fresh:
            self._sender.begin_anew()
            self._link.begin_anew()
        self.flush()

    def start_stage(self, stage: str, prefix: str | None = None) -> None:
        """Open the stage's own run: metrics named ``prefix...`` (by default ``<stage>/...``) go there as well."""
        if self.enabled:
            if self._console is not None:
                self._console.start()
            self._stages[stage] = f"{stage}/" if prefix is None else prefix
            self._send({"kind": "tags", "stage": stage, "values": {"stage": stage}})

    def finish_stage(self, stage: str, status: str = "FINISHED") -> None:
        """Close the stage's run; one that was never opened is left alone."""
        if self.enabled and stage in self._stages:
            self.flush()
            del self._stages[stage]
            self._send({"kind": "stage", "stage": stage, "status": status})

    def finish(self, status: str = "FINISHED") -> None:
        """Deliver what waits and close the run as ``"FINISHED"``, ``"FAILED"`` or ``"KILLED"``.

        Later logging still reaches the closed run. A run that has failed stays so.
        """
        if self._console is not None and self._console.running:
            self._console.stop()
            self.log_artifact(self._console.path, "log")
        if not self.enabled or (self.run_id is None and not self._metrics and not self._sender.waits):
            return
        self.flush(now=True)
        for stage in list(self._stages):
            self.finish_stage(stage, status)
        if self._link.status == "RUNNING" or (self._link.status == "FINISHED" and status != "FINISHED"):
            self._sender.close(status)
        atexit.unregister(self._at_exit)

    def __enter__(self) -> ExperimentRun:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: Any) -> None:
        self.finish(_status(error))

    # ---- what is logged --------------------------------------------------------------------------
    def log_params(self, params: Mapping[str, Any]) -> None:
        """Add settings, nested or flat. MLflow forbids changing one: it becomes the tag ``resumed.<name>``."""
        flat = flatten_params(params)
        self._params |= flat
        self._send({"kind": "params", "values": flat})

    def set_tags(self, tags: Mapping[str, Any]) -> None:
        """Set tags, nested or flat."""
        flat = flatten_params(tags)
        self._tags |= flat
        self._send({"kind": "tags", "values": flat})

    def describe(self, text: str) -> None:
        """Set the run's description (Markdown), shown at the top of its page."""
        self._send({"kind": "tags", "values": {"mlflow.note.content": text[:5000]}})

    def log_metrics(self, metrics: Mapping[str, float], step: int) -> None:
        """Log numbers at ``step`` (images seen): at once to the CSV, with the next delivery to MLflow."""
        if not self.enabled or not metrics:
            return
        now = time.time()
        values = {name: float(value) for name, value in metrics.items()}
        self.csv.append(int(step), now, values)
        self._metrics += [(name, value, int(now * 1000), int(step)) for name, value in values.items()]
        if time.monotonic() >= self._next_delivery:
            self.flush()

    def last_value(self, name: str) -> float | None:
        """The newest value of a metric, those of earlier processes included."""
        if not self.csv.path.is_file():
            return None
        history = read_metrics(self.csv.path).get(name)
        return history[-1][1] if history else None

    def log_image(self, array: np.ndarray, key: str, step: int) -> None:
        """Log a uint8 picture ``(H, W, 3)``; one key is a series over ``step`` in MLflow's pages."""
        self._send({"kind": "image", "array": np.ascontiguousarray(array), "key": key, "step": int(step)})

    def log_artifact(self, path: str | os.PathLike, folder: str | None = None) -> None:
        """Keep a copy of a file with the run, in ``folder`` of its artifacts; one that is not there is left out."""
        if os.path.exists(path):
            self._send({"kind": "file", "file": os.fspath(path), "folder": folder})

    def log_text(self, text: str, name: str) -> None:
        """Keep a text with the run as the file ``name``, e.g. ``"evaluation/summary.md"``."""
        self._send({"kind": "text", "text": text, "name": name})

    def log_config(self, config: Any, name: str = "config/config.json") -> None:
        """Keep a configuration with the run as JSON; what JSON does not know is written as text."""
        self.log_text(json.dumps(config, indent=2, default=str), name)

    def log_table(self, rows: Sequence[Mapping[str, Any]], name: str) -> None:
        """Keep a table, which MLflow's pages can sort, as ``name`` (``.json``); an earlier one is replaced."""
        self._send({"kind": "table", "rows": [dict(row) for row in rows], "name": name})

    def log_datalist(self, datalist: Mapping[str, Any]) -> None:
        """Record the split: its hash as the tag ``split.sha256``, and how many scans each part has.

        Names of scans may tell who the patient is: they are hashed, never sent. ``config/datalist.json`` has a hash of
        each name and of each file's content (its size and first and last part), so that it can be seen whether two
        trainings had the same scans.
        """
        for record in self._datalist_records(datalist):
            self._send(record)

    def log_model(self, network: torch.nn.Module, example: torch.Tensor, name: str = "model") -> bool:
        """Log a network alone as an MLflow model; True when that worked.

        It is kept as a ``torch.export`` program (MLflow's ``pt2`` format), not pickled: loading it runs no
        code of the file. A network that cannot be exported is left out with a warning. For whole scans in and masks
        out, see ``monai_semgan.apps.log_bundle_model``.

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

    def log_pyfunc_model(self, folder: str | os.PathLike, settings: Mapping[str, Any]) -> dict[str, Any] | None:
        """Log a folder and the code that reads it as an MLflow model, see ``log_pyfunc`` in ``mlflow_client``.

        Returns:
            What ``log_pyfunc`` gives, or None when it was left out (with a warning) or is kept for later.
        """
        if not self.enabled:
            return None
        if self._sender.drained():
            answer = self._link.attempt(
                lambda client, run_id: log_pyfunc(client, run_id, folder, settings), what="the model"
            )
            if answer is not None or self._link.attempt(lambda client, run_id: self._link.alive() or True):
                return answer
        self._sender.keep({"kind": "model", "file": os.fspath(folder), "model": dict(settings)})
        return None

    def rewind(self, step: int, prefix: str = "") -> None:
        """Drop what the CSV holds of ``prefix...`` beyond ``step``: a resumed training logs it again."""
        if self.enabled:
            self.csv.rewind(step, prefix)

    def flush(self, now: bool = False) -> None:
        """Deliver everything that waits; ``now`` even while MLflow is given a rest after a failure."""
        if not self.enabled:
            return
        begin = time.monotonic()
        use, seconds = self._system.sample(), self._system.seconds
        self._metrics += [(name, value, now_ms(), seconds) for name, value in use.items()]
        values, self._metrics = self._metrics, []
        if not values and self._sender.drained(now):
            self._link.attempt(lambda client, run_id: True, now)
        for stage, prefix in [("", ""), *self._stages.items()]:
            own = [value for value in values if value[0].startswith(prefix)]
            for start in range(0, len(own), _BATCH):
                self._sender.send({"kind": "metrics", "stage": stage, "values": own[start : start + _BATCH]}, now)
        pause = (time.monotonic() - begin) / _SHARE_OF_TIME
        self._next_delivery = time.monotonic() + min(max(pause, _SHORTEST_PAUSE), _LONGEST_PAUSE)

    def _send(self, record: dict[str, Any]) -> None:
        if self.enabled:
            self._sender.send(record)

    # ---- the run itself -------------------------------------------------------------------------
    def _first_tags(self) -> dict[str, str]:
        device = {} if self._device is None else {"device": describe_device(self._device)}
        return environment_tags() | device | self._tags

    def _first_records(self, continued: bool) -> list[dict[str, Any]]:
        """Everything known when the run begins."""
        records: list[dict[str, Any]] = [
            {"kind": "params", "values": dict(self._params)}, {"kind": "tags", "values": dict(self._tags)},
        ]  # fmt: skip
        records += [
            {"kind": "file", "file": str(path), "folder": "config"} for path in self._artifacts if path.is_file()
        ]
        if self._config is not None:
            text = json.dumps(self._config, indent=2, default=str)
            records.append({"kind": "text", "text": text, "name": "config/resolved.json"})
        if self._datalist is not None and not continued:
            records += self._datalist_records(self._datalist)
        return [{"stage": "", "time": now_ms(), **record} for record in records]

    def _datalist_records(self, datalist: Mapping[str, Any]) -> list[dict[str, Any]]:
        digest = datalist_hash(datalist)
        datasets = describe_datasets(datalist, self._link.experiment)
        self._tags |= {"split.sha256": digest}
        params = flatten_params({"scans": datasets[0]["profile"]})
        self._params |= params
        text = json.dumps(hash_files(datalist), indent=1)
        return [
            {"kind": "tags", "values": {"split.sha256": digest}}, {"kind": "params", "values": params},
            {"kind": "datasets", "datasets": datasets},
            {"kind": "text", "text": text, "name": "config/datalist.json"},
        ]  # fmt: skip

    def _opened(self, continued: bool) -> None:
        """The run is there: everything known goes to it. Called by the link."""
        for record in self._first_records(continued):
            perform(self._link, record)
        atexit.unregister(self._at_exit)
        if self._link.status == "RUNNING":
            # An exception outside the engines or a forgotten finish() must not leave the run open for ever.
            atexit.register(self._at_exit)

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
