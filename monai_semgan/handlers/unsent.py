"""Results that MLflow has not got yet: kept in files until it answers, or until they are sent by hand."""

from __future__ import annotations

import json
import logging
import os
import shutil
import uuid
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any

from ..utils import atomic_path, write_json_atomic, write_text_atomic

__all__ = ["UNSENT", "UnsentRecords"]

UNSENT = "mlflow_unsent"
"""Folder in the results' folder; one folder below it for each run."""

logger = logging.getLogger(__name__)


class UnsentRecords:
    """Records of one run on disk, in order, with copies of their files; nothing is written before the first.

    A record is a plain mapping (see ``run_records``). ``header.json`` says what is needed to make the run when MLflow
    never knew of it: experiment, name, tags, times, and the run's id where it has one.

    Args:
        folder: of this run's records.
    """

    def __init__(self, folder: str | os.PathLike) -> None:
        self.folder = Path(folder)
        self.header: dict[str, Any] = _read_json(self.folder / "header.json")
        self._count = len(self._lines()) - self._sent()

    @classmethod
    def new(cls, output_dir: Path) -> UnsentRecords:
        """Room for a new run's records."""
        name = f"{datetime.now():%Y%m%d-%H%M%S-%f}-{uuid.uuid4().hex[:6]}"
        return cls(output_dir / UNSENT / name)

    @classmethod
    def all(cls, output_dir: Path) -> list[UnsentRecords]:
        """Those in a results folder, oldest first."""
        folders = sorted((Path(output_dir) / UNSENT).glob("*/header.json"))
        return [cls(path.parent) for path in folders]

    def __bool__(self) -> bool:
        return self._count > 0

    def __len__(self) -> int:
        return self._count

    def write_header(self, **values: Any) -> None:
        """Change entries of the header."""
        self.header.update(values)
        write_json_atomic(self.folder / "header.json", self.header)

    def add(self, record: Mapping[str, Any]) -> None:
        """Keep a record; a file that it names is copied, a picture in memory becomes a PNG."""
        kept = {name: value for name, value in record.items() if name != "array"}
        self.folder.mkdir(parents=True, exist_ok=True)
        if "array" in record:
            from ..visualize import write_png

            kept["file"] = f"files/{uuid.uuid4().hex[:8]}.png"
            write_png(self.folder / kept["file"], record["array"])
        elif "file" in record:
            kept["file"] = f"files/{uuid.uuid4().hex[:8]}/{Path(record['file']).name}"
            _copy(Path(record["file"]), self.folder / kept["file"])
        with (self.folder / "records.jsonl").open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(kept) + "\n")
        self._count += 1

    def send(self, perform: Callable[[dict[str, Any]], None], alive: Callable[[], Any]) -> None:
        """Hand every record on, in order; those that were taken are forgotten.

        Args:
            perform: sends one record. When it raises and ``alive`` does not, the record itself is at fault: it is set
                aside in ``refused.jsonl``, with a warning.
            alive: raises when MLflow does not answer.

        Raises:
            Exception: whatever ``alive`` raises; what is left stays for the next time.
        """
        lines = self._lines()
        for number in range(self._sent(), len(lines)):
            try:
                record = json.loads(lines[number])
            except ValueError:  # the line that was being written when the process was killed
                record = None
            if record is not None:
                self._send_one(record, perform, alive)
            write_text_atomic(self.folder / "sent", str(number + 1))
            self._count -= 1
        self._count = 0
        (self.folder / "records.jsonl").unlink(missing_ok=True)
        (self.folder / "sent").unlink(missing_ok=True)
        shutil.rmtree(self.folder / "files", ignore_errors=True)

    def _send_one(self, record: dict[str, Any], perform: Callable, alive: Callable) -> None:
        if "file" in record:
            record["file"] = str(self.folder / record["file"])
        try:
            perform(record)
        except Exception as error:
            alive()
            logger.warning("MLflow refused %s: %s", record.get("kind"), str(error).splitlines()[:1])
            with (self.folder / "refused.jsonl").open("a", encoding="utf-8") as stream:
                stream.write(json.dumps(record) + "\n")

    def remove(self) -> None:
        """Forget a run that was sent whole; one with refused records stays."""
        if not (self.folder / "refused.jsonl").exists():
            shutil.rmtree(self.folder, ignore_errors=True)
            with suppress(OSError):  # other runs are there
                self.folder.parent.rmdir()

    def _lines(self) -> list[str]:
        try:
            return (self.folder / "records.jsonl").read_text(encoding="utf-8").splitlines()
        except (FileNotFoundError, NotADirectoryError):
            return []

    def _sent(self) -> int:
        try:
            return int((self.folder / "sent").read_text(encoding="utf-8"))
        except (FileNotFoundError, NotADirectoryError, ValueError):
            return 0


def _read_json(path: Path) -> dict[str, Any]:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return {}


def _copy(source: Path, target: Path) -> None:
    """Copy a file or a folder, whole or not at all: the disk may be full."""
    if not source.is_dir():
        with atomic_path(target) as temporary:
            shutil.copyfile(source, temporary)
        return
    temporary = target.with_name(f".tmp-{uuid.uuid4().hex[:12]}")
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        shutil.copytree(source, temporary)
        temporary.replace(target)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
