"""A folder of phantom subjects with the layout of the public abdomen sets."""

from __future__ import annotations

import json
import logging
import os
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from ...utils import InputError, write_json_atomic
from .anatomy import Subject, draw_subject
from .ct import scan_ct
from .mri import SEQUENCES, scan_mri
from .scan import PhantomScan
from .write import write_dicom_series, write_nifti

__all__ = ["make_phantom", "prepare_phantom", "scan_subject", "split_subjects"]

VERSION = 1
"""Raised whenever the same seed gives other voxels."""

DOMAINS = ("ct", *SEQUENCES)
_log = logging.getLogger(__name__)


def make_phantom(
    out: str | os.PathLike,
    subjects: int = 36,
    seed: int = 0,
    train: int | None = None,
    val: int | None = None,
    test: int | None = None,
    modalities: str = "default",
    dicom: bool = False,
    workers: int = 2,
    progress: bool = True,
) -> Path:
    """Make abdominal phantom subjects as CT and MRI, with masks and splits.

    Writes images and labels as ``out/<domain>/images/phNNN.nii.gz`` and ``out/<domain>/labels/phNNN.nii.gz``,
    then ``out/splits.json`` and, last of all, ``out/phantom.json``. Domains are ct, mr_t1in, mr_t1out and
    mr_t2spir. Test subjects exist in all of them, the others as CT only unless ``modalities="all"``.

    A complete folder of the same parameters is left as it is, an unfinished one is finished.

    Args:
        out: the folder; made if missing.
        subjects: how many, at least 3.
        seed: of the population; the same seed gives the same voxels, whatever ``subjects`` and ``workers``.
        train: number of CT training subjects; by default two thirds.
        val: number of CT validation subjects; by default a ninth, at least 1.
        test: number of test subjects; by default the others.
        modalities: "default" or "all".
        dicom: write every scan also as a series ``out/<domain>/dicom/phNNN/*.dcm``.
        workers: threads.
        progress: log a line per subject.

    Returns:
        ``out`` as a path.

    Raises:
        InputError: fewer than 3 subjects, a split that does not add up, an unknown ``modalities``, or a
            folder that holds a phantom made with other parameters.

    Example:
        >>> import tempfile
        >>> folder = make_phantom(tempfile.mkdtemp(), subjects=3, progress=False)
        >>> sorted(p.name for p in folder.iterdir())
        ['ct', 'mr_t1in', 'mr_t1out', 'mr_t2spir', 'phantom.json', 'splits.json']
    """
    out = Path(out)
    if modalities not in ("default", "all"):
        raise InputError("modalities of the phantom", got=repr(modalities), wanted="'default' or 'all'")
    splits = split_subjects(subjects, train, val, test)
    record = {
        "version": VERSION,
        "subjects": subjects,
        "seed": seed,
        "train": len(splits["ct_train"]),
        "val": len(splits["ct_val"]),
        "test": len(splits["ct_test"]),
        "modalities": modalities,
        "dicom": dicom,
    }
    if _is_complete(out, record, splits):
        _log.info("phantom in %s is complete: reused", out)
        return out
    out.mkdir(parents=True, exist_ok=True)
    write_json_atomic(out / "phantom.partial.json", record)
    names = [*splits["ct_train"], *splits["ct_val"], *splits["ct_test"]]

    def make(number: int) -> str:
        name = names[number]
        domains = _domains(name, splits, modalities)
        wanted = [domain for domain in domains if not _is_written(out, domain, name, dicom)]
        for domain, scan in scan_subject(seed, number, wanted):
            write_nifti(scan, *_paths(out, domain, name))
            if dicom:
                write_dicom_series(scan, out / domain / "dicom" / name, name, domain)
        return name

    with ThreadPoolExecutor(max(1, workers)) as pool:
        for done, name in enumerate(pool.map(make, range(subjects)), 1):
            if progress:
                _log.info("phantom: %s (%d of %d)", name, done, subjects)
    write_json_atomic(out / "splits.json", splits)
    write_json_atomic(out / "phantom.json", record)
    (out / "phantom.partial.json").unlink(missing_ok=True)
    return out


