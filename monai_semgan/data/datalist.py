"""Find out which scans of a data set folder are labelled, unlabelled, for validation and for tests."""

from __future__ import annotations

import json
import os
import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..transforms.load_scan import scan_name
from ..utils import InputError

__all__ = ["DOMAINS", "load_datalist"]

DOMAINS = ("ct", "mr_t1in", "mr_t1out", "mr_t2spir")
_FOLDER_ALIASES = {"mr": "mr_t2spir"}
_LAYOUTS = "splits.json with <domain>/images and <domain>/labels, a datalist.json, or images/ and labels/"


def load_datalist(
    dataset_dir: str | os.PathLike, labelled: int = 8, domains: Sequence[str] | None = None, seed: int = 0
) -> dict[str, Any]:
    """Read the lists of a data set folder.

    Three layouts are understood, tried in this order: ``splits.json`` with ``<domain>/images/NAME.nii.gz``
    and ``<domain>/labels/NAME.nii.gz``; ``datalist.json`` as MONAI has it (``training``, ``validation``,
    ``test`` with relative paths; training entries without ``label`` are unlabelled); a bare folder with
    ``images/`` and ``labels/``, split by ``seed``.

    Args:
        dataset_dir: the folder.
        labelled: how many training scans are used with their masks; the other ones become unlabelled.
        domains: test domains to keep, e.g. ``("ct", "mr_t2spir")``; None keeps all.
        seed: of the split of a bare folder.

    Returns:
        ``{"labelled": [{"image", "label", "name", "domain"}], "unlabelled": [{"image", "name", "domain"}],
        "validation": [as labelled], "test": {domain: [as labelled; label only if there is one]}}``, absolute
        paths.

    Raises:
        InputError: the folder or a named file is missing, the lists are not understood, or ``labelled`` does
            not fit.
    """
    folder = Path(dataset_dir).expanduser().resolve()
    if not folder.is_dir():
        raise InputError(
            f"data set folder {dataset_dir} is missing", wanted=f"a folder with {_LAYOUTS}", fix="correct the path"
        )
    if isinstance(labelled, bool) or int(labelled) < 1:
        raise InputError("option labelled", got=labelled, wanted="the number of labelled training scans, at least 1")
    if (folder / "splits.json").is_file():
        lists = _from_splits(folder, int(labelled))
    elif (folder / "datalist.json").is_file():
        lists = _from_datalist(folder, int(labelled))
    elif (folder / "images").is_dir():
        lists = _from_bare_folder(folder, int(labelled), seed)
    else:
        found = ", ".join(sorted(p.name for p in folder.iterdir())[:10]) or "nothing"
        raise InputError(f"data set folder {folder} is not understood", got=found, wanted=_LAYOUTS)
    _check_files(folder, lists)
    _check_no_leak(folder, lists)
    if domains is not None:
        strangers = sorted(set(domains) - set(lists["test"]))
        if strangers:
            raise InputError(
                f"option domains: the folder {folder} has no such test scans", got=", ".join(strangers),
                wanted=f"some of {', '.join(lists['test'])}",
            )  # fmt: skip
        lists["test"] = {name: items for name, items in lists["test"].items() if name in set(domains)}
    return lists


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read", got=str(error), wanted="a JSON file") from error
    if not isinstance(content, dict):
        raise InputError(f"{path}", got=type(content).__name__, wanted="a JSON object with lists of scans")
    return content


def _from_splits(folder: Path, labelled: int) -> dict[str, Any]:
    path = folder / "splits.json"
    splits = _read_json(path)
    if not splits.get("ct_train"):
        raise InputError(f"{path}", got=f"keys {', '.join(splits)}", wanted='a list "ct_train" of training scans')
    splits = {key: _names(path, key, value) for key, value in splits.items()}
    train = splits["ct_train"]
    chosen = _labelled_names(path, splits, train, labelled)
    by_name = {name: _item(folder, "ct", name) for name in train}
    for name in chosen:
        if "label" not in by_name[name]:
            raise InputError(
                f"labelled scan {name} has no mask",
                got=f"nothing at {folder / 'ct' / 'labels' / name}.nii.gz",
                fix=f'add the mask, or take the name out of "labelled" in {path}',
            )
    test: dict[str, list] = {}
    for key, names in splits.items():
        domain = _test_domain(key)
        if domain is not None:
            test.setdefault(domain[1], []).extend(_item(folder, domain[0], name) for name in names)
    validation = [_item(folder, "ct", name) for name in splits.get("ct_val", [])]
    _check_masks(validation, folder / "ct" / "labels")
    if validation and not test.get("ct"):
        test["ct"] = [dict(item) for item in validation]
    return {
        "labelled": [by_name[name] for name in chosen],
        "unlabelled": [_without_label(by_name[name]) for name in train if name not in set(chosen)],
        "validation": [item for item in validation if "label" in item],
        "test": {name: test[name] for name in sorted(test, key=_domain_order)},
    }


