"""Inference and scoring tasks of the MONAI Label app."""

from __future__ import annotations

import logging
import os
import shutil
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from monailabel.datastore.utils.colors import GENERIC_ANATOMY_COLORS
from monailabel.interfaces.datastore import Datastore, DefaultLabelTag
from monailabel.interfaces.tasks.infer_v2 import InferTask, InferType
from monailabel.interfaces.tasks.scoring import ScoringMethod

from ...transforms import GREY_VIEWS
from ...utils import InputError
from ...utils.names import safe_name
from .model import ServedModel

__all__ = ["DiceScore", "QualityScore", "SegmentationTask", "label_colours"]

logger = logging.getLogger(__name__)
RESULTS = (".nii.gz", ".nii", ".nrrd", ".mha")
_MORE_COLOURS = ((221, 130, 101), (185, 102, 83), (157, 108, 162), (244, 214, 49), (111, 184, 210), (128, 174, 128))


def label_colours(labels: Mapping[str, int]) -> dict[str, list[int]]:
    """Organ to red, green and blue, 0..255: those of 3D Slicer's anatomy table where it has the organ."""
    return {
        name: [int(v) for v in GENERIC_ANATOMY_COLORS.get(name, _MORE_COLOURS[(value - 1) % len(_MORE_COLOURS)])[:3]]
        for name, value in labels.items()
    }


