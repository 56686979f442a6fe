"""Handler that writes each scan's mask on the scan's own grid, and a report on every slice."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import torch
from ignite.engine import Engine, Events
from monai.engines.utils import IterationEvents

from ..transforms import file_slices
from ..utils.errors import InputError
from ..utils.files import atomic_path, make_output_folder
from ..utils.names import safe_name
from ..utils.processes import is_first_process, process_count, process_rank, wait_for_all
from .segmentation_report import SegmentationReport

__all__ = ["SegmentationWriter"]

_NIFTI = (".nii", ".nii.gz")
_GEOMETRY_FIELDS = (
    "qform_code", "quatern_b", "quatern_c", "quatern_d", "qoffset_x", "qoffset_y", "qoffset_z",
    "sform_code", "srow_x", "srow_y", "srow_z", "xyzt_units",
)  # fmt: skip


class SegmentationWriter:
    """Write ``OUT/NAME_seg.nii.gz``, ``OUT/report.csv`` and ``OUT/report_cases.csv``, scan by scan.

    The mask is uint8 and has exactly the shape and affine of the input. For a NIfTI input the geometry fields
    are copied bit by bit from its header (sform, qform, their codes, voxel sizes, units), everything that
    could name a person is not (descriptions, extensions). For other formats (DICOM) it is the affine of the
    prediction, which the reader took from the series. Every file is replaced as a whole, and the results of
    an earlier run stay as they are until the same scan succeeds again.

    Attach it to a ``ScanEvaluator`` whose postprocessing gives ``pred`` as one integer mask ``(1, H, W, D)``
    on the grid of the file (``Invertd``, then ``MostProbableLabeld``).

    With several processes each writes the masks of its own scans and keeps its own tables, in ``OUT/parts/<rank>``;
    at the end the first puts them into one. What an interrupted run has left there is taken over by the next.

    Args:
        output_dir: the folder ``OUT``; made when missing.
        pred_key: where the mask is in the engine's output.
        image_key: where the image is, whose meta data name the input file.
        error_threshold: reconstruction error above which a slice is flagged ``check`` in the report; None
            flags the slices that are far worse than the rest of their own scan (see ``SegmentationReport``).
    """

    def __init__(
        self,
        output_dir: str | Path,
        pred_key: str = "pred",
        image_key: str = "image",
        error_threshold: float | None = None,
    ) -> None:
        self.output_dir = Path(output_dir)
        self.pred_key, self.image_key = pred_key, image_key
        self.error_threshold = error_threshold
        self._report: SegmentationReport | None = None
        self._sources: dict[str, str] = {}

    def attach(self, engine: Engine) -> None:
        """Write after each scan's postprocessing, and note the failed ones at the end."""
        engine.add_event_handler(Events.STARTED, self._start)
        engine.add_event_handler(IterationEvents.MODEL_COMPLETED, self._write_all)
        engine.add_event_handler(Events.COMPLETED, self._note_failures)

    def _start(self, engine: Engine) -> None:
        make_output_folder(self.output_dir)
        self._sources = {}
        self._merge()
        # also where each process has a report of its own: a foreign file in its place must stop the run here
        self._report = SegmentationReport(self.output_dir, self.error_threshold)
        if process_count() > 1:
            self._report = None

    def _merge(self) -> None:
        """The tables of several processes become one; nothing is done where there are none."""
        wait_for_all()
        if is_first_process():
            for folder in sorted((self.output_dir / "parts").glob("*")):
                whole = SegmentationReport(self.output_dir, self.error_threshold)
                whole.take_over(SegmentationReport(folder))
                shutil.rmtree(folder)
            if (self.output_dir / "parts").is_dir():
                (self.output_dir / "parts").rmdir()
        wait_for_all()

    def _write_all(self, engine: Engine) -> None:
        batch, output = engine.state.batch, engine.state.output
        pairs = zip(batch, output, strict=True) if isinstance(output, list) else [(batch, output)]
        for item, result in pairs:
            self._write(item, result)

    def _write(self, item: Mapping[str, Any], result: Mapping[str, Any]) -> None:
        source = _source_of(item.get(self.image_key))
        case = str(item.get("name") or Path(source).name.split(".")[0])
        mask = _as_label_array(result[self.pred_key], case)
        image, affine = _on_source_grid(mask, getattr(result[self.pred_key], "affine", None), source, case)
        path = self.output_dir / f"{self._file_stem(case, source)}_seg.nii.gz"
        with atomic_path(path) as temporary:
            nib.save(image, temporary)
        report = _by_file_slice(result.get("report"), item.get(self.image_key))
        self._open_report().add(case, path.name, mask, affine, report)

    def _open_report(self) -> SegmentationReport:
        if self._report is None:
            folder = self.output_dir
            if process_count() > 1:
                folder = make_output_folder(folder / "parts" / f"{process_rank():04d}")
            self._report = SegmentationReport(folder, self.error_threshold)
        return self._report

    def _file_stem(self, case: str, source: str) -> str:
        """Plain file name of a case; a second, different scan of one run never overwrites the first."""
        stem = wanted = safe_name(case)
        count = 1
        while self._sources.get(stem.casefold(), (case, source)) != (case, source):
            count += 1
            stem = f"{wanted}-{count}"
        self._sources[stem.casefold()] = (case, source)
        return stem

    def _note_failures(self, engine: Engine) -> None:
        if process_count() > 1:
            self._merge()
            if not is_first_process():
                return
            self._report = SegmentationReport(self.output_dir, self.error_threshold)
        for name, message in getattr(engine, "failures", []):
            self._open_report().add_failure(name, message)