def _names(path: Path, key: str, value: Any) -> Any:
    """The lists of names under a key of splits.json as text; notes under other keys stay as they are."""
    if key == "labelled" and isinstance(value, dict):
        return {number: _as_names(path, f"{key}: {number}", names) for number, names in value.items()}
    if key in ("ct_train", "ct_val", "labelled") or _test_domain(key) is not None:
        return _as_names(path, key, value)
    return value


def _as_names(path: Path, key: str, value: Any) -> list[str]:
    if not isinstance(value, list) or not all(isinstance(name, (str, int)) for name in value):
        raise InputError(f'{path}, "{key}"', got=value, wanted='a list of names of scans, e.g. ["ct00", "ct01"]')
    return [str(name) for name in value]


def _check_masks(validation: Sequence[Mapping[str, Any]], where: Path) -> None:
    validation = [item for item in validation if Path(item["image"]).exists()]  # the others are told later
    if validation and not any("label" in item for item in validation):
        raise InputError(
            "no validation scan has a mask", got=", ".join(item["name"] for item in validation),
            fix=f"put their masks into {where}, under the names of the scans",
        )  # fmt: skip


def _labelled_names(path: Path, splits: Mapping[str, Any], train: list[str], labelled: int) -> list[str]:
    table = splits.get("labelled") or {}
    if str(labelled) in table:
        names = list(table[str(labelled)])
    elif table:
        raise InputError(
            f"no split with {labelled} labelled scans in {path}",
            got=f"labelled={labelled}",
            wanted=f"one of {', '.join(sorted(table, key=int))}",
            fix=f"choose one of these, or add the list to {path.name}",
        )
    elif labelled <= len(train):
        names = train[:labelled]
    else:
        raise InputError("option labelled", got=labelled, wanted=f"at most the {len(train)} training scans")
    strangers = [name for name in names if name not in train]
    if strangers:
        raise InputError(f'{path}: "labelled" names scans that are not in "ct_train"', got=", ".join(strangers))
    return names


def _test_domain(key: str) -> tuple[str, str] | None:
    """``mr_dev_test`` -> folder ``mr``, domain ``mr_t2spir``; None when ``key`` is no test list."""
    for suffix in ("_dev_test", "_test"):
        if key.endswith(suffix):
            folder = key[: -len(suffix)]
            return folder, _FOLDER_ALIASES.get(folder, folder)
    return None


def _domain_order(domain: str) -> tuple[int, str]:
    return (DOMAINS.index(domain) if domain in DOMAINS else len(DOMAINS), domain)


def _item(folder: Path, domain_folder: str, name: str) -> dict[str, Any]:
    base = folder / domain_folder
    item = {"image": str(_with_suffix(base / "images" / name)), "name": name}
    item["domain"] = _FOLDER_ALIASES.get(domain_folder, domain_folder)
    label = _with_suffix(base / "labels" / name)
    if label.is_file():
        item["label"] = str(label)
    return item


def _with_suffix(path: Path) -> Path:
    if path.name.endswith((".nii", ".nii.gz")):
        return path
    plain = path.with_name(path.name + ".nii")
    return plain if plain.is_file() else path.with_name(path.name + ".nii.gz")


