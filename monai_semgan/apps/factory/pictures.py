"""Contact sheets: what was kept, what was refused, and the samples nearest to real slices beside these."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from ...visualize import reconstruction_grid, sample_grid, write_png
from .memorisation import NearestSlices
from .runner import PairFactory
from .store import PairStore

__all__ = ["write_pictures"]

COLUMNS = 12


def write_pictures(factory: PairFactory, store: PairStore, shown: int = 60, pairs: int = 12) -> list[Path]:
    """Write ``contact_sheet.png``, ``rejected_sheet.png`` and, with training slices, ``nearest_sheet.png``.

    Sheets show samples spread evenly over all, with their masks below them; a stack is shown by its middle slice.
    ``nearest_sheet.png`` has the ``pairs`` samples that lie nearest to a training slice, refused ones too: that
    slice, the sample, their difference. It shows scans of patients.
    """
    written = []
    for name, records in (("contact_sheet.png", store.kept), ("rejected_sheet.png", store.rejected)):
        if records:
            written.append(_sheet(store.folder / name, factory, _spread(records, shown)))
    near = [record for record in store.records if record["nearest"] is not None]
    if near and factory.nearest is not None:
        near.sort(key=lambda record: min(record["nearest"]["ratios"].values()))
        written.append(_pairs(store.folder / "nearest_sheet.png", factory, factory.nearest, near[:pairs]))
    return written


def _sheet(path: Path, factory: PairFactory, records: Sequence[Mapping[str, Any]]) -> Path:
    made = [factory.draw(record["index"]) for record in records]
    middle = made[0].image.shape[0] // 2
    images, labels = (torch.stack([getattr(pair, part)[middle] for pair in made]) for part in ("image", "label"))
    write_png(path, sample_grid(images, labels, columns=COLUMNS, scale=_scale(images)))
    return path


def _pairs(path: Path, factory: PairFactory, nearest: NearestSlices, records: Sequence[Mapping[str, Any]]) -> Path:
    samples, real = [], []
    for record in records:
        image = factory.draw(record["index"]).image
        found = nearest.nearest(image)
        samples.append(image[found.sample_slice])
        real.append(nearest.images[found.row].float())
    grid = reconstruction_grid(torch.stack(real), torch.stack(samples), scale=_scale(samples[0]))
    write_png(path, grid)
    return path


def _spread(records: Sequence[Mapping[str, Any]], number: int) -> list[Mapping[str, Any]]:
    step = max(1.0, len(records) / number)
    return [records[int(place * step)] for place in range(min(number, len(records)))]


def _scale(image: torch.Tensor) -> int:
    """Small slices are enlarged."""
    return max(1, 128 // image.shape[-1])
