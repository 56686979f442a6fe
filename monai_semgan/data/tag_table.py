"""The tags of slices as a table: read from the user's file, or made from masks for experiments."""

from __future__ import annotations

import csv
import difflib
import hashlib
import logging
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from ..transforms.load_scan import LoadScan
from ..transforms.slice_tags import SliceTags
from ..utils import InputError
from ..utils.failures import describe_failure
from ..utils.files import write_csv_atomic
from ..utils.processes import is_first_process
from .hidden_masks import find_hidden_masks
from .organ_roles import OrganRoles

__all__ = ["TagTable", "load_tag_table"]

logger = logging.getLogger(__name__)
_COLUMNS = ("case", "slice", "tags")
_LAYOUT = "columns case,slice,tags: the scan's name, a slice number or a range (12-40), organs parted by semicolons"


class TagTable:
    """Which organs are tagged in which slice of which case.

    Slices are numbered from 0 along the feet-head axis of the *file*: the numbers that a viewer shows and that the
    bundles' ``report.csv`` has. A slice that no row names has no known tags, which is not the same as no organ: that is
    said by a row with empty tags.

    Args:
        tags: case -> slice number -> names of the organs it shows.
        source: where the table comes from, for messages.
    """

    def __init__(self, tags: Mapping[str, Mapping[int, Iterable[str]]], source: str = "tags") -> None:
        self.tags = {case: {int(k): frozenset(names) for k, names in rows.items()} for case, rows in tags.items()}
        self.source = source

    @classmethod
    def read(cls, path: str | os.PathLike, known: Sequence[str]) -> TagTable:
        """Read a CSV file with the columns ``case``, ``slice`` and ``tags``.

        ``slice`` is a number or a range with both ends, ``12-40``; ``tags`` are names parted by semicolons, or
        nothing. Rows of one slice are added up, so that an organ may have a row of its own.

        Args:
            path: the file.
            known: names that may be in it.

        Raises:
            InputError: the file cannot be read, has other columns, or rows without a case, with a slice that is no
                number, or with an unknown organ; every bad row is named.
        """
        path = Path(path)
        try:
            with path.open(newline="", encoding="utf-8-sig") as stream:
                reader = csv.DictReader(stream, skipinitialspace=True)
                rows, columns = list(reader), [str(name).strip() for name in reader.fieldnames or ()]
        except (OSError, UnicodeDecodeError, csv.Error) as error:
            got = "no such file" if isinstance(error, FileNotFoundError) else str(error)
            raise InputError(f"table of tags {path}", got=got, wanted=f"a CSV file with {_LAYOUT}") from error
        if not set(_COLUMNS) <= set(columns):
            raise InputError(f"table of tags {path}", got=f"columns {', '.join(columns) or 'none'}", wanted=_LAYOUT)
        tags: dict[str, dict[int, set[str]]] = {}
        problems = []
        for line, row in enumerate(rows, 2):
            try:
                case, numbers, names = _parse({str(k).strip(): v for k, v in row.items() if k}, list(known))
            except InputError as problem:
                problems.append(f"\n  line {line}: {problem}")
                continue
            for number in numbers:
                tags.setdefault(case, {}).setdefault(number, set()).update(names)
        if problems:
            more = f"\n  and {len(problems) - 8} more" if len(problems) > 8 else ""
            raise InputError(f"table of tags {path}: rows that cannot be used:{''.join(problems[:8])}{more}")
        return cls(tags, f"table of tags {path}")

    @classmethod
    def derive(
        cls, items: Sequence[Mapping[str, Any]], organs: Mapping[str, int], min_area_mm2: float = 200.0
    ) -> TagTable:
        """Make the table from masks, which are looked at for this alone (see :class:`SliceTags`).

        Args:
            items: entries with ``label`` and ``name``.
            organs: name -> value in the masks.
            min_area_mm2: smallest area of an organ that is tagged.

        Raises:
            InputError: masks that cannot be read; all are named.
        """
        load, slice_tags = LoadScan(label=True), SliceTags(organs, min_area_mm2)
        tags, problems = {}, []
        for item in items:
            try:
                table = slice_tags(load(item["label"]))
            except Exception as error:  # every bad file is to be named, whatever is wrong with it
                problems.append(f"\n  - {item['name']}: {describe_failure(error)}")
                continue
            tags[str(item["name"])] = {
                k: [name for name, there in zip(organs, row, strict=True) if there]
                for k, row in enumerate(table.tolist())
            }
        if problems:
            raise InputError(
                f"{len(problems)} masks give no tags:{''.join(problems)}",
                fix="mend these files, or give the tags in a table (tags_file)",
            )
        return cls(tags, "tags made from masks")

    def rows(self, case: str, count: int, names: Sequence[str]) -> torch.Tensor:
        """Tags of a case, ``(count, len(names))`` bool, slices in the order of the file.

        Raises:
            InputError: the case is not in the table, slices of it are missing, or it names slices it does not have.
        """
        if case not in self.tags:
            near = difflib.get_close_matches(case, list(self.tags), n=1)
            raise InputError(
                f"{self.source}: no tags for {case}", wanted="rows for each scan of the training",
                fix=f"the table has {near[0]}: correct the name" if near else "add rows for its slices",
            )  # fmt: skip
        found = self.tags[case]
        beyond = [k for k in found if k >= count]
        if beyond:
            raise InputError(
                f"{self.source}: slice {min(beyond)} of {case}", got=f"a scan of {count} slices",
                wanted=f"numbers from 0 to {count - 1}, as a viewer of the file shows them",
            )  # fmt: skip
        missing = [k for k in range(count) if k not in found]
        if missing:
            raise InputError(
                f"{self.source}: tags are missing for {len(missing)} of {count} slices of {case}",
                got=f"no row for slice {_ranges(missing)}", wanted="a row for each slice, or ranges",
                fix="add them; a slice that shows no organ has a row with empty tags",
            )  # fmt: skip
        return torch.tensor([[name in found[k] for name in names] for k in range(count)], dtype=torch.bool)

    @property
    def fingerprint(self) -> str:
        """Short text that differs between tables of different tags."""
        rows = sorted((case, k, sorted(names)) for case, found in self.tags.items() for k, names in found.items())
        return hashlib.sha256(repr(rows).encode()).hexdigest()[:16]

    def write(self, path: str | os.PathLike) -> None:
        """Write the table as :meth:`read` reads it, atomically; of several processes the first does."""
        if not is_first_process():
            return
        rows = [
            {"case": case, "slice": k, "tags": ";".join(sorted(found[k]))}
            for case, found in self.tags.items()
            for k in sorted(found)
        ]
        write_csv_atomic(path, rows, _COLUMNS)


