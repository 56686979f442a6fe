"""From the name of a bundle to its source of pairs, and from a data set to what the source and the checks need."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from monai.bundle import ConfigParser

from ...data import SliceBank, build_slice_bank, load_datalist
from ...handlers import datalist_hash
from ...utils.errors import InputError
from ..benchmark.plan import find_bundles
from ..error_messages import find_input_error
from .source import PairSource

__all__ = ["BundleSource", "RealScans", "find_generate_config", "read_real_scans"]

CONFIG = "generate.json"


@dataclass
class RealScans:
    """The scans a model was trained on, and those it is judged on.

    Args:
        lists: as ``load_datalist`` gives them.
        training: slices of all training scans.
        labelled: slices of those with masks.
        validation: slices of the validation scans; None where there are none.
        hash: of who is in which list.
    """

    lists: dict[str, Any]
    training: SliceBank
    labelled: SliceBank
    validation: SliceBank | None = None
    hash: str = field(default="")

    def scans(self) -> list[torch.Tensor]:
        """Training slices by scan."""
        cases = self.training.cases
        starts = [i for i in range(len(cases)) if i == 0 or cases[i] != cases[i - 1]] + [len(cases)]
        return [self.training.images[a:b].float() for a, b in pairwise(starts)]


class BundleSource:
    """A bundle's ``configs/generate.json``: the ids ``source``, ``preprocessing``, ``volume_preprocessing``.

    Args:
        bundle: name of a bundle (``ct_liver``) or path of its folder.
        overrides: entries to replace; None leaves one as it is.

    Raises:
        InputError: no such bundle, the bundle cannot generate, or it has no such entry.
    """

    def __init__(self, bundle: str | Path, **overrides: Any) -> None:
        self.path = find_generate_config(bundle)
        self.parser = ConfigParser()
        self.parser.read_config(str(self.path))
        given = {key: value for key, value in overrides.items() if value is not None}
        strangers = [key for key in given if key not in self.parser.config]
        if strangers:
            raise InputError(
                f"option --{strangers[0]}: the bundle {self.path.parents[1].name} has no such setting",
                wanted=f"an entry {strangers[0]} in {self.path}", fix="leave the option away",
            )  # fmt: skip
        self.parser.config.update({"bundle_root": str(self.path.parents[1]), **given})
        self.parser.parse(reset=True)

    def get(self, name: str, default: Any = None) -> Any:
        """An entry, with objects built; ``default`` where there is none.

        Raises:
            InputError: the user can mend what is wrong.
        """
        if name not in self.parser.config:
            return default
        try:
            return self.parser.get_parsed_content(name)
        except Exception as error:  # MONAI wraps ours
            found = find_input_error(error)
            if found is None:
                raise
            raise found from error

    def source(self) -> PairSource:
        """The source of pairs."""
        source = self.get("source")
        if not isinstance(source, PairSource):
            raise InputError(
                f"{self.path}: entry source", got=type(source).__name__, wanted="an object as PairSource describes"
            )
        return source

    def label_mapping(self) -> dict[int, int]:
        """Value in the mask files -> class."""
        return {int(value): int(index) for value, index in self.get("label_mapping", {1: 1}).items()}

    def fingerprint(self) -> dict[str, Any]:
        """The bundle's name, and hashes of its weights."""
        found: dict[str, Any] = {"bundle": self.path.parents[1].name}
        for name in ("checkpoint", "critic_checkpoint"):
            path = self.get(name)
            found[name] = file_hash(path) if path and Path(path).is_file() else None
        return found


def find_generate_config(bundle: str | Path) -> Path:
    """``configs/generate.json`` of a bundle, by its name or path.

    Raises:
        InputError: no such bundle, or none that can generate; those that can are named.
    """
    folder = Path(bundle)
    if not folder.is_dir():
        folder = find_bundles() / Path(bundle).name
    path = folder.resolve() / "configs" / CONFIG
    if not path.is_file():
        able = sorted(file.parents[1].name for file in find_bundles().glob(f"*/configs/{CONFIG}"))
        what = f"bundle {bundle}" + ("" if folder.is_dir() else " is not there")
        got = f"no configs/{CONFIG}: it makes no images" if folder.is_dir() else None
        raise InputError(what, got=got, wanted=", ".join(able) or f"a bundle with configs/{CONFIG}")
    return path


def read_real_scans(bundle: BundleSource, dataset_dir: str | Path, labelled: int, depth: int) -> RealScans:
    """Prepare the scans of a data set as the bundle does.

    Args:
        bundle: says how.
        dataset_dir: see ``load_datalist``.
        labelled: training scans whose masks may be looked at.
        depth: above 1 slices are brought to the distance that stacks have.

    Raises:
        InputError: see ``load_datalist`` and ``build_slice_bank``.
    """
    lists = load_datalist(dataset_dir, labelled=labelled)
    preprocessing = bundle.get("preprocessing" if depth == 1 else "volume_preprocessing")
    labelled_bank = build_slice_bank(lists["labelled"], preprocessing)
    training = labelled_bank
    if lists["unlabelled"]:
        rest = build_slice_bank(lists["unlabelled"], preprocessing, label_key=None)
        training = SliceBank(
            torch.cat([labelled_bank.images, rest.images]), None, labelled_bank.cases + rest.cases,
            torch.cat([labelled_bank.positions, rest.positions]),
        )  # fmt: skip
    validation = lists["validation"] and build_slice_bank(lists["validation"], preprocessing, label_key=None)
    return RealScans(lists, training, labelled_bank, validation or None, datalist_hash(lists))


def file_hash(path: str | Path) -> str:
    """First 16 hexadecimal digits of a file's SHA-256."""
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()[:16]


def label_values(mapping: Mapping[int, int]) -> dict[int, int]:
    """Class -> value in the files; of several values for a class the smallest."""
    return {index: min(v for v, i in mapping.items() if i == index) for index in sorted(set(mapping.values())) if index}
