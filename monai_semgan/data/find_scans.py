"""List the scans below a folder: NIfTI files and DICOM series."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

from ..transforms.load_scan import ITK_SUFFIXES, NIFTI_SUFFIXES, scan_name
from ..utils import InputError

__all__ = ["find_scans"]

_SKIPPED_FOLDERS = {"labels"}


def find_scans(dataset_dir: str | os.PathLike) -> list[dict[str, str]]:
    """List scans as ``[{"image": path, "name": unique name}]``, sorted by path.

    NIfTI files are taken from the folder and everything below it; folders named ``labels`` and hidden ones
    are skipped. A folder with DICOM files gives one scan per series, ``image`` being the folder; when it
    holds several series, ``series_uid`` says which (``LoadScand`` reads it). A path to a single file gives
    that file.

    Raises:
        InputError: the path is missing, or there is no scan.
    """
    root = Path(dataset_dir).expanduser()
    if not root.exists():
        raise InputError(f"{dataset_dir} is missing", wanted="a folder with scans, or one scan", fix="correct the path")
    if root.is_file():
        if not root.name.lower().endswith((*NIFTI_SUFFIXES, *ITK_SUFFIXES)):
            raise InputError(f"{root} is not a scan", got=root.suffix or "no file ending", wanted=".nii or .nii.gz")
        return [{"image": str(root), "name": scan_name(root)}]
    found: list[dict[str, str]] = []
    for folder, folders, files in os.walk(root):
        folders[:] = sorted(f for f in folders if f.lower() not in _SKIPPED_FOLDERS and not f.startswith("."))
        files = sorted(f for f in files if not f.startswith("."))
        nifti = [f for f in files if f.lower().endswith(NIFTI_SUFFIXES)]
        found += [{"image": str(Path(folder) / f), "name": scan_name(f)} for f in nifti]
        if any(_is_dicom(Path(folder) / f) for f in files if f not in nifti):
            found += _dicom_series(Path(folder))
    if not found:
        raise InputError(
            f"no scans below {root}",
            wanted="NIfTI files (.nii, .nii.gz) or folders with DICOM series",
            fix="name the folder that holds the scans",
        )
    return _unique_names(found, root)


def _is_dicom(path: Path) -> bool:
    """DICOM files carry their mark after 128 bytes, whatever they are called."""
    try:
        with path.open("rb") as stream:
            return stream.read(132)[128:] == b"DICM"
    except OSError:
        return False


def _dicom_series(folder: Path) -> list[dict[str, str]]:
    import SimpleITK

    series = sorted(SimpleITK.ImageSeriesReader.GetGDCMSeriesIDs(str(folder)))
    name = folder.resolve().name
    if len(series) < 2:
        # without a series its files are damaged: loading it will say so, and it is not lost without a word
        return [{"image": str(folder), "name": name}]
    return [
        {"image": str(folder), "name": f"{name}_series{number}", "series_uid": uid}
        for number, uid in enumerate(series, start=1)
    ]


def _unique_names(found: list[dict[str, str]], root: Path) -> list[dict[str, str]]:
    """Put folder names in front of names that several scans share."""
    counts = Counter(scan["name"] for scan in found)
    used: set[str] = set()
    for scan in found:
        name = scan["name"]
        if counts[name] > 1:
            parents = Path(scan["image"]).relative_to(root).parent.parts
            name = "_".join((*parents, name))
        number, unique = 2, name
        while unique in used:
            unique, number = f"{name}_{number}", number + 1
        scan["name"] = unique
        used.add(unique)
    return found