def prepare_phantom(
    dataset_dir: str | os.PathLike,
    subjects: int = 36,
    seed: int = 0,
    only_at: str | os.PathLike | None = None,
    **options,
) -> str:
    """Return ``dataset_dir``, after making a phantom there if it is missing, empty or an unfinished phantom.

    For bundles: a folder that holds anything else is the user's own data and is left alone.

    Args:
        dataset_dir: the folder.
        subjects: see :func:`make_phantom`.
        seed: see :func:`make_phantom`.
        only_at: make a phantom only if ``dataset_dir`` is this folder, so that a mistyped path of the user's own
            data is not taken for an order.
        options: further arguments of :func:`make_phantom`.
    """
    folder = Path(dataset_dir)
    if only_at is not None and folder.resolve() != Path(only_at).resolve():
        return os.fspath(dataset_dir)
    if folder.exists() and not folder.is_dir():
        raise InputError(f"dataset folder {folder}", got="a file", wanted="a folder")
    from ...utils.processes import first_process_first  # needs torch, which the rest does not

    with first_process_first():
        started = (folder / "phantom.partial.json").exists()
        if started or not folder.exists() or not any(folder.iterdir()):
            make_phantom(folder, subjects=subjects, seed=seed, **options)
    return os.fspath(dataset_dir)


def scan_subject(seed: int, number: int, domains: list[str]) -> Iterator[tuple[str, PhantomScan]]:
    """Draw subject ``number`` of population ``seed`` and yield (domain, scan) for each of ``domains``."""
    subject: Subject | None = None
    for domain in domains:
        subject = subject or draw_subject(seed, number)
        if domain == "ct":
            yield domain, scan_ct(subject, np.random.default_rng([seed, number, 2]))
        else:
            yield domain, scan_mri(subject, domain, (seed, number, 3))


def split_subjects(subjects: int, train: int | None = None, val: int | None = None, test: int | None = None) -> dict:
    """Split ph000, ph001 ... into CT training, CT validation and test subjects, with nested labelled lists.

    Raises:
        InputError: a part is empty or the parts do not add up to ``subjects``.
    """
    if subjects < 3:
        raise InputError("number of phantom subjects", got=subjects, wanted="3 or more (training, validation, test)")
    if train is None and val is None and test is None:
        val = max(1, round(subjects / 9))
        test = max(1, round(subjects * 2 / 9))
    if train is None:
        val = max(1, round(subjects / 9)) if val is None else val
        test = max(1, round(subjects * 2 / 9)) if test is None else test
        train = subjects - val - test
    elif val is None:
        test = max(1, round((subjects - train) * 2 / 3)) if test is None else test
        val = subjects - train - test
    elif test is None:
        test = subjects - train - val
    if min(train, val, test) < 1 or train + val + test != subjects:
        raise InputError(
            "split of the phantom",
            got=f"{train} training + {val} validation + {test} test",
            wanted=f"three parts of at least 1 that add up to {subjects}",
        )
    names = [f"ph{number:03d}" for number in range(subjects)]
    first, second, third = names[:train], names[train : train + val], names[train + val :]
    splits: dict = {"ct_train": first, "ct_val": second, "ct_test": third}
    splits |= {f"{domain}_test": third for domain in SEQUENCES}
    splits["labelled"] = {str(n): first[:n] for n in (1, 2, 4, 8, 16) if n <= train}
    return splits


def _paths(out: Path, domain: str, name: str) -> tuple[Path, Path]:
    return out / domain / "images" / f"{name}.nii.gz", out / domain / "labels" / f"{name}.nii.gz"


def _is_written(out: Path, domain: str, name: str, dicom: bool) -> bool:
    written = all(path.exists() for path in _paths(out, domain, name))
    return written and (not dicom or (out / domain / "dicom" / name).is_dir())


def _domains(name: str, splits: dict, modalities: str) -> tuple[str, ...]:
    """The domains that subject ``name`` is scanned in."""
    return DOMAINS if name in splits["ct_test"] or modalities == "all" else DOMAINS[:1]


def _is_complete(out: Path, record: dict, splits: dict) -> bool:
    """Whether ``out`` holds every file; clears what an interrupted run with other parameters left there."""
    found, partial = out / "phantom.json", out / "phantom.partial.json"
    if found.exists():
        before = json.loads(found.read_text(encoding="utf-8"))
        if before != record:
            fix = "choose another folder or delete this one"
            raise InputError(f"{out} holds another phantom", got=before, wanted=record, fix=fix)
        names = [*splits["ct_train"], *splits["ct_val"], *splits["ct_test"]]
        return (out / "splits.json").exists() and all(
            _is_written(out, domain, name, record["dicom"])
            for name in names
            for domain in _domains(name, splits, record["modalities"])
        )
    if partial.exists() and json.loads(partial.read_text(encoding="utf-8")) != record:
        for domain in DOMAINS:
            shutil.rmtree(out / domain, ignore_errors=True)
    return False
