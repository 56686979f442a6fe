"""The benchmark in MLflow: one run above the runs of its trainings."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ...handlers import ExperimentRun
from .plan import Cell

__all__ = ["BenchmarkTracking"]


class BenchmarkTracking:
    """Starts the benchmark's run, hangs the trainings' runs under it, and ends it with tables and figures.

    Everything goes to one place: the address given, else the environment's ``MLFLOW_TRACKING_URI``, else
    ``<output_dir>/mlruns.db``. As with every run, MLflow's trouble never stops the work.

    Args:
        output_dir: the benchmark's folder; a further command there continues its run.
        name: of the benchmark; all runs stand in the MLflow experiment ``benchmark <name>``.
        run_name: of the run above.
        params: what was asked for.
        tracking_uri: where to track.
    """

    def __init__(
        self, output_dir: Path, name: str, run_name: str, params: Mapping[str, Any], tracking_uri: str | None = None
    ) -> None:
        self.experiment = f"benchmark {name}"
        self._run = ExperimentRun(
            output_dir, self.experiment, run_name, params, {"benchmark": name}, tracking_uri=tracking_uri,
            continue_run="always",
        )  # fmt: skip

    def start(self) -> None:
        """Begin or continue the run. It also makes the data base, which trainings side by side cannot."""
        self._run.start()

    def environment(self) -> dict[str, str]:
        """Variables for a training's process."""
        return {"MLFLOW_TRACKING_URI": os.fspath(self._run.tracking_uri)}

    def options(self, cell: Cell) -> list[str]:
        """Words that put a training's run under this one."""
        if not cell.tracked or self._run.run_id is None:
            return []
        # In quotation marks: an id of digits alone, or with one e among them, would be read as a number.
        return [
            "--experiment#experiment", self.experiment,
            "--experiment#tags#mlflow.parentRunId", repr(self._run.run_id),
        ]  # fmt: skip

    def finish(self, summary: Mapping[str, Any], files: Sequence[Path], status: str) -> None:
        """Log the scores, with the number of labels as the step, and the files; then end the run."""
        self._run.rewind(-1)  # a continued benchmark logs all of them again
        several = len({row["organ"] for row in summary["rows"]}) > 1
        for labelled in dict.fromkeys(row["labelled"] for row in summary["rows"]):
            values: dict[str, float] = {}
            for row in (row for row in summary["rows"] if row["labelled"] == labelled):
                place = f"{row['row']}/{row['domain']}" + (f"/{row['organ']}" if several else "")
                known = {score: row[score]["mean"] for score in ("dice", "hd95_mm")}
                values |= {f"{place}/{score}": mean for score, mean in known.items() if mean is not None}
                values[f"{place}/failures"] = float(sum(len(names) for names in row["failures"].values()))
            self._run.log_metrics(values, labelled)
        self._run.log_table([_flat(row) for row in summary["rows"]], "tables/benchmark.json")
        for path in files:
            self._run.log_artifact(path, "figures" if path.suffix == ".png" else "tables")
        self._run.finish(status)

    def stop(self) -> None:
        """End the run of a benchmark that was interrupted."""
        self._run.finish("KILLED")


def _flat(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row of the summary with plain values alone: means and spreads side by side."""
    flat: dict[str, Any] = {}
    for name, value in row.items():
        if isinstance(value, Mapping):
            parts = {f"{name}.{part}": number for part, number in value.items()}
            flat |= {n: v for n, v in parts.items() if v is None or isinstance(v, (str, int, float))}
        elif value is None or isinstance(value, (str, int, float)):
            flat[name] = value
    return flat
