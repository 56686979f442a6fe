"""The training that MONAI Label's clients start: fine-tuning, with the earlier version kept."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from ignite.engine import Engine, Events
from monailabel.interfaces.datastore import Datastore
from monailabel.interfaces.tasks.train import TrainTask

from ...handlers import ExperimentRun
from ...utils import InputError
from ...utils.failures import describe_failure
from .fine_tuning import FineTuningSettings, fine_tune
from .model import ServedModel
from .tasks import mean_dice
from .versions import ModelVersions

__all__ = ["FineTuningTask", "StopWithServer"]

HELD_OUT_FROM = 5  # labelled scans: with fewer, all are trained on
HELD_OUT_EVERY = 5
WORSE = 0.02  # Dice on the held-out scans that a new version may lose and still be served


class StopWithServer:
    """Handler that ends a training whose server is gone: its result would be served by nobody's wish."""

    def __init__(self) -> None:
        self.server = os.getppid()

    def attach(self, engine: Engine) -> None:
        engine.add_event_handler(Events.ITERATION_COMPLETED, self.check)

    def check(self) -> None:
        if os.getppid() != self.server:
            raise InputError("training stopped", got="the server that started it is gone", fix="train again")


class FineTuningTask(TrainTask):
    """Fine-tunes a served model on the datastore; the new version is served when it is whole.

    With ``HELD_OUT_FROM`` labelled scans or more, every fifth is kept out of the training, and Dice on them is measured
    before and after: a version that loses more than ``WORSE`` is kept, but not served. Whatever fails leaves the served
    model as it was.

    Args:
        name: of the model.
        model: which is trained.
        generator: the bundle's generative model, or None.
        folder: for the tracking.
    """

    def __init__(self, name: str, model: ServedModel, generator: ServedModel | None, folder: Path) -> None:
        super().__init__("Fine-tuning on the labelled scans and, by their own average's answers, on all others")
        self.name, self.model, self.generator, self.folder = name, model, generator, folder

    def config(self) -> dict[str, Any]:
        return asdict(FineTuningSettings())

    def stats(self) -> dict[str, Any]:
        """What the last training gave, as MONAI Label's clients show it, and all of them."""
        history = self.model.versions.history()
        served = self.model.versions.number()
        if not history:
            return {"served_version": served}
        last = history[-1]
        # 3D Slicer shows the best metric as a bar, and takes a missing one for 0, but no null
        best = {} if last["dice_after"] is None else {"best_metric": last["dice_after"]}
        return {"served_version": served, "total_time": last["seconds"], **best, "versions": history}

    def __call__(self, request: Mapping[str, Any], datastore: Datastore) -> dict[str, Any]:
        """Train in this process, which is one of its own; progress goes to standard output.

        Raises:
            SystemExit: the training failed; the reason has been printed as one sentence.
        """
        versions = self.model.versions
        number = 0
        try:
            settings = settings_of(request)
            labelled, held_out, unlabelled = split(datastore)
            before = self.score(held_out)
            number, folder = versions.start()
            run = self.experiment(number, settings, len(labelled), len(held_out), len(unlabelled))
            begin = time.monotonic()
            fine_tune(
                self.model, self.generator, labelled, unlabelled, settings, folder, run, handlers=[StopWithServer()]
            )
            after = self.score(held_out, folder / "model.pt")
            serve = before is None or after is None or after >= before - WORSE
            noted = {
                "labelled": len(labelled), "held_out": len(held_out), "unlabelled": len(unlabelled),
                "dice_before": before, "dice_after": after, "served": serve,
                "seconds": round(time.monotonic() - begin, 1), "settings": asdict(settings),
            }  # fmt: skip
            versions.publish(number, noted, serve)
            made, number = number, 0  # what is published is not taken back
            scores = {"label/dice_before": before, "label/dice_after": after}
            run.log_metrics({name: value for name, value in scores.items() if value is not None}, step=made)
            run.log_artifact(folder / "model.pt", "model_weights")
            run.finish()
        except Exception as error:
            if number:
                versions.discard(number)
            _say_last(f"training failed, version {versions.number()} stays: {describe_failure(error)}")
            raise SystemExit(1) from error
        served = "served from now on" if serve else "kept, but not served: it is worse on the scans held out"
        _say_last(f"version {made} is {served}")
        return {"version": made, **noted}

    def score(self, items: Sequence[Mapping[str, str]], weights: Path | None = None) -> float | None:
        """Mean Dice of the answers on labelled scans; None without scans."""
        if not items:
            return None
        model = self.model
        if weights is not None:
            fixed = ModelVersions(weights.parent / "none", weights)
            model = ServedModel(model.root, model.config_name, fixed, model.device, model.time_limit)
        scores = []
        for item in items:
            with tempfile.TemporaryDirectory() as folder:
                answer = model.segment(item["image"], folder).path
                scores.append(mean_dice(_array(answer), _array(item["label"])))
        return float(np.mean(scores))

    def experiment(self, number: int, settings: FineTuningSettings, *scans: int) -> ExperimentRun:
        """The MLflow run of this training, in the app's folder unless ``MLFLOW_TRACKING_URI`` says otherwise."""
        counts = dict(zip(("labelled", "held_out", "unlabelled"), scans, strict=True))
        served = self.model.versions.served()[0]
        registered = self.model.versions.registered if served == 0 else ""
        return ExperimentRun(
            self.folder,
            f"label-{self.name}",
            f"version {number}",
            params={
                "settings": asdict(settings),
                "scans": counts,
                "from_version": served,
                **({"from_registered": registered} if registered else {}),
            },
            tags={"stage": "label", "bundle": self.model.root.name},
            device=self.model.device,
        )


def settings_of(request: Mapping[str, Any]) -> FineTuningSettings:
    """The settings among a request's entries; MONAI Label adds others, which do not count."""
    return FineTuningSettings(**{f.name: request[f.name] for f in fields(FineTuningSettings) if f.name in request})


def split(datastore: Datastore) -> tuple[list[dict[str, str]], list[dict[str, str]], list[dict[str, str]]]:
    """Labelled scans to train on, those held out, and the unlabelled ones; the same whenever it is asked."""
    items = sorted(datastore.datalist(), key=lambda item: str(item["image"]))
    rows = [{**item, "name": Path(item["image"]).name.split(".")[0]} for item in items]
    held_out = rows[HELD_OUT_EVERY - 1 :: HELD_OUT_EVERY] if len(rows) >= HELD_OUT_FROM else []
    others = [datastore.get_image_uri(image) for image in sorted(datastore.get_unlabeled_images())]
    unlabelled = [{"image": path, "name": Path(path).name.split(".")[0]} for path in others]
    return [row for row in rows if row not in held_out], held_out, unlabelled


def _say_last(sentence: str) -> None:
    """The server reads a training's output until its process is gone: what came just before the end would be lost."""
    print(sentence, flush=True)
    time.sleep(2.0)


def _array(path: str | Path) -> np.ndarray:
    return np.asanyarray(nib.load(path).dataobj).squeeze()
