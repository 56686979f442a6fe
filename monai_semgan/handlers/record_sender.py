"""Records go to MLflow when it answers and to files when it does not, in order, and none is lost."""

from __future__ import annotations

import atexit
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ..utils import InputError
from .mlflow_link import MlflowLink
from .run_records import perform
from .unsent import UNSENT, UnsentRecords

__all__ = ["RecordSender", "now_ms", "send_unsent"]


def now_ms() -> int:
    """Milliseconds since 1970."""
    return int(time.time() * 1000)


class RecordSender:
    """Sends the records of one run, or keeps them in ``mlflow_unsent/`` beside the link's id file.

    Args:
        link: to the run. What an earlier process could not send of the run that this one continues is taken over.
        first_records: gives what a run begins with; called with False.
        at_exit: to be called when the process ends while records wait.
    """

    def __init__(
        self, link: MlflowLink, first_records: Callable[[bool], list[dict[str, Any]]], at_exit: Callable[[], None]
    ) -> None:
        self.link = link
        self.first_records = first_records
        self.at_exit = at_exit
        self.output_dir = link.id_file.parent
        self.unsent = self._taken_over()
        self._foreign = bool(self.unsent.header)
        link.waiting = self.unsent.header
        self._began = now_ms()

    @property
    def waits(self) -> bool:
        """Whether there are records that were not sent."""
        return bool(self.unsent)

    def begin_anew(self) -> None:
        """Leave what an earlier process kept to that process's run, which has failed."""
        if self._foreign:
            self.unsent.write_header(status="FAILED")
            self.unsent, self._foreign = UnsentRecords.new(self.output_dir), False

    def send(self, record: Mapping[str, Any], now: bool = False) -> None:
        """Send a record, or keep it when MLflow is away; ``now`` even while it is given a rest."""
        full = {"stage": "", "time": now_ms(), **record}
        if not (self.drained(now) and self.link.attempt(lambda *_: perform(self.link, full) or True, now)):
            self.keep(full)

    def drained(self, now: bool = False) -> bool:
        """Whether nothing waits any more; what was kept is sent first."""
        if not self.unsent:
            return True
        waiting, link = self.unsent, self.link
        sent = link.attempt(lambda *_: waiting.send(lambda record: perform(link, record), link.alive) or True, now)
        if sent:
            waiting.remove()
            self.unsent, link.waiting, self._foreign = UnsentRecords.new(self.output_dir), {}, False
        return bool(sent)

    def keep(self, record: Mapping[str, Any]) -> None:
        """Keep a record in the file, after what the run begins with when MLflow does not know it yet."""
        unsent, run_id = self.unsent, self.link.run_id
        if not unsent.header:
            self._write_header()
            for first in self.first_records(False) if run_id is None else []:
                unsent.add(first)
        elif run_id is not None and unsent.header.get("run_id") != run_id:
            self._write_header()
        unsent.add({"stage": "", "time": now_ms(), **record})

    def close(self, status: str) -> None:
        """Set the run's final status, now or with what is sent later."""
        if not self.unsent and self.link.close(status, now=True):
            if self.unsent.header:
                self.unsent.remove()
            return
        self._write_header(status=status, end_time=now_ms())
        self.link.status = status

    def _write_header(self, **more: Any) -> None:
        link = self.link
        if not self.unsent.header:
            name = f"{link.run_name} {time.strftime('%Y-%m-%d %H:%M:%S', time.localtime(self._began / 1000))}"
            self.unsent.write_header(
                experiment=link.experiment, tracking_uri=link.tracking_uri, continue_run=link.continue_run,
                run_name=name, tags=link.new_tags(), start_time=self._began, status="RUNNING",
            )  # fmt: skip
            atexit.unregister(self.at_exit)
            atexit.register(self.at_exit)
        self.unsent.write_header(run_id=link.run_id, stages=link.stages, **more)

    def _taken_over(self) -> UnsentRecords:
        """What an earlier process could not send of the run that this one continues; else room for a new one."""
        link = self.link
        for found in reversed(UnsentRecords.all(self.output_dir)):
            header = found.header
            if (header.get("experiment"), header.get("tracking_uri")) == (link.experiment, link.tracking_uri) and (
                link.continue_run == "always"
                or (link.continue_run == "unfinished" and header.get("status") != "FINISHED")
            ):
                return found
        return UnsentRecords.new(self.output_dir)


def send_unsent(
    output_dir: str | os.PathLike, tracking_uri: str | None = None, say: Callable[[str], None] = print
) -> int:
    """Send what could not be sent while MLflow was away; runs that it never knew of are made.

    Not to be called while a training writes to the same folder.

    Args:
        output_dir: results folder of a training or an evaluation.
        tracking_uri: where to, when that is another place than the one it was meant for.
        say: takes a line about each run.

    Returns:
        The number of records that were sent.

    Raises:
        InputError: MLflow cannot be reached; what was not sent stays where it is.
    """
    output_dir = Path(output_dir).absolute()
    total = 0
    for waiting in UnsentRecords.all(output_dir):
        header = waiting.header
        uri = tracking_uri or header["tracking_uri"]
        if uri != header["tracking_uri"]:  # ids are those of the other place
            header = {**header, "run_id": None, "stages": {}}
        link = MlflowLink(
            output_dir / "mlflow_run.json", header["experiment"], header["run_name"], uri, header["continue_run"],
            lambda header=header: header["tags"],
        )  # fmt: skip
        link.waiting = header
        count = len(waiting)
        sent = link.attempt(
            lambda *_, w=waiting, li=link: w.send(lambda record: perform(li, record), li.alive) or True, what="sending"
        )
        status = header.get("status", "RUNNING")
        # a training that neither ended nor failed was killed; one that goes on will open its run again
        if not sent or not link.close("FAILED" if status == "RUNNING" else status, header.get("end_time")):
            raise InputError(
                f"MLflow at {uri}", got=f"no answer, {len(waiting)} records of {header['run_name']!r} still wait",
                wanted="a server that runs or a data base that can be written",
                fix="start it, or give another address with --tracking_uri; nothing is lost",
            )  # fmt: skip
        waiting.remove()
        total += count
        left = f"; what MLflow refused is in {waiting.folder}" if waiting.folder.exists() else ""
        say(f"{header['run_name']}: {count} records sent to run {link.run_id}{left}")
    if not total and not (output_dir / UNSENT).exists():
        say(f"{output_dir}: nothing waits to be sent")
    return total