class SegmentationTask(InferTask):
    """A served model as MONAI Label's inference task; its answer's parameters name labels, colours and quality."""

    def __init__(self, model: ServedModel, kind: str) -> None:
        self.model, self.kind = model, kind
        super().__init__(
            type=InferType.SEGMENTATION,
            labels=model.labels,
            dimension=3,  # scans go in whole, whatever the network sees of them at once
            description=f"{model.metadata.get('description', '')} ({kind})",
            config={"device": [model.device], **model.options},
        )

    def info(self) -> dict[str, Any]:
        number = self.model.versions.number()
        told = {"kind": self.kind, "version": number, "label_colors": label_colours(self.labels)}
        return {**super().info(), **told, **self._registered(number)}

    def is_valid(self) -> bool:
        return True

    def get_path(self, validate: bool = True) -> str:
        return str(self.model.versions.served()[1])

    def __call__(self, request: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
        """Segment ``request["image"]`` (a path); returns the mask's file and the answer's parameters."""
        begin = time.monotonic()
        options = {name: _number(name, request[name]) for name in self.model.options if name in request}
        extension = str(request.get("result_extension") or ".nii.gz").lower()
        if extension not in RESULTS:
            raise InputError("result_extension", got=extension, wanted=f"one of {', '.join(RESULTS)}")
        folder = Path(tempfile.mkdtemp(prefix="monai-semgan-label-"))
        try:
            name = safe_name(str(request.get("name") or "scan"))
            made = self.model.segment(request["image"], folder, name, **options)
            with tempfile.NamedTemporaryFile(prefix=f"{name}-", suffix=extension, delete=False) as handle:
                result = handle.name
            _convert(made.path, Path(result))
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        organs = list(self.labels)
        quality: dict[str, Any] = {}
        for estimate, numbers in made.quality.items():
            of_organs = estimate in ("predicted_dice", "agreement")
            quality[estimate] = dict(zip(organs, numbers, strict=True)) if of_organs else numbers[0]
        answer: dict[str, Any] = {
            "label_names": dict(self.labels),
            "label_colors": label_colours(self.labels),
            "quality": quality,
            "version": made.version,
            **self._registered(made.version),
            "latencies": {"total": round(time.monotonic() - begin, 2)},
        }
        answer |= {name: made.report[name] for name in ("steps", "time_limit_reached") if name in made.report}
        return result, answer

    def _registered(self, number: int | None) -> dict[str, str]:
        """Which registered version that is; nothing for one that was trained here."""
        address = self.model.versions.registered
        return {"registered": address} if address and number == 0 else {}


class DiceScore(ScoringMethod):
    """Dice between the label of a person and what the model had proposed, for each scan that has both."""

    def __init__(self) -> None:
        super().__init__("Dice of the proposed label (original) with the corrected one (final)")

    def __call__(self, request: Mapping[str, Any], datastore: Datastore) -> dict[str, float]:
        tags = request.get("y") or DefaultLabelTag.FINAL.value, request.get("y_pred") or DefaultLabelTag.ORIGINAL.value
        scores = {}
        for image in datastore.list_images():
            paths = [datastore.get_label_uri(image, tag) for tag in tags]
            if all(paths):
                first, second = (np.asanyarray(nib.load(path).dataobj).squeeze() for path in paths)
                scores[image] = mean_dice(first, second)
                datastore.update_image_info(image, {"dice": scores[image]})
        return scores


class QualityScore(ScoringMethod):
    """Uncertainty and reconstruction error of every unlabelled scan, kept until the scan or the model changes.

    The uncertainty is 1 - predicted Dice (mean over the organs) over several looks of the scan. It is the generative
    model's, by its encoder alone, where the bundle has one, else the served network's; only a generative model has a
    reconstruction error.
    """

    def __init__(self, name: str, model: ServedModel) -> None:
        super().__init__("Uncertainty and reconstruction error of the unlabelled scans")
        self.name, self.model = name, model

    def __call__(self, request: Mapping[str, Any], datastore: Datastore) -> dict[str, Any]:
        if os.environ.get("MONAI_SEMGAN_LABEL_SERVER") not in (None, str(os.getpid())):
            getattr(os, "nice", int)(10)  # in a process of its own: answers that somebody waits for go first
        done = {}
        images = datastore.get_unlabeled_images()
        for count, image in enumerate(images, start=1):
            path = datastore.get_image_uri(image)
            known = datastore.get_image_info(image).get("quality", {})
            if known.get(self.name, {}).get("of") != self.key(path):
                known = {**known, self.name: self.score(path, image)}
                datastore.update_image_info(image, {"quality": known})
            done[image] = known[self.name]
            print(f"quality of {image}: {count} of {len(images)}", flush=True)
        return done

    def key(self, path: str) -> str:
        """Changes when the scan or the model does."""
        number, weights = self.model.versions.served()
        return f"{Path(path).stat().st_mtime_ns}/{number}/{weights.stat().st_mtime_ns}"

    def score(self, path: str, image: str) -> dict[str, Any]:
        """The numbers of one scan; a scan that cannot be read is noted, and the others go on."""
        found: dict[str, Any] = {"of": self.key(path)}
        options = {"steps": 0} if self.model.generative else {}
        folder = tempfile.mkdtemp(prefix="monai-semgan-label-")
        try:
            quality = self.model.segment(path, folder, image, views=list(GREY_VIEWS), **options).quality
        except InputError as error:
            return {**found, "failed": str(error)}
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        found["uncertainty"] = 1.0 - float(np.mean(quality["predicted_dice"]))
        if "reconstruction_error" in quality:
            found["reconstruction_error"] = quality["reconstruction_error"][0]
        return found


def mean_dice(first: np.ndarray, second: np.ndarray) -> float:
    """Mean Dice over the organs that either mask has; two empty masks agree."""
    organs = sorted({*np.unique(first).tolist(), *np.unique(second).tolist()} - {0})
    scores = [2.0 * ((first == k) & (second == k)).sum() / ((first == k).sum() + (second == k).sum()) for k in organs]
    return float(np.mean(scores)) if scores else 1.0


def _number(name: str, value: Any) -> float | int:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise InputError(f"option {name}", got=repr(value), wanted="a number")
    return value


def _convert(mask: Path, target: Path) -> None:
    if target.name.endswith(".nii.gz"):
        shutil.move(mask, target)
        return
    import SimpleITK

    SimpleITK.WriteImage(SimpleITK.ReadImage(str(mask)), str(target))