def _from_datalist(folder: Path, labelled: int) -> dict[str, Any]:
    path = folder / "datalist.json"
    content = _read_json(path)
    if not content.get("training"):
        raise InputError(f"{path}", got=f"keys {', '.join(content)}", wanted='a list "training"')
    training = _entries(folder, path, content["training"], "ct", "training")
    with_mask = [item for item in training if "label" in item]
    if not with_mask:
        raise InputError(f"{path}: no training scan has a mask", wanted='at least one entry with "label"')
    chosen, rest = with_mask[:labelled], with_mask[labelled:]
    validation = _entries(folder, path, content.get("validation", []), "ct", "validation")
    tests = content.get("test", [])
    tests = tests if isinstance(tests, dict) else {"ct": tests}
    test = {name: _entries(folder, path, items, name, f"test/{name}") for name, items in tests.items() if items}
    if validation and not test:
        test = {"ct": [dict(item) for item in validation]}
    return {
        "labelled": chosen,
        "unlabelled": [_without_label(item) for item in training if item in rest or "label" not in item],
        "validation": [item for item in validation if "label" in item],
        "test": test,
    }


def _entries(folder: Path, path: Path, entries: Any, domain: str, where: str) -> list[dict[str, Any]]:
    if not isinstance(entries, list):
        raise InputError(f"{path}, {where}", got=type(entries).__name__, wanted="a list")
    items = []
    for number, entry in enumerate(entries):
        entry = {"image": entry} if isinstance(entry, str) else entry
        if not isinstance(entry, dict) or not entry.get("image"):
            raise InputError(f'{path}, {where}, entry {number}: no "image"', got=entry, wanted='{"image": "path"}')
        item = {"image": str(folder / entry["image"])}
        item["name"] = str(entry.get("name") or scan_name(item["image"]))
        item["domain"] = str(entry.get("domain", domain))
        if entry.get("label"):
            item["label"] = str(folder / entry["label"])
        items.append(item)
    return items


def _from_bare_folder(folder: Path, labelled: int, seed: int) -> dict[str, Any]:
    """A fifth of the scans with masks is for validation; of the others ``labelled`` keep theirs."""
    paths = sorted((folder / "images").rglob("*.nii")) + sorted((folder / "images").rglob("*.nii.gz"))
    names = sorted({p.relative_to(folder / "images").as_posix() for p in paths})
    if not names:
        raise InputError(f"{folder / 'images'} holds no scans", wanted="NIfTI files (.nii, .nii.gz)")
    items = []
    for name in names:
        item = {"image": str(folder / "images" / name), "name": scan_name(name), "domain": "ct"}
        if (folder / "labels" / name).is_file():
            item["label"] = str(folder / "labels" / name)
        items.append(item)
    with_mask = [item for item in items if "label" in item]
    if not with_mask:
        raise InputError(f"no scan in {folder} has a mask", wanted="labels/ with files named as in images/")
    random.Random(seed).shuffle(with_mask)
    count = max(1, len(with_mask) // 5) if len(with_mask) > 1 else 0
    validation, training = with_mask[:count], with_mask[count:]
    rest = training[labelled:] + [item for item in items if "label" not in item]
    return {
        "labelled": training[:labelled],
        "unlabelled": [_without_label(item) for item in rest],
        "validation": validation,
        "test": {"ct": [dict(item) for item in validation]} if validation else {},
    }


def _without_label(item: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in item.items() if key != "label"}


def _check_no_leak(folder: Path, lists: Mapping[str, Any]) -> None:
    """Nobody may be trained on and judged on."""
    trained = {item["image"] for item in (*lists["labelled"], *lists["unlabelled"])}
    judged = [*lists["validation"], *(item for items in lists["test"].values() for item in items)]
    both = sorted({item["name"] for item in judged if item["image"] in trained})
    if both:
        raise InputError(
            f"data set folder {folder}: scans are both in training and in validation or test",
            got=", ".join(both),
            wanted="separate lists",
            fix="take them out of one of the lists",
        )


def _check_files(folder: Path, lists: Mapping[str, Any]) -> None:
    items = [*lists["labelled"], *lists["unlabelled"], *lists["validation"]]
    items += [item for domain in lists["test"].values() for item in domain]
    missing = sorted(
        {item[k] for item in items for k in ("image", "label") if k in item and not Path(item[k]).exists()}
    )
    if missing:
        shown = ", ".join(missing[:8]) + (f" and {len(missing) - 8} more" if len(missing) > 8 else "")
        raise InputError(
            f"data set folder {folder}: {len(missing)} listed files are missing",
            got=shown,
            fix="copy the missing files, or take them out of splits.json or datalist.json",
        )
