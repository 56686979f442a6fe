"""Tables and pictures of an evaluation."""

from __future__ import annotations

import base64
import logging
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np

from ..inferers.scan_quality import QUALITY_ESTIMATES
from ..transforms import LoadScan
from ..utils.files import write_csv_atomic, write_json_atomic
from ..utils.names import safe_name
from .quality import format_quality, quality_curves

__all__ = ["CASE_COLUMNS", "KeptMask", "draw_pictures", "format_table", "write_tables"]

logger = logging.getLogger(__name__)

CASE_COLUMNS = (
    "domain", "name", "stage", "organ", "dice", "hd95_mm", "assd_mm", "volume_error_percent", "pieces", "volume_ml",
    "reference_ml", "flag", "reconstruction_error", "seconds", "message",
)  # fmt: skip


@dataclass(frozen=True)
class KeptMask:
    """A predicted label map kept in memory for the pictures, compressed, with the files to draw it over."""

    packed: bytes
    shape: tuple[int, ...]
    image: str
    label: str
    affine: np.ndarray

    @classmethod
    def of(cls, mask: np.ndarray, image: str, label: str, affine: np.ndarray) -> KeptMask:
        """Keep ``mask``: uint8 ``(H, W, D)``."""
        return cls(zlib.compress(np.ascontiguousarray(mask).tobytes(), 1), mask.shape, image, label, affine)

    def as_values(self) -> list[Any]:
        """As plain values, to be sent to another process."""
        packed = base64.b85encode(self.packed).decode()
        return [packed, list(self.shape), self.image, self.label, np.asarray(self.affine).tolist()]

    @classmethod
    def from_values(cls, values: Sequence[Any]) -> KeptMask:
        """What :meth:`as_values` gave."""
        packed, shape, image, label, affine = values
        return cls(base64.b85decode(packed), tuple(shape), image, label, np.asarray(affine))

    def mask(self) -> np.ndarray:
        """The label map again."""
        return np.frombuffer(zlib.decompress(self.packed), dtype=np.uint8).reshape(self.shape)


def write_tables(output_dir: Path, rows: Sequence[Mapping[str, Any]], summary: Mapping[str, Any]) -> list[Path]:
    """Write ``per_case.csv`` and ``summary.json``; returns their paths.

    The table has the columns ``CASE_COLUMNS``, and those of further estimates of quality that a row has.
    """
    paths = [output_dir / "per_case.csv", output_dir / "summary.json"]
    more = [name for name in QUALITY_ESTIMATES if name not in CASE_COLUMNS and any(name in row for row in rows)]
    place = CASE_COLUMNS.index("reconstruction_error") + 1
    write_csv_atomic(paths[0], rows, [*CASE_COLUMNS[:place], *more, *CASE_COLUMNS[place:]])
    write_json_atomic(paths[1], summary)
    return paths


def draw_pictures(
    output_dir: Path,
    main_rows: Sequence[Mapping[str, Any]],
    rows: Sequence[Mapping[str, Any]],
    kept: Mapping[tuple[str, str], KeptMask],
    labels: Mapping[str, int],
) -> list[Path]:
    """Draw ``box_plot.png``, ``overlays_<domain>.png`` and, when there are estimates of quality of two patients
    or more, ``risk_coverage.png``; returns those written.

    A picture that cannot be drawn is a warning: the numbers are on disk already.
    """
    if not main_rows:
        return []
    from ..visualize import box_plot, overlay_sheet, pick_cases, risk_coverage_plot  # matplotlib is slow to import

    written: list[Path] = []

    def draw(path: Path, function: Any, *args: Any, **kwargs: Any) -> None:
        try:
            function(*args, **kwargs)
            written.append(path)
        except Exception:
            logger.warning("%s could not be drawn", path.name, exc_info=True)

    path = output_dir / "box_plot.png"
    organ = next(iter(labels))
    draw(
        path,
        box_plot,
        [r for r in rows if r.get("organ") == organ],
        "dice",
        path,
        title=f"{organ}, by patient",
    )
    for domain in dict.fromkeys(row["domain"] for row in main_rows):
        own = [row for row in main_rows if row["domain"] == domain]
        path = output_dir / f"overlays_{safe_name(domain)}.png"

        def sheet(own: list = own, domain: str = domain, path: Path = path) -> None:
            cases = [
                _overlay_case(own[index], note, kept[domain, own[index]["name"]], labels)
                for note, index in pick_cases(own).items()
            ]
            overlay_sheet(cases, path, title=domain)

        draw(path, sheet)
    curves = quality_curves(main_rows)
    if curves:
        path = output_dir / "risk_coverage.png"
        draw(path, risk_coverage_plot, curves, path, title=f"{organ}: does the estimate find the bad masks?")
    return written


def _overlay_case(row: Mapping[str, Any], note: str, kept: KeptMask, labels: Mapping[str, int]) -> dict[str, Any]:
    """One case in display orientation: rows anterior to posterior, columns patient right to left."""
    orientation = nib.orientations.ornt_transform(
        nib.orientations.io_orientation(kept.affine), nib.orientations.axcodes2ornt("PLS")
    )

    def shown(array: np.ndarray) -> np.ndarray:
        return nib.orientations.apply_orientation(array, orientation)

    reference = LoadScan(label=True)(kept.label)[0].numpy()
    reference = np.where(np.isin(reference, list(labels.values())), reference, 0)
    predicted = np.zeros_like(reference)
    mask = kept.mask()
    for index, value in enumerate(labels.values(), 1):
        predicted[mask == index] = value
    rows_and_columns = nib.affines.voxel_sizes(kept.affine)[np.argsort(orientation[:, 0])[:2]]
    return {
        "name": row["name"], "note": note, "dice": row["dice"], "hd95": row["hd95_mm"],
        "image": shown(LoadScan()(kept.image)[0].numpy()), "label": shown(reference),
        "prediction": shown(predicted),
        "spacing": tuple(float(s) for s in rows_and_columns),
    }  # fmt: skip


def format_table(summary: Mapping[str, Any], stages: Sequence[str], failures: Sequence[tuple[str, str]]) -> str:
    """The summary as text for the terminal: one line per domain and stage, then failures by name."""
    head = ("domain", "stage", "n", "Dice", "median", "HD95 mm", "ASSD mm", "volume %", "Dice < .3")
    lines = [head]
    notes = []
    for domain in dict.fromkeys(d for key in ("domains", *stages[1:]) for d in summary[key]):
        for key, stage in zip(("domains", *stages[1:]), stages, strict=True):
            scores = summary[key].get(domain)
            if scores is None:
                continue
            lines.append((
                domain, stage, str(scores["dice"]["n"]),
                _spread(scores["dice"], 3), _number(scores["dice"]["median"], 3),
                _spread(scores["hd95_mm"], 1), _spread(scores["assd_mm"], 1),
                _spread(scores["volume_error_percent"], 1), str(len(scores["failures"])),
            ))  # fmt: skip
            if scores["failures"]:
                notes.append(f"Dice below .3, {domain}, {stage}: {', '.join(scores['failures'])}")
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    text = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines]
    text.insert(1, "  ".join("-" * width for width in widths))
    notes += format_quality(summary.get("quality", {}))
    notes += [f"no result, {name}: {message}" for name, message in failures]
    return "\n".join([*text, *notes])


def _number(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def _spread(scores: Mapping[str, Any], digits: int) -> str:
    if scores["mean"] is None:
        return "-"
    return f"{scores['mean']:.{digits}f} +- {scores['std']:.{digits}f}"
