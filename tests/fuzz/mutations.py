"""A seeded stream of scans that are odd, damaged or hostile, each with what has to become of it."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.fuzz import dicom_mutations as dicom
from tests.fuzz import nifti_mutations as nifti
from tests.fuzz.nifti_mutations import EITHER, READ, REFUSE

__all__ = ["EITHER", "KINDS", "READ", "REFUSE", "Case", "make_case", "make_cases"]


@dataclass(frozen=True)
class Case:
    """One input.

    Args:
        kind: of ``KINDS``.
        number: in the stream.
        path: file or folder.
        must: ``"read"``, ``"refuse"``, or ``"either"`` where both are right as long as the values are.
        label: it is a mask.
    """

    kind: str
    number: int
    path: Path
    must: str
    label: bool = False


def make_cases(count: int, seed: int, folder: Path) -> Iterator[Case]:
    """``count`` cases, every kind as often; the same for the same seed."""
    for number in range(count):
        yield make_case(list(KINDS)[number % len(KINDS)], number, seed, folder)


def make_case(kind: str, number: int, seed: int, folder: Path) -> Case:
    """One case; its randomness comes from seed, kind and number alone."""
    draw = random.Random(f"{seed}/{kind}/{number}")
    place = folder / f"{number:04d}"
    place.mkdir(parents=True)
    path, must = KINDS[kind](draw, place)
    return Case(kind, number, path, must, label=kind.startswith("label"))


KINDS: dict[str, Callable[[random.Random, Path], tuple[Path, str]]] = {
    function.__name__: function
    for function in (
        nifti.header_bytes,
        nifti.header_dims,
        nifti.header_huge,
        nifti.header_offset,
        nifti.header_type,
        nifti.header_affine,
        nifti.header_spacing,
        nifti.slope,
        nifti.numbers,
        nifti.numbers_bad,
        nifti.axes,
        nifti.cut,
        nifti.gzip_bytes,
        nifti.gzip_traps,
        nifti.nifti2,
        nifti.label_numbers,
        nifti.paths,
        nifti.paths_bad,
        dicom.dicom,
        dicom.dicom_slices,
        dicom.dicom_mixed,
        dicom.dicom_tilt,
        dicom.dicom_rescale,
        dicom.dicom_tags,
        dicom.dicom_frames,
        dicom.dicom_huge,
        dicom.dicom_bytes,
        dicom.dicom_compressed,
        nifti.other_files,
    )
}
