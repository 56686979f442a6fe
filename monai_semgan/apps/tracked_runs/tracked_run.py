"""One training with everything that MLflow holds of it: its own run and the runs nested in it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from .stores import Store, quietly

__all__ = ["TrackedRun", "format_duration", "stage_rank"]

# Which stage's scores stand for a method, best known first: what its bundle runs by default.
_STAGE_ORDER = ("student", "network", "optimised", "encoder")
_DEEPEST = 4


@dataclass
class TrackedRun:
    """A run and, in ``children``, the runs nested in it; what they hold is read as one.

    Args:
        store: where it is tracked.
        run: MLflow's own object.
        experiment: the name of its experiment.
        children: its stages and evaluations; empty for the run of a benchmark, whose trainings are runs of their
            own.
        parent: the id of the benchmark's run that it belongs to.
    """

    store: Store
    run: Any
    experiment: str
    children: list[TrackedRun] = field(default_factory=list)
    parent: str | None = None

    @property
    def id(self) -> str:
        """MLflow's id."""
        return self.run.info.run_id

    @property
    def name(self) -> str:
        """The run's name, or its id."""
        return self.run.info.run_name or self.id

    @property
    def status(self) -> str:
        """``RUNNING``, ``FINISHED``, ``FAILED`` ...; of nested runs the parent's counts."""
        return self.run.info.status

    @property
    def started(self) -> datetime:
        """When it began, in local time."""
        return datetime.fromtimestamp((self.run.info.start_time or 0) / 1000)

    @property
    def seconds(self) -> float | None:
        """How long it took; None while it is running."""
        end = self.run.info.end_time
        return (end - self.run.info.start_time) / 1000 if end and self.status != "RUNNING" else None

    @cached_property
    def members(self) -> list[TrackedRun]:
        """The run itself and all nested ones, oldest first."""
        nested = sorted(self.children, key=lambda child: child.run.info.start_time or 0)
        return [self, *(member for child in nested for member in child.members)]

    @cached_property
    def params(self) -> dict[str, str]:
        """Parameters; the run's own win over those of nested runs."""
        return _merged([member.run.data.params for member in self.members])

    @cached_property
    def tags(self) -> dict[str, str]:
        """Tags; the run's own win."""
        return _merged([member.run.data.tags for member in self.members])

    @cached_property
    def metrics(self) -> dict[str, float]:
        """The last value of each metric; the run's own win."""
        return _merged([member.run.data.metrics for member in self.members])

    @property
    def is_benchmark(self) -> bool:
        """Whether it stands above trainings that have runs of their own."""
        return "benchmark" in self.run.data.tags

    @property
    def method(self) -> str:
        """Name of the method, or nothing."""
        return self.tags.get("method") or self.params.get("method") or ""

    @property
    def bundle(self) -> str:
        """The bundle's folder, told from the configuration file; else the experiment's name."""
        source = self.tags.get("bundle") or self.tags.get("mlflow.source.name", "")
        found = re.search(r"(?:^|/)bundles/([\w\-]+)/", source)
        return found.group(1) if found else (self.tags.get("bundle") or self.experiment)

    @property
    def labelled(self) -> str:
        """How many scans were labelled, or nothing."""
        return self._first("labelled", "settings.labelled", "scans.labelled")

    @property
    def seed(self) -> str:
        """The seed, or nothing."""
        return self._first("seed", "settings.seed")

    @property
    def split(self) -> str:
        """Hash of the split, or nothing."""
        return self.tags.get("split.sha256", "")

    @cached_property
    def scores(self) -> dict[str, dict[str, dict[str, float]]]:
        """Means of the evaluation: ``{stage: {domain: {score: value}}}``, the stage that stands for the run first."""
        found: dict[str, dict[str, dict[str, float]]] = {}
        for name, value in self.metrics.items():
            parts = name.split("/")
            if len(parts) == 4 and parts[0] == "test" and parts[2] != "quality":
                found.setdefault(parts[1], {}).setdefault(parts[2], {})[parts[3]] = value
        return {stage: found[stage] for stage in sorted(found, key=stage_rank)}

    def history(self, metric: str) -> list[tuple[int, float, int]]:
        """``(step, value, milliseconds)`` of a metric, by step; of the member that wins in ``metrics``."""
        for member in _by_weight(self.members):
            if metric in member.run.data.metrics:
                with quietly():
                    points = member.store.client.get_metric_history(member.id, metric)
                return sorted((point.step, point.value, point.timestamp) for point in points)
        return []

    @cached_property
    def files(self) -> dict[str, tuple[TrackedRun, int]]:
        """Path -> member and bytes of each artifact; the run's own win. Empty where they cannot be listed."""
        found: dict[str, tuple[TrackedRun, int]] = {}
        for member in _by_weight(self.members):
            for path, size in member._own_files():
                found.setdefault(path, (member, size))
        return dict(sorted(found.items()))

    def read(self, path: str) -> bytes | None:
        """The contents of an artifact, or None when it is not there any more."""
        member, _ = self.files[path]
        moved = member._moved_artifacts()
        if moved is not None:
            return (moved / path).read_bytes()
        try:
            with quietly(), TemporaryDirectory() as folder:
                return Path(member.store.client.download_artifacts(member.id, path, folder)).read_bytes()
        except Exception:  # a server's answer, a folder that was moved: the report says what is missing
            return None

    def _own_files(self) -> Iterator[tuple[str, int]]:
        moved = self._moved_artifacts()
        if moved is not None:
            for file in sorted(moved.rglob("*")):
                if file.is_file():
                    yield file.relative_to(moved).as_posix(), file.stat().st_size
            return
        folders: list[tuple[str | None, int]] = [(None, 0)]
        while folders:
            folder, depth = folders.pop()
            try:
                with quietly():
                    entries = self.store.client.list_artifacts(self.id, folder)
            except Exception:  # as in `read`
                continue
            for entry in entries:
                if not entry.is_dir:
                    yield entry.path, int(entry.file_size or 0)
                elif depth < _DEEPEST:
                    folders.append((entry.path, depth + 1))

    def _moved_artifacts(self) -> Path | None:
        """Artifacts beside a data base that was moved: MLflow itself keeps their old, absolute place."""
        place, folder = str(self.run.info.artifact_uri or ""), self.store.folder
        if folder is None or not place.startswith("file:") or Path(place.removeprefix("file://")).is_dir():
            return None
        here = folder / "mlruns" / self.id / "artifacts"
        return here if here.is_dir() else None

    def _first(self, *names: str) -> str:
        return next((self.params[name] for name in names if name in self.params), "") or self.tags.get(names[0], "")


def stage_rank(stage: str) -> tuple[int, str]:
    """Where an evaluation's stage stands among the others."""
    return (_STAGE_ORDER.index(stage) if stage in _STAGE_ORDER else len(_STAGE_ORDER), stage)


def format_duration(seconds: float | None) -> str:
    """``45 s``, ``12 min``, ``3 h 05``; a dash for None."""
    if seconds is None:
        return "-"
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60:02d}"


def _by_weight(members: list[TrackedRun]) -> list[TrackedRun]:
    """The run itself, then the nested ones, the latest first."""
    return [members[0], *reversed(members[1:])]


def _merged(parts: list[dict[str, Any]]) -> dict[str, Any]:
    own, *nested = parts
    merged: dict[str, Any] = {}
    for part in [*nested, own]:  # later ones, and the run's own at last, write over earlier ones
        merged.update(part)
    return merged
