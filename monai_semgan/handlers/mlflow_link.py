"""The link to one MLflow run and those below it: made late, continued after a kill, never why a training stops."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from monai_semgan.utils import write_json_atomic

from .known_points import FOLDER_TAG, KnownPoints, close_lost_runs, folder_mark
from .mlflow_client import get_or_create_experiment, open_client, short_patience

__all__ = ["MlflowLink"]

logger = logging.getLogger(__name__)

_RETRY_AFTER = 60.0  # seconds; doubles with each failure
_LONGEST_RETRY = 3600.0
_NOT_FOR_STAGES = ("mlflow.note.content", "mlflow.parentRunId", "mlflow.runName")


class MlflowLink:
    """Finds or makes the run at the first call, and guards every call to MLflow.

    Args:
        id_file: JSON file that keeps the run's id, and those of the runs below it, between processes.
        experiment: MLflow's experiment name.
        run_name: name of a new run; the time is added.
        tracking_uri: MLflow's tracking address.
        continue_run: ``"unfinished"``, ``"always"`` or ``"never"``.
        tags: gives the tags of a new run.
        opened: called once the run is there, with True when it is a continued one.

    Attributes:
        waiting: the header of records that were kept while MLflow was away: the run's id, or what it is to be made
            with.
        stages: name -> id of the runs below.
        known_params: what the run has already.
    """

    def __init__(
        self,
        id_file: Path,
        experiment: str,
        run_name: str,
        tracking_uri: str,
        continue_run: str,
        tags: Callable[[], dict[str, str]],
        opened: Callable[[bool], None] = lambda continued: None,
    ) -> None:
        self.id_file = id_file
        self.experiment = experiment
        self.run_name = run_name
        self.tracking_uri = tracking_uri
        self.continue_run = continue_run
        self.waiting: dict[str, Any] = {}
        self.client: Any = None
        self.run_id: str | None = None
        self.status = "RUNNING"
        self.stages: dict[str, str] = {}
        self.known_params: dict[str, str] = {}
        self._experiment_id = ""
        self._stage_tags: dict[str, str] = {}
        self.new_tags = tags
        self._opened = opened
        self._continued = self._warned = False
        self.known_points: KnownPoints | None = None
        self._retry_at = 0.0
        self._retry_after = _RETRY_AFTER

    def attempt(self, action: Callable[[Any, str], Any], now: bool = False, what: str = "") -> Any:
        """Do something with client and run id. On any failure warn once, pause, and give None.

        Args:
            action: what to do.
            now: also while the link pauses after a failure.
            what: for a failure that is the action's own: it is told and is no reason to pause.
        """
        if not now and time.monotonic() < self._retry_at:
            return None
        try:
            with short_patience():
                if self.run_id is None:
                    self._connect()
                answer = action(self.client, self.run_id)  # type: ignore[arg-type]
        except Exception as error:  # whatever goes wrong in tracking must not cost a training
            if what and self.run_id is not None:
                logger.warning("MLflow: %s left out (%s)", what, _one_line(error))
                logger.debug("MLflow: %s left out", what, exc_info=error)
            else:
                self._pause(error)
            return None
        self._retry_after = _RETRY_AFTER
        return answer

    def begin_anew(self) -> None:
        """Have a new run even where an unfinished one could be continued; that one is closed as FAILED."""
        if self.continue_run != "unfinished":
            return
        self.continue_run = "never"
        self.waiting = {}
        if self._continued:
            self.attempt(lambda client, run_id: client.set_terminated(run_id, "FAILED"))
            self.run_id, self._continued, self.stages, self.known_points = None, False, {}, None

    def run_of(self, stage: str, start_time: int | None = None) -> str:
        """The id of the run itself, or of the run below it of that name, which is made at the first call."""
        assert self.run_id is not None
        if not stage:
            return self.run_id
        if stage not in self.stages:
            tags = {n: v for n, v in self._stage_tags.items() if n not in _NOT_FOR_STAGES}
            tags |= {"mlflow.parentRunId": self.run_id, "stage": stage}
            made = self.client.create_run(self._experiment_id, start_time, tags, f"{self.run_name} {stage}")
            self.stages[stage] = made.info.run_id
            self._write_id_file()
        return self.stages[stage]

    def close(self, status: str, end_time: int | None = None, now: bool = False) -> bool:
        """Set the run's final status; True when that worked."""

        def terminate(client: Any, run_id: str) -> bool:
            client.set_terminated(run_id, status, end_time)
            self.status = status
            self._write_id_file()
            return True

        return bool(self.attempt(terminate, now))

    def alive(self) -> None:
        """Raise when MLflow does not answer."""
        self.client.get_run(self.run_id)

    def _pause(self, error: Exception) -> None:
        self._retry_at = time.monotonic() + self._retry_after
        self._retry_after = min(2 * self._retry_after, _LONGEST_RETRY)
        if not self._warned:
            self._warned = True
            logger.warning(
                "MLflow tracking at %s failed (%s). The training goes on; metrics are in %s, everything else is kept "
                "beside it, and delivery is tried again from time to time. What is left at the end can be sent with: "
                "python -m monai_semgan mlflow-sync %s",
                self.tracking_uri,
                _one_line(error),
                self.id_file.with_name("metrics.csv"),
                self.id_file.parent,
            )
        logger.debug("MLflow tracking failed", exc_info=error)

    def _connect(self) -> None:
        self.id_file.parent.mkdir(parents=True, exist_ok=True)
        self.client = open_client(self.tracking_uri)
        found = self._stored_run()
        if found is not None:
            self._continued = True
            self.known_points = KnownPoints()
            self.known_params = dict(found.data.params)
            self.status = found.info.status
            if self.status != "FINISHED":
                self.client.update_run(found.info.run_id, status="RUNNING")
                self.status = "RUNNING"
            self._stage_tags = _own_tags(found.data.tags)
            self._experiment_id = found.info.experiment_id
            self.run_id = found.info.run_id
        else:
            self._make_run()
        self._write_id_file()
        verb = "continuing" if found else "new"
        logger.info("%s MLflow run %s in %s", verb, self.run_id, self.tracking_uri)
        self._opened(found is not None)

    def _make_run(self) -> None:
        """A new run; one that began while MLflow was away keeps its name, tags and time."""
        self._experiment_id = get_or_create_experiment(self.client, self.experiment, self.tracking_uri)
        name = self.waiting.get("run_name") or f"{self.run_name} {datetime.now():%Y-%m-%d %H:%M:%S}"
        self._stage_tags = self.waiting.get("tags") or self.new_tags()
        self.status, self.known_params, self.stages = "RUNNING", {}, {}
        start = self.waiting.get("start_time")
        close_lost_runs(self.client, self._experiment_id, self.id_file.parent)
        tags = {**self._stage_tags, FOLDER_TAG: folder_mark(self.id_file.parent)}
        made = self.client.create_run(self._experiment_id, start, tags, name)
        self.run_id = made.info.run_id

    def _stored_run(self) -> Any:
        """The run of an earlier process that this one continues, or None. A stale one is closed."""
        known = bool(self.waiting.get("run_id"))
        try:
            stored = self.waiting if known else json.loads(self.id_file.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        if stored.get("tracking_uri") != self.tracking_uri or stored.get("experiment") != self.experiment:
            return None
        from mlflow.exceptions import MlflowException

        try:
            found = self.client.get_run(stored["run_id"])
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            return None  # deleted on the server, or the data base was removed
        if found.info.lifecycle_stage != "active":
            return None
        unfinished = "FINISHED" not in (found.info.status, stored.get("status"))
        if known or self.continue_run == "always" or (self.continue_run == "unfinished" and unfinished):
            self.stages = dict(stored.get("stages", {}))
            return found
        if found.info.status == "RUNNING":
            self.client.set_terminated(found.info.run_id, "FAILED")
        return None

    def _write_id_file(self) -> None:
        fields = ("run_id", "experiment", "tracking_uri", "status", "stages")
        write_json_atomic(self.id_file, {name: getattr(self, name) for name in fields})


def _own_tags(tags: Mapping[str, str]) -> dict[str, str]:
    """The tags that a run was made with, without what MLflow and later logging have added."""
    kept = ("mlflow.source.", "version.", "git.")
    return {n: v for n, v in tags.items() if n.startswith(kept) or n in ("device", "bundle", "method", "labelled")}


def _one_line(error: Exception) -> str:
    return f"{type(error).__name__}: {(str(error).splitlines() or [''])[0][:300]}"
