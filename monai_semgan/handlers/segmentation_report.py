"""Two tables about a folder of masks: one row a slice, one row a case."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np

from ..inferers.scan_quality import scan_quality
from ..utils.errors import InputError
from ..utils.files import write_csv_atomic

__all__ = ["SegmentationReport", "flag_slices"]

SLICE_COLUMNS = ("case", "slice", "reconstruction_error", "liver_pixels", "flag")
CASE_COLUMNS = (
    "case", "status", "file", "volume_ml", "slices", "slices_with_liver", "reconstruction_error_mean",
    "flagged_slices", "message",
)  # fmt: skip
QUALITY_COLUMNS = ("predicted_dice", "agreement", "out_of_distribution")


class SegmentationReport:
    """``report.csv`` (slices) and ``report_cases.csv`` (cases) of an output folder, rewritten after every
    scan.

    Rows of an earlier run stay until the same case succeeds again. When it fails instead, its earlier rows
    and file stay and the message says so.

    ``slice`` counts from 0 along the through-plane axis of the *file*, so that it is the number a viewer
    shows; ``reconstruction_error`` says how badly the generator explains that slice (empty when the inferer
    gave none); ``liver_pixels`` counts all foreground of the mask.

    ``report_cases.csv`` also has columns ``predicted_dice`` and ``agreement`` (of several organs the lowest) and
    ``out_of_distribution`` once an inferer has reported them (see ``scan_quality``), before ``message``.

    Args:
        output_dir: the folder.
        error_threshold: see ``flag_slices``.

    Raises:
        InputError: when a file of that name in the folder is not such a report; it is left alone.
    """

    def __init__(self, output_dir: str | Path, error_threshold: float | None = None) -> None:
        self.error_threshold = error_threshold
        self._slice_path = Path(output_dir) / "report.csv"
        self._case_path = Path(output_dir) / "report_cases.csv"
        self._slices = _read_rows(self._slice_path, SLICE_COLUMNS)
        self._cases = {row["case"]: row for row in _read_rows(self._case_path, CASE_COLUMNS, QUALITY_COLUMNS)}

    def add(
        self,
        case: str,
        file: str,
        mask: np.ndarray,
        affine: np.ndarray,
        report: Mapping[str, Any] | None = None,
    ) -> None:
        """Add a finished case.

        Args:
            case: name of the scan.
            file: name of the mask's file.
            mask: ``(H, W, D)`` on the grid of the file.
            affine: of that grid, to RAS mm.
            report: the inferer's, with ``reconstruction_error`` for each slice from feet to head, and the
                estimates of ``scan_quality`` for the whole scan.
        """
        axis, flipped = _through_plane(affine)
        pixels = np.count_nonzero(mask, axis=tuple(a for a in range(3) if a != axis))
        errors = list((report or {}).get("reconstruction_error") or [])
        if len(errors) != len(pixels):
            errors = []
        if flipped:
            errors = errors[::-1]
        flags = flag_slices(errors, self.error_threshold) or [""] * len(pixels)
        rows = [
            {
                "case": case,
                "slice": k,
                "reconstruction_error": f"{errors[k]:.6g}" if errors else "",
                "liver_pixels": int(pixels[k]),
                "flag": flags[k],
            }
            for k in range(len(pixels))
        ]
        volume = float(pixels.sum()) * float(np.prod(nib.affines.voxel_sizes(affine))) / 1000.0
        self._slices = [row for row in self._slices if row["case"] != case] + rows
        self._cases[case] = {
            "case": case,
            "status": "done",
            "file": file,
            "volume_ml": f"{volume:.3f}",
            "slices": len(pixels),
            "slices_with_liver": int(np.count_nonzero(pixels)),
            "reconstruction_error_mean": f"{np.mean(errors):.6g}" if errors else "",
            "flagged_slices": flags.count("check"),
            **_quality(report),
            "message": "" if pixels.any() else "the mask is empty: check",
        }
        self._write()

    def add_failure(self, case: str, message: str) -> None:
        """Add a case that gave no result; an earlier result of it stays."""
        earlier = self._cases.get(case)
        if earlier is not None and earlier["status"] == "done":
            self._cases[case] = {**earlier, "message": f"earlier result kept; the last run failed: {message}"}
        else:
            self._cases[case] = {"case": case, "status": "failed", "message": message}
        self._write()

    def take_over(self, other: SegmentationReport) -> None:
        """Add all cases of another report; its rows replace those of the same names."""
        self._slices = [row for row in self._slices if row["case"] not in other._cases] + other._slices
        self._cases |= other._cases
        self._write()

    def _write(self) -> None:
        write_csv_atomic(self._slice_path, self._slices, SLICE_COLUMNS)
        cases = list(self._cases.values())
        known = [name for name in QUALITY_COLUMNS if any(row.get(name) for row in cases)]
        columns = [*CASE_COLUMNS[:-1], *known, CASE_COLUMNS[-1]]
        write_csv_atomic(self._case_path, [{name: row.get(name, "") for name in columns} for row in cases], columns)


def flag_slices(errors: Sequence[float], threshold: float | None = None) -> list[str]:
    """``"check"`` for each slice whose reconstruction error is too high, else ``""``.

    Args:
        errors: one a slice.
        threshold: errors above it are flagged. None: above the median by 4 robust standard deviations (1.4826
            times the median absolute deviation) of this very scan and by a tenth of the median at least; that
            finds slices unlike their neighbours, not a scan that is unlike the training data as a whole.
            Errors that are not finite are always flagged.
    """
    values = np.asarray(errors, dtype=np.float64)
    if values.size == 0:
        return []
    finite = values[np.isfinite(values)]
    if threshold is None and finite.size:
        middle = float(np.median(finite))
        threshold = middle + max(4.0 * 1.4826 * float(np.median(np.abs(finite - middle))), 0.1 * abs(middle))
    return ["check" if not np.isfinite(v) or v > threshold else "" for v in values]


def _through_plane(affine: np.ndarray) -> tuple[int, bool]:
    """Axis of the array closest to feet-head, and whether it runs from head to feet."""
    orientation = nib.orientations.io_orientation(affine)
    axis = int(np.flatnonzero(orientation[:, 0] == 2)[0])
    return axis, bool(orientation[axis, 1] < 0)


def _quality(report: Mapping[str, Any] | None) -> dict[str, str]:
    """Estimates for the whole scan, as text; of several organs the lowest."""
    found = scan_quality(report, organs=None)
    return {name: f"{min(found[name]):.6g}" for name in QUALITY_COLUMNS if name in found}


def _read_rows(path: Path, columns: Sequence[str], optional: Sequence[str] = ()) -> list[dict[str, Any]]:
    if not path.exists():
        return []
    try:
        with path.open(newline="", encoding="utf-8") as stream:
            reader = csv.DictReader(stream)
            rows, found = list(reader), tuple(reader.fieldnames or ())
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path} cannot be read: {error}", fix="move it away or choose another folder") from error
    if tuple(name for name in found if name not in optional) != tuple(columns):
        raise InputError(
            f"{path} is not a report of this program", got=f"columns {found}", wanted=f"{tuple(columns)}",
            fix="move it away or choose another output folder",
        )  # fmt: skip
    return rows
