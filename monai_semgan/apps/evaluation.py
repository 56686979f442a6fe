"""Evaluation per patient and domain, with and without test-time optimisation, on the scans' own grids."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.data import MetaTensor
from monai.networks.utils import eval_mode
from nibabel.affines import voxel_sizes

from ..inferers.scan_quality import scan_quality
from ..metrics import score_volume, summarise_scores
from ..transforms import LoadScan
from ..transforms.labels import check_wanted_values
from ..utils.errors import InputError
from ..utils.failures import describe_failure
from ..utils.files import make_output_folder
from ..utils.processes import gather_values, is_first_process, process_part
from .evaluation_report import KeptMask, draw_pictures, format_table, write_tables
from .evaluation_tracking import EVALUATION_STAGE, log_evaluation
from .quality import summarise_quality

__all__ = ["DomainEvaluation"]

logger = logging.getLogger(__name__)


class DomainEvaluation:
    """Score every test patient of every domain, for each inferer, and write tables and pictures.

    A scan is loaded and preprocessed once; each inferer then predicts it, ``postprocessing`` brings the
    prediction back to the grid of the file, and it is scored there against the mask as it is on disk. A
    patient that cannot be processed is reported at the end and does not stop the rest. With several processes
    each evaluates its part of the patients; the first brings the results together and writes them.

    Written to ``output_dir``: ``per_case.csv`` (one row per patient, stage and organ; patients without a
    result too), ``summary.json``, ``box_plot.png`` and ``overlays_<domain>.png`` (best, median and worst
    patient). When an inferer's ``report`` holds estimates of quality (see ``scan_quality``), ``per_case.csv``
    has them too, ``summary.json`` says how well they go with the true Dice, and ``risk_coverage.png`` shows it.

    Args:
        test: domain -> items ``{"image": path, "label": path, "name": str}``, as in
            ``load_datalist(...)["test"]``; those without ``label`` are left out, with a warning.
        preprocessing: dictionary transform that gives ``image (1, H, W, D)`` from an item.
        network: what the inferers run.
        inferers: stage name -> inferer, called as ``inferer((1, 1, H, W, D), network)``; the first is the
            main one, e.g. ``{"optimised": ..., "encoder": ...}``.
        postprocessing: dictionary transform on ``image`` and ``pred`` that ends in a label map ``(1, H, W,
            D)`` on the grid of the file.
        output_dir: folder for the results; made when missing.
        device: where to compute.
        run: optional ``ExperimentRun``; its start and end are the caller's. The evaluation is a stage of it.
        labels: organ -> value in the reference mask. The network's classes are 1, 2, ... in the order given
            here.
        step: images the network has seen, for ``run``.

    Attributes:
        rows: the rows of ``per_case.csv``.
        failures: ``(domain/name, message)`` of each patient without a result.

    Raises:
        InputError: when there is no test item at all.
    """

    def __init__(
        self,
        test: Mapping[str, Sequence[Mapping[str, Any]]],
        preprocessing: Callable,
        network: torch.nn.Module,
        inferers: Mapping[str, Callable],
        postprocessing: Callable,
        output_dir: str | Path,
        device: torch.device | str = "cpu",
        run: Any = None,
        labels: Mapping[str, int] | None = None,
        step: int = 0,
    ) -> None:
        self.test = {domain: found for domain, items in test.items() if (found := _with_mask(domain, items))}
        if not self.test:
            raise InputError(
                "evaluation: no test scans", got=f"domains {list(test)}", wanted="scans with masks",
                fix="name test scans in splits.json or datalist.json of the data folder",
            )  # fmt: skip
        if not inferers:
            raise ValueError("inferers must name at least one inferer")
        self.preprocessing, self.postprocessing = preprocessing, postprocessing
        self.network, self.inferers, self.device = network, dict(inferers), torch.device(device)
        self.output_dir = Path(output_dir)
        self.experiment, self.step = run, step
        self.labels = dict(labels or {"liver": 1})
        self.rows: list[dict[str, Any]] = []
        self.failures: list[tuple[str, str]] = []
        self._kept: dict[tuple[str, str], KeptMask] = {}

    def run(self) -> dict[str, Any]:
        """Evaluate everything, write the results and print the table; returns what ``summarise`` makes.

        In all but the first of several processes an empty summary.
        """
        self.rows, self.failures, self._kept = [], [], {}
        make_output_folder(self.output_dir)
        if self.experiment is not None:
            self.experiment.start_stage(EVALUATION_STAGE, "test/")
        self.network.to(self.device)
        cases = [(domain, n, item) for domain, items in self.test.items() for n, item in enumerate(items, 1)]
        rank, count = process_part()
        for domain, number, item in cases[rank::count]:
            name = str(item.get("name") or f"item {number}")
            total = len(self.test[domain])
            try:
                self.rows += self._evaluate(domain, name, item)
                logger.info("%s %d/%d: %s done", domain, number, total, name)
            except Exception as error:  # this patient's trouble, told at the end
                message = describe_failure(error)
                logger.warning("%s %d/%d: %s gave no result: %s", domain, number, total, name, message)
                self.failures.append((f"{domain}/{name}", message))
                self.rows.append({"domain": domain, "name": name, "message": message})
        if count > 1 and not self._gather([(domain, str(i.get("name") or f"item {n}")) for domain, n, i in cases]):
            return {"domains": {}}
        summary = self.summarise()
        written = write_tables(self.output_dir, self.rows, summary)
        written += draw_pictures(self.output_dir, self._main_rows(), self.rows, self._kept, self.labels)
        self._log(summary, written)
        print(format_table(summary, list(self.inferers), self.failures), flush=True)
        return summary

    def _gather(self, order: list[tuple[str, str]]) -> bool:
        """Bring the results of all processes into the first, in the order of one; whether this is the first."""
        kept = [[*key, *mask.as_values()] for key, mask in self._kept.items()]
        found = gather_values([self.rows, self.failures, kept])
        if not is_first_process():
            self.rows, self.failures, self._kept = [], [], {}
            return False
        place = {key: number for number, key in enumerate(order)}
        rows = [row for rows, _, _ in found for row in rows]
        self.rows = sorted(rows, key=lambda row: place[row["domain"], row["name"]])
        self.failures = [(name, message) for _, failures, _ in found for name, message in failures]
        masks = {(d, n): KeptMask.from_values(values) for _, _, kept in found for d, n, *values in kept}
        self._kept = {key: masks[key] for key in order if key in masks}
        return True

    def summarise(self) -> dict[str, Any]:
        """Summary of ``rows``: ``{"domains": {domain: scores}, <further stage>: {domain: scores}}``.

        ``domains`` holds the main inferer. ``scores`` are those of ``summarise_scores`` for the first organ,
        with one such entry per organ under ``organs`` when there are several. ``not_scored`` names patients
        without a result. ``quality`` is there when an inferer reported on it, see ``summarise_quality``.
        """
        stages = list(self.inferers)
        summary: dict[str, Any] = {
            "domains" if stage == stages[0] else stage: {
                domain: scores for domain in self.test if (scores := self._summarise(domain, stage)) is not None
            }
            for stage in stages
        }
        quality = summarise_quality(self.rows, stages, self.labels)
        if quality:
            summary["quality"] = quality
        summary["main_inferer"] = stages[0]
        summary["not_scored"] = dict(self.failures)
        return summary

    def raise_failures(self) -> None:
        """Raise ``InputError`` when a patient gave no result; call it after ``run()``, last of all."""
        if self.failures:
            lines = "".join(f"\n  {name}: {message}" for name, message in self.failures)
            total = sum(len(items) for items in self.test.values())
            raise InputError(
                f"{len(self.failures)} of {total} test scans gave no result, so the scores lack them:{lines}",
                fix="mend these scans, or take them off the test list, and evaluate again",
            )

    def _evaluate(self, domain: str, name: str, item: Mapping[str, Any]) -> list[dict[str, Any]]:
        reference = LoadScan(label=True)(item["label"])
        affine = reference.affine.numpy()
        check_wanted_values(reference, self.labels.values(), f"mask {item['label']}")
        wanted = _as_classes(reference[0].numpy(), self.labels)
        data = self.preprocessing(dict(item))
        rows = []
        for stage, inferer in self.inferers.items():
            started = time.perf_counter()
            mask, report = self._predict(data, inferer)
            seconds = time.perf_counter() - started
            _check_grid(mask, affine, wanted)
            labels = mask[0].cpu().numpy().astype(np.uint8)
            estimates = scan_quality(report, len(self.labels))
            for index, organ in enumerate(self.labels, 1):
                scores = score_volume(labels == index, wanted == index, voxel_sizes(affine))
                rows.append({
                    "domain": domain, "name": name, "stage": stage, "organ": organ, **scores,
                    "reconstruction_error": "",
                    **{key: values[index - 1] for key, values in estimates.items()},
                    "seconds": round(seconds, 3), "message": "",
                })  # fmt: skip
            if stage == next(iter(self.inferers)):
                kept = KeptMask.of(labels, str(item["image"]), str(item["label"]), affine)
        self._kept[domain, name] = kept
        return rows

    def _predict(self, data: Mapping[str, Any], inferer: Callable) -> tuple[torch.Tensor, dict[str, Any]]:
        """Label map ``(1, H, W, D)`` on the grid of the file, and the inferer's report on it."""
        image = data["image"]
        with eval_mode(self.network):
            # a plain tensor, unless the inferer has to know the spacing: arithmetic on MetaTensors is slow
            batch = image[None] if getattr(inferer, "needs_affine", False) else image.as_tensor()[None]
            prediction = inferer(batch.to(self.device), self.network)
        # A plain tensor would not be inverted: Invertd takes the transforms of `image` for MetaTensors alone.
        prediction = MetaTensor(torch.as_tensor(prediction)[0].detach().cpu().float())
        report = getattr(inferer, "report", None)
        return self.postprocessing({**data, "pred": prediction})["pred"], report if isinstance(report, dict) else {}

    def _main_rows(self) -> list[dict[str, Any]]:
        stage, organ = next(iter(self.inferers)), next(iter(self.labels))
        return [row for row in self.rows if row.get("stage") == stage and row.get("organ") == organ]

    def _summarise(self, domain: str, stage: str) -> dict[str, Any] | None:
        rows = [row for row in self.rows if row["domain"] == domain and row.get("stage") == stage]
        if not rows:
            return None
        organs = {organ: summarise_scores([r for r in rows if r["organ"] == organ]) for organ in self.labels}
        first = next(iter(organs.values()))
        return {**first, "organs": organs} if len(organs) > 1 else first

    def _log(self, summary: Mapping[str, Any], files: Sequence[Path]) -> None:
        if self.experiment is None:
            return
        log_evaluation(self.experiment, summary, self.rows, list(self.inferers), files, self.step)


