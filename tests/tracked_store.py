"""A small MLflow store as trainings leave it: some runs of one split, a failed one, a benchmark, hostile names."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

SPLIT = "5e" * 32
HOSTILE = "<script>alert('x')</script>\u202e \x07 \"quoted\" & <img src=http://example.org/a.png onerror=alert(1)>"
DICE = {"ct": [0.91, 0.93, 0.95], "mr_t2spir": [0.85, 0.75, 0.12]}
COLUMNS = ("domain", "name", "stage", "organ", "dice", "hd95_mm", "assd_mm", "volume_error_percent", "flag", "message")


def case_rows(
    dice: Mapping[str, Sequence[float]] = DICE, stages: Mapping[str, float] | None = None, names: str = "case"
) -> list[dict[str, Any]]:
    """Rows of ``per_case.csv``: Dice as given for the first stage, changed by so much for the others."""
    return [
        {
            "domain": domain, "name": f"{names} {number}", "stage": stage, "organ": "liver", "dice": value + change,
            "hd95_mm": 10 + number, "assd_mm": 2.5, "volume_error_percent": 12.0, "flag": "", "message": "",
        }
        for stage, change in (stages or {"student": 0.0, "encoder": -0.02}).items()
        for domain, values in dice.items()
        for number, value in enumerate(values)
    ]  # fmt: skip


def as_csv(rows: Sequence[Mapping[str, Any]]) -> str:
    """The rows as the text of a CSV file."""
    stream = io.StringIO()
    writer = csv.DictWriter(stream, COLUMNS, restval="")
    writer.writeheader()
    writer.writerows(rows)
    return stream.getvalue()


class TrackedStore:
    """An SQLite store in ``folder``; ``client`` writes to it."""

    def __init__(self, folder: Path) -> None:
        from monai_semgan.handlers.mlflow_client import default_tracking_uri, open_client

        self.folder = folder
        self.uri = default_tracking_uri(folder)
        self.client = open_client(self.uri)

    def experiment(self, name: str) -> str:
        """The id of an experiment, which is made when it is not there."""
        from monai_semgan.handlers.mlflow_client import get_or_create_experiment

        return get_or_create_experiment(self.client, name, self.uri)

    def add(
        self,
        name: str,
        experiment: str = "ct_liver",
        rows: Sequence[Mapping[str, Any]] = (),
        tags: Mapping[str, str] | None = None,
        params: Mapping[str, str] | None = None,
        metrics: Mapping[str, Sequence[float]] | None = None,
        status: str | None = "FINISHED",
        start: int = 1_760_000_000_000,
        means: bool = True,
    ) -> str:
        """A run with its evaluation; returns its id. Metrics are logged at 100, 200 ... images.

        Without ``means`` the scores are in the table alone: MLflow takes no hostile name for a metric.
        """
        from mlflow.entities import Metric, Param

        common = {"method": "semantic_gan", "split.sha256": SPLIT, "mlflow.source.name": "bundles/ct_liver/train.json"}
        run = self.client.create_run(
            self.experiment(experiment), start_time=start, run_name=name, tags={**common, **(tags or {})}
        ).info.run_id
        own = {"dataset_dir": "phantom", "settings.labelled": "8", "settings.seed": "0", **(params or {})}
        values = [
            Metric(key, value, start + 1000 * place, 100 * (place + 1))
            for key, series in (metrics or {}).items() for place, value in enumerate(series)
        ]  # fmt: skip
        for domain, found in (_means(rows) if means else {}).items():
            values += [Metric(f"test/{key[0]}/{domain}/{key[1]}", v, start + 9000, 0) for key, v in found.items()]
        self.client.log_batch(run, metrics=values, params=[Param(key, value) for key, value in own.items()])
        if rows:
            self.client.log_text(run, as_csv(rows), "evaluation/per_case.csv")
            main = rows[0]["stage"]
            self.client.log_text(run, json.dumps({"main_inferer": main}), "evaluation/summary.json")
        if status is not None:
            self.client.set_terminated(run, status, start + 600_000)
        return run

    def add_picture(self, run: str, key: str, step: int, size: tuple[int, int] = (40, 80)) -> None:
        """A picture of a series."""
        picture = np.random.default_rng(step).integers(0, 255, (*size, 3)).astype(np.uint8)
        self.client.log_image(run, picture, key=key, step=step)


def _means(rows: Sequence[Mapping[str, Any]]) -> dict[str, dict[tuple[str, str], float]]:
    means: dict[str, dict[tuple[str, str], float]] = {}
    for domain, stage in dict.fromkeys((row["domain"], row["stage"]) for row in rows):
        own = [row["dice"] for row in rows if (row["domain"], row["stage"]) == (domain, stage)]
        means.setdefault(domain, {})[stage, "dice"] = sum(own) / len(own)
        means[domain][stage, "failures"] = float(sum(value < 0.3 for value in own))
    return means


def fill(store: TrackedStore) -> dict[str, str]:
    """The runs that the tests read: key -> id."""
    curves = {
        "gan/loss": [3.0, 2.0, float("nan"), 1.0], "gan/warmup/image": [1.0, 0.5], "gan/lr/generator": [0.002, 0.001],
        "encoder/validation_dice_ct": [0.8, 0.9, 0.91],
    }  # fmt: skip
    ids = {"main": store.add("SemanticGAN L8 2026-01-01 10:00:00", rows=case_rows(), metrics=curves,
                             tags={"git.dirty": "true", "mlflow.source.git.commit": "c0ffee" * 6})}  # fmt: skip
    for step in (100, 200, 300):
        store.add_picture(ids["main"], "samples", step)
    store.add_picture(ids["main"], "reconstruction_validation", 300)
    store.client.log_text(ids["main"], "not a picture", "evaluation/broken.png")
    parent = {"mlflow.parentRunId": ids["main"], "stage": "gan"}
    ids["stage"] = store.add("SemanticGAN L8 2026-01-01 10:00:00 gan", tags=parent, metrics={"gan/loss": [9.0]})
    ids["unet"] = store.add(
        "U-Net L8", "ct_liver_supervised",
        case_rows({"ct": [0.95, 0.96, 0.97], "mr_t2spir": [0.6, 0.7, 0.2]}, {"network": 0}),
        {"method": "supervised", "mlflow.source.name": "bundles/ct_liver_supervised/train.json"},
        {"settings.seed": "1", "learning_rate": "0.1"}, start=1_760_000_100_000,
    )  # fmt: skip
    ids["failed"] = store.add("U-Net broken", "ct_liver_supervised", tags={"method": "supervised"}, status="FAILED",
                              start=1_760_000_200_000)  # fmt: skip
    ids["running"] = store.add("still at it", tags={"split.sha256": "00" * 32}, status=None, start=1_760_000_300_000)
    ids["hostile"] = store.add(
        HOSTILE, f"exp {HOSTILE}", case_rows({HOSTILE: [0.5, 0.6]}, {"a/../b <i>": 0.0}, names=HOSTILE),
        {"mlflow.source.name": "bundles/../../etc/train.json", "method": HOSTILE, "mlflow.note.content": HOSTILE},
        {"evil": HOSTILE}, start=1_760_000_400_000, means=False,
    )  # fmt: skip
    ids["benchmark"] = store.add("cross-domain", "benchmark cross-domain", tags={"benchmark": "cross-domain"},
                                 start=1_760_000_500_000)  # fmt: skip
    ids["cell"] = store.add("cell 1", "benchmark cross-domain", case_rows(), {"mlflow.parentRunId": ids["benchmark"]},
                            start=1_760_000_600_000)  # fmt: skip
    return ids
