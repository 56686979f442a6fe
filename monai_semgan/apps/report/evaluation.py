"""What an evaluation found: scores by patient, their means and how sure those are."""

from __future__ import annotations

import csv
import io
import json
import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from scipy import stats

from ...metrics import FAILURE_DICE, SCORE_NAMES
from ..tracked_runs.tracked_run import TrackedRun, stage_rank

__all__ = ["Evaluation", "MeanInterval", "domain_title", "mean_interval", "read_evaluation"]

_NUMBERS = (*SCORE_NAMES, "volume_ml", "reference_ml", "predicted_dice", "reconstruction_error", "seconds")
_MODALITIES = {
    "ct": "CT",
    "mr": "MRI",
    "mr_t1in": "MRI T1 in phase",
    "mr_t1out": "MRI T1 out of phase",
    "mr_t2spir": "MRI T2-SPIR",
}


@dataclass(frozen=True)
class MeanInterval:
    """A mean over patients with its 95 % interval.

    Args:
        mean: None without a value.
        low: lower end of the interval; None for fewer than two patients.
        high: its upper end.
        count: how many patients have a value.
        worst: the smallest value.
        best: the largest.
    """

    mean: float | None
    low: float | None
    high: float | None
    count: int
    worst: float | None = None
    best: float | None = None


@dataclass
class Evaluation:
    """Scores by patient, or the means alone where a run holds no table.

    Args:
        rows: one a patient, stage and organ; numbers as numbers, None where a score is not defined.
        main_stage: the one that stands for the run.
        means: ``{stage: {domain: {score: mean}}}`` as logged.
        failures: ``(domain, name, message)`` of patients without a result.
    """

    rows: list[dict[str, Any]] = field(default_factory=list)
    main_stage: str = ""
    means: Mapping[str, Mapping[str, Mapping[str, float]]] = field(default_factory=dict)
    failures: list[tuple[str, str, str]] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.rows or self.means or self.failures)

    @cached_property
    def stages(self) -> list[str]:
        """The main stage first."""
        known = dict.fromkeys([*(row["stage"] for row in self.rows), *self.means])
        return sorted(known, key=lambda stage: (stage != self.main_stage, stage_rank(stage)))

    @cached_property
    def organs(self) -> list[str]:
        """In the order of the table."""
        return list(dict.fromkeys(row["organ"] for row in self.rows)) or [""]

    @cached_property
    def domains(self) -> list[str]:
        """In the order of the table."""
        own = [row["domain"] for row in self.rows] + [domain for domain, _, _ in self.failures]
        return list(dict.fromkeys([*own, *(domain for stage in self.means.values() for domain in stage)]))

    def patients(self, domain: str, stage: str, organ: str) -> list[dict[str, Any]]:
        """The rows of one domain, stage and organ, the worst Dice first; no Dice is worse than any."""
        own = [r for r in self.rows if (r["domain"], r["stage"], r["organ"]) == (domain, stage, organ)]
        return sorted(own, key=lambda row: -1.0 if row["dice"] is None else row["dice"])

    def interval(self, domain: str, stage: str, organ: str, score: str = "dice") -> MeanInterval:
        """Mean and interval of a score; the logged mean alone where there is no table."""
        values = [row[score] for row in self.patients(domain, stage, organ) if row[score] is not None]
        if not values and organ in ("", self.organs[0]):
            logged = self.means.get(stage, {}).get(domain, {}).get(score)
            return MeanInterval(logged, None, None, 0)
        bounds = (0.0, 1.0) if score == "dice" else (-math.inf, math.inf)
        return mean_interval(values, bounds=bounds)

    def failed(self, domain: str, stage: str, organ: str) -> list[dict[str, Any]]:
        """Patients with a Dice below the limit, or none."""
        return [r for r in self.patients(domain, stage, organ) if r["dice"] is None or r["dice"] < FAILURE_DICE]

    def failure_count(self, domain: str, stage: str, organ: str) -> int:
        """How many failed, those without any result included."""
        if not self.rows:
            return int(self.means.get(stage, {}).get(domain, {}).get("failures", 0))
        return len(self.failed(domain, stage, organ)) + sum(place == domain for place, _, _ in self.failures)


def mean_interval(
    values: Sequence[float], level: float = 0.95, bounds: tuple[float, float] = (-math.inf, math.inf)
) -> MeanInterval:
    """Mean ± t(n - 1) s / √n over patients, cut to the ``bounds`` of the score.

    It speaks of other patients like these, not of other trainings.

    Example:
        >>> mean_interval([0.8, 0.9]).mean.__round__(3)
        0.85
    """
    if not values:
        return MeanInterval(None, None, None, 0)
    mean, count = statistics.fmean(values), len(values)
    if count < 2:
        return MeanInterval(mean, None, None, count, min(values), max(values))
    reach = float(stats.t.ppf((1 + level) / 2, count - 1)) * statistics.stdev(values) / math.sqrt(count)
    low, high = max(mean - reach, bounds[0]), min(mean + reach, bounds[1])
    return MeanInterval(mean, low, high, count, min(values), max(values))


def read_evaluation(run: TrackedRun) -> Evaluation:
    """The evaluation of a run; empty when there is none."""
    summary = _json(run, "summary.json")
    rows, failures = [], []
    for row in _table(run):
        if row.get("stage"):
            rows.append({**row, **{name: _number(row.get(name)) for name in _NUMBERS}, "organ": row.get("organ") or ""})
        else:
            failures.append((row.get("domain", ""), row.get("name", ""), row.get("message", "")))
    stages = [*dict.fromkeys(row["stage"] for row in rows), *run.scores]
    main = summary.get("main_inferer")
    main = main if main in stages else min(stages, key=stage_rank, default="")
    return Evaluation(rows, main, run.scores, failures)


def domain_title(domain: str) -> str:
    """A domain's folder name in words."""
    return _MODALITIES.get(domain, domain)


def _table(run: TrackedRun) -> list[dict[str, str]]:
    for path in _named(run, "per_case.csv"):
        contents = run.read(path)
        if contents is not None:
            text = contents.decode("utf-8", errors="replace")
            wanted = {"domain", "name"}
            rows = [{k: v or "" for k, v in row.items() if k} for row in csv.DictReader(io.StringIO(text))]
            if rows and wanted <= rows[0].keys():
                return rows
    return []


def _json(run: TrackedRun, name: str) -> dict[str, Any]:
    for path in _named(run, name):
        try:
            found = json.loads(run.read(path) or b"")
        except ValueError:
            continue
        if isinstance(found, dict):
            return found
    return {}


def _named(run: TrackedRun, name: str) -> list[str]:
    """Artifacts of that file name, those in ``evaluation/`` first."""
    found = [path for path in run.files if path.rpartition("/")[2] == name]
    return sorted(found, key=lambda path: (not path.startswith("evaluation/"), path))


def _number(text: str | None) -> float | None:
    try:
        value = float(text or "")
    except ValueError:
        return None
    return value if math.isfinite(value) else None
