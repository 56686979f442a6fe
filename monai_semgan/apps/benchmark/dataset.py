"""The data set of a benchmark: fixed splits for every number of labels, or a phantom where none is named."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ...utils.errors import InputError
from .rows import Preset

__all__ = ["choose_dataset", "read_splits"]


def choose_dataset(
    named: str | Path | None, preset: Preset, output_dir: Path, bundles: Path, make: bool = True
) -> Path:
    """The folder that was named, or that of a phantom, which is made when it is not there.

    Args:
        named: the option ``--dataset_dir``.
        preset: says how large a phantom of its own it wants.
        output_dir: where that one lies; the common one is in the bundle ``ct_liver``.
        bundles: folder of the bundles.
        make: False only says where the phantom would be.
    """
    if named is not None:
        return Path(named)
    subjects = preset.phantom_subjects
    folder = bundles / "ct_liver" / "data" / "phantom" if subjects is None else output_dir / "phantom"
    if make:
        from ..phantom import prepare_phantom

        prepare_phantom(folder, **({} if subjects is None else {"subjects": subjects}))
    return folder


def read_splits(folder: str | Path, labelled: Sequence[int]) -> dict[int, str]:
    """Hash of who is in which part of the data set, for each number of labelled scans.

    Raises:
        InputError: the folder has no fixed lists, no list with that many labelled scans, or no test scan with a
            mask; or a file that is listed is missing.
    """
    from ...data import load_datalist
    from ...handlers import datalist_hash

    folder = Path(folder)
    if folder.is_dir() and not any((folder / name).is_file() for name in ("splits.json", "datalist.json")):
        raise InputError(
            f"data set folder {folder} has no fixed splits", got="neither splits.json nor datalist.json",
            wanted="lists of the scans for training, validation and tests, the same for every method",
            fix="write a splits.json, as docs/how_to/own_data.md shows",
        )  # fmt: skip
    hashes = {}
    for number in labelled:
        lists = load_datalist(folder, labelled=number)
        if len(lists["labelled"]) != number:
            raise InputError(
                f"data set folder {folder}: option labelled", got=number,
                wanted=f"at most the {len(lists['labelled'])} training scans with a mask",
            )  # fmt: skip
        if not any("label" in item for items in lists["test"].values() for item in items):
            raise InputError(f"data set folder {folder} has no test scan with a mask", fix="add test scans with masks")
        hashes[number] = datalist_hash(lists)
    return hashes