def _with_mask(domain: str, items: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The items that can be scored; the others are named in the log."""
    bare = [str(item.get("name") or item.get("image")) for item in items if not item.get("label")]
    if bare:
        logger.warning("%s: %d test scans have no mask and are left out: %s", domain, len(bare), ", ".join(bare))
    return [item for item in items if item.get("label")]


def _as_classes(reference: np.ndarray, labels: Mapping[str, int]) -> np.ndarray:
    """Reference values -> the network's classes 1, 2, ... in the order of ``labels``; everything else 0."""
    classes = np.zeros(reference.shape, dtype=np.uint8)
    for index, value in enumerate(labels.values(), 1):
        classes[reference == value] = index
    return classes


def _check_grid(mask: torch.Tensor, affine: np.ndarray, reference: np.ndarray) -> None:
    """A score of masks on different grids would be a wrong number without any sign of it."""
    if tuple(mask.shape) != (1, *reference.shape):
        raise InputError(
            "prediction and mask are on different grids", got=f"prediction {tuple(mask.shape)}",
            wanted=f"(1, {', '.join(map(str, reference.shape))}) as in the mask's file",
            fix="look whether the mask belongs to this scan, and whether the postprocessing has Invertd",
        )  # fmt: skip
    own = getattr(mask, "affine", None)
    if own is not None and not np.allclose(np.asarray(own), affine, atol=0.5 * float(voxel_sizes(affine).min())):
        raise InputError(
            "prediction and mask lie at different places", got=np.asarray(own).round(3).tolist(),
            wanted=affine.round(3).tolist(), fix="look whether the mask belongs to this scan",
        )  # fmt: skip