def _by_file_slice(report: Mapping[str, Any] | None, image: Any) -> Mapping[str, Any] | None:
    """The inferer's report with an error for each slice of the file, where slices were brought back."""
    slices, errors = file_slices(image), (report or {}).get("reconstruction_error")
    if report is None or slices is None or not isinstance(errors, list) or len(errors) != image.shape[-1]:
        return report
    return {**report, "reconstruction_error": [errors[k] for k in slices]}


def _source_of(image: Any) -> str:
    """Path of the input file from the meta data of a ``MetaTensor``, or an empty string."""
    name = getattr(image, "meta", {}).get("filename_or_obj", "")
    if isinstance(name, (list, tuple)):
        name = name[0] if name else ""
    return str(name)


def _as_label_array(pred: torch.Tensor | np.ndarray, case: str) -> np.ndarray:
    """``(1, H, W, D)`` label map of any type -> uint8 ``(H, W, D)``."""
    array = pred.detach().cpu().numpy() if isinstance(pred, torch.Tensor) else np.asarray(pred)
    if array.ndim != 4 or array.shape[0] != 1:
        raise ValueError(
            f"{case}: the writer needs one label map (1, H, W, D), got {tuple(array.shape)}: "
            "does the postprocessing end with MostProbableLabeld?"
        )
    labels = array[0].astype(np.uint8)
    if not np.array_equal(labels, array[0]):
        raise ValueError(f"{case}: the label map has values that are not whole numbers within 0..255")
    return labels


def _on_source_grid(mask: np.ndarray, affine: Any, source: str, case: str) -> tuple[nib.Nifti1Image, np.ndarray]:
    """NIfTI image of ``mask`` with the geometry of the file it was made from, and its affine."""
    affine = None if affine is None else np.asarray(affine, dtype=np.float64)
    if not source.lower().endswith(_NIFTI):
        if affine is None:
            raise InputError(f"{case}: position of the scan is unknown", fix="use an input format with an affine")
        image = nib.Nifti1Image(mask, affine)
        image.set_sform(affine, code=1)  # 1: scanner coordinates
        image.set_qform(affine, code=1)
        image.header.set_xyzt_units("mm")
        return image, affine

    original = nib.load(source)
    grid = (*original.shape, 1, 1)[:3]  # a single slice may have two axes in its file
    if grid != mask.shape or any(n != 1 for n in original.shape[3:]):
        raise ValueError(
            f"{case}: mask {mask.shape} is not on the grid of its scan {original.shape}: is Invertd missing?"
        )
    if affine is not None and not np.allclose(affine, original.affine, atol=1e-3):
        raise ValueError(f"{case}: the mask's affine is not that of its scan: is Invertd missing?")
    kind = nib.Nifti2Image if isinstance(original, nib.Nifti2Image) else nib.Nifti1Image
    # Without an affine nibabel leaves the copied sform and qform as they are, to the bit.
    return kind(mask, None, _geometry_of(original.header)), original.affine


def _geometry_of(header: nib.Nifti1Header) -> nib.Nifti1Header:
    """A header with the geometry of ``header`` and nothing else of it."""
    fresh = type(header)()
    for field in _GEOMETRY_FIELDS:
        fresh[field] = header[field]
    pixdim = fresh["pixdim"].copy()
    pixdim[:4] = header["pixdim"][:4]  # pixdim[0] is the handedness of the qform
    fresh["pixdim"] = pixdim
    fresh.set_data_dtype(np.uint8)
    return fresh