def load_tag_table(
    path: str | os.PathLike | None, items: Sequence[Mapping[str, Any]], roles: OrganRoles, min_area_mm2: float = 200.0
) -> TagTable | None:
    """The user's table, or, without one, tags made from the masks that lie in the data set.

    Args:
        path: the table; None makes it from masks. With a table, no mask is looked at.
        items: all scans of the training. Those without ``label`` are looked up in ``labels/`` beside ``images/``.
        roles: the organs to be tagged.
        min_area_mm2: see :class:`TagTable`.

    Returns:
        the table; None where no organ is weak, and nobody needs it.

    Raises:
        InputError: as :class:`TagTable`; or there is no table, and scans have no mask either.
    """
    if not roles.weak:
        return None
    if path is not None:
        return TagTable.read(path, list(roles.organs))
    bare = [item for item in items if not item.get("label")]
    try:
        hidden = {item["name"]: item for item in (find_hidden_masks(bare) if bare else [])}
    except InputError:
        hidden = {}
    found = [item if item.get("label") else hidden.get(item["name"], item) for item in items]
    missing = [str(item["name"]) for item in found if not item.get("label")]
    if missing:
        raise InputError(
            f"tags are missing for {len(missing)} scans", got=", ".join(missing[:8]),
            wanted=f"a table with {_LAYOUT}", fix="give its path with --tags_file",
        )  # fmt: skip
    logger.info("no table of tags is given: they are made from the masks of %d scans", len(found))
    return TagTable.derive(found, roles.labels, min_area_mm2)


def _parse(row: Mapping[str, Any], known: list[str]) -> tuple[str, range, list[str]]:
    case, numbers = (str(row.get(name) or "").strip() for name in ("case", "slice"))
    if not case:
        raise InputError("no case", wanted="the name of the scan")
    match = re.fullmatch(r"(\d+)(?:\s*-\s*(\d+))?", numbers)
    if match is None or int(match[2] or match[1]) < int(match[1]):
        raise InputError("slice", got=repr(numbers), wanted="a number from 0, or a range such as 12-40")
    names = [name.strip() for name in re.split(r"[;|]", str(row.get("tags") or "")) if name.strip()]
    for name in names:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            wanted = f"{near[0]}?" if near else f"some of {', '.join(known)}, parted by semicolons"
            raise InputError("unknown organ", got=name, wanted=wanted)
    return case, range(int(match[1]), int(match[2] or match[1]) + 1), names


def _ranges(numbers: Sequence[int]) -> str:
    """``[3, 4, 5, 9]`` -> ``3-5, 9``."""
    parts: list[list[int]] = []
    for number in numbers:
        if parts and number == parts[-1][1] + 1:
            parts[-1][1] = number
        else:
            parts.append([number, number])
    texts = [str(first) if first == last else f"{first}-{last}" for first, last in parts]
    return ", ".join(texts[:6]) + (" and more" if len(texts) > 6 else "")
