"""All axial slices of a set of scans, with or without masks: in memory, mapped from disk, or on the device."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import torch

from ..utils import InputError
from ..utils.processes import first_process_first
from .bank_cache import BankCache, PreparedSlices
from .description import UndescribableError

__all__ = ["SliceBank", "build_slice_bank", "make_bank", "prepare_slices"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class SliceBank:
    """Slices of scans, stacked.

    Args:
        images: ``(N, 1, H, W)`` in [-1, 1], float32 or float16.
        labels: ``(N, 1, H, W)`` uint8 index maps, 0 = background, or None. Slices without any organ stay in.
        cases: name of the scan of each slice.
        positions: ``(N,)`` place of each slice in its scan, 0 = feet end, 1 = head end.

    Raises:
        ValueError: the parts do not fit each other.
    """

    images: torch.Tensor
    labels: torch.Tensor | None
    cases: list[str]
    positions: torch.Tensor

    def __post_init__(self) -> None:
        count = len(self.images)
        if self.images.ndim != 4 or self.images.shape[1] != 1:
            raise ValueError(f"images: wanted (N, 1, H, W), got {tuple(self.images.shape)}")
        if self.labels is not None and self.labels.shape != self.images.shape:
            raise ValueError(f"labels {tuple(self.labels.shape)} do not fit images {tuple(self.images.shape)}")
        if len(self.cases) != count or tuple(self.positions.shape) != (count,):
            raise ValueError(f"{count} images, but {len(self.cases)} cases and {tuple(self.positions.shape)} positions")

    def __len__(self) -> int:
        return len(self.images)

    @property
    def labelled(self) -> bool:
        """Whether masks are there."""
        return self.labels is not None


def build_slice_bank(
    items: Sequence[Mapping[str, Any]],
    preprocessing: Callable[[dict[str, Any]], Mapping[str, Any]],
    label_key: str | None = "label",
    num_workers: int = 2,
    image_key: str = "image",
    dtype: torch.dtype | str = torch.float32,
    cache_dir: str | os.PathLike | None = None,
    device: torch.device | str | None = None,
) -> SliceBank:
    """Run ``preprocessing`` on every item and stack all axial slices, in the order of the items.

    Args:
        items: entries of a datalist (see ``load_datalist``).
        preprocessing: transform of one item to ``image`` (1, H, W, D) and, if there is a mask, ``label``
            alike.
        label_key: key of the mask; None builds a bank without masks. Masks are used when every item has one.
        num_workers: items worked on at once (threads; reading and resampling leave Python's lock).
        image_key: key of the scan.
        dtype: how images are kept; ``torch.float16`` halves the memory, its steps in [-1, 1] are below 0.001.
        cache_dir: keep the slices in a folder below this one, and take them from there when they are there and nothing
            that they depend on has changed (see :class:`BankCache`): no scan is read then, and processes on one machine
            share the memory. They are as private as the scans. Where they cannot be kept (the disk is full or may not
            be written to, the preprocessing draws at random) a warning is logged and the bank is in memory. Of several
            processes the first makes them while the others wait. None: in memory, of each process.
        device: where images and masks are moved, once, so that batches need no copy from the host; None: they stay
            on the CPU.

    Raises:
        InputError: there is no item, only some items have masks, the sizes differ, or items could not be
            read: every bad one is named, after all have been tried.
    """
    made = prepare_slices(items, preprocessing, label_key, num_workers, image_key, dtype, cache_dir)
    return make_bank(made, device)


def make_bank(slices: PreparedSlices, device: torch.device | str | None = None) -> SliceBank:
    """The bank of prepared slices; images and masks on ``device``, what is small on the CPU."""
    images, labels = slices.images, slices.labels
    if device is not None:
        images, labels = images.to(device), None if labels is None else labels.to(device)
    return SliceBank(
        images=images,
        labels=labels,
        cases=[name for name, count in zip(slices.names, slices.counts, strict=True) for _ in range(count)],
        positions=torch.cat([torch.arange(n, dtype=torch.float32) / max(1, n - 1) for n in slices.counts]),
    )


def prepare_slices(
    items: Sequence[Mapping[str, Any]],
    preprocessing: Callable[[dict[str, Any]], Mapping[str, Any]],
    label_key: str | None = "label",
    num_workers: int = 2,
    image_key: str = "image",
    dtype: torch.dtype | str = torch.float32,
    cache_dir: str | os.PathLike | None = None,
    note: Callable[[Mapping[str, Any]], Any] | None = None,
) -> PreparedSlices:
    """What :func:`build_slice_bank` makes its bank of, with a note on every scan.

    Args:
        items, preprocessing, label_key, num_workers, image_key, dtype, cache_dir: see :func:`build_slice_bank`.
        note: a preprocessed item -> plain values to be kept with its slices.

    Raises:
        InputError: see :func:`build_slice_bank`.
    """
    if not items:
        raise InputError(
            "no scans to make slices of",
            wanted="at least one scan in each of the lists for training and validation",
            fix="name scans with masks in splits.json (ct_train, ct_val) or datalist.json (training, validation)",
        )
    dtype = getattr(torch, dtype) if isinstance(dtype, str) else dtype
    has_label = [label_key is not None and item.get(label_key) is not None for item in items]
    if any(has_label) and not all(has_label):
        missing = [_name(item, i, image_key) for i, item in enumerate(items) if not has_label[i]]
        raise InputError(
            "scans with and without masks in one slice bank",
            got=f"no mask for {', '.join(missing)}",
            wanted="all with masks, or none",
            fix="list scans without masks as unlabelled",
        )
    key = label_key if all(has_label) else None

    def make() -> PreparedSlices:
        return _prepare(items, preprocessing, key, num_workers, image_key, dtype, note)

    if cache_dir is None:
        return make()
    try:
        cache = BankCache(cache_dir, items, preprocessing, image_key, key, dtype, note)
    except UndescribableError as error:
        logger.warning("prepared slices are not kept in %s: %s", cache_dir, error)
        return make()
    with first_process_first():
        return _kept(cache, make)


def _kept(cache: BankCache, make: Callable[[], PreparedSlices]) -> PreparedSlices:
    """From disk if they are there; else made, and from disk then, so that their memory is shared from the start."""
    found = cache.load()
    if found is not None:
        logger.info("slice bank: %d slices of %d scans from %s", len(found.images), len(found.names), cache.folder)
        return found
    made = make()
    return (cache.load() if cache.store(made) else None) or made


def _prepare(
    items: Sequence[Mapping[str, Any]],
    preprocessing: Callable[[dict[str, Any]], Mapping[str, Any]],
    label_key: str | None,
    num_workers: int,
    image_key: str,
    dtype: torch.dtype,
    note: Callable[[Mapping[str, Any]], Any] | None,
) -> PreparedSlices:
    def work(index: int) -> tuple[torch.Tensor, torch.Tensor | None, Any] | Exception:
        try:
            data = preprocessing(dict(items[index]))
            return *_slices(data, image_key, label_key, dtype), None if note is None else note(data)
        except Exception as error:
            return error

    with ThreadPoolExecutor(max_workers=max(1, int(num_workers))) as pool:
        results = []
        for index, result in enumerate(pool.map(work, range(len(items)))):
            results.append(result)
            if (index + 1) % 10 == 0 or index + 1 == len(items):
                logger.info("slice bank: %d of %d scans prepared", index + 1, len(items))
    _raise_bad(items, results, image_key)
    return _stack(items, results, image_key)


def _slices(
    data: Mapping[str, Any], image_key: str, label_key: str | None, dtype: torch.dtype
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Volume ``(1, H, W, D)`` to plain slices ``(D, 1, H, W)``."""

    def to_slices(volume: torch.Tensor, kind: torch.dtype) -> torch.Tensor:
        if volume.ndim != 4 or volume.shape[0] != 1:
            raise InputError("preprocessing", got=f"shape {tuple(volume.shape)}", wanted="volumes (1, H, W, D)")
        plain = volume.as_tensor() if hasattr(volume, "as_tensor") else volume
        return plain.detach().permute(3, 0, 1, 2).to(kind).contiguous()

    label = None if label_key is None else to_slices(data[label_key], torch.uint8)
    return to_slices(data[image_key], dtype), label


def _raise_bad(items: Sequence[Mapping[str, Any]], results: list[Any], image_key: str) -> None:
    bad = [(_name(items[i], i, image_key), result) for i, result in enumerate(results) if isinstance(result, Exception)]
    if bad:
        lines = "".join(f"\n  - {name}: {_cause(error)}" for name, error in bad)
        raise InputError(
            f"{len(bad)} of {len(items)} scans cannot be used:{lines}",
            fix="mend these files, or take them out of the datalist",
        ) from bad[0][1]


def _cause(error: Exception) -> str:
    """The message that helps: MONAI wraps errors of transforms, ours lies beneath."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, InputError):
            return str(cause)
        cause = cause.__cause__
    return f"{type(error).__name__}: {error}"


def _stack(items: Sequence[Mapping[str, Any]], results: list[Any], image_key: str) -> PreparedSlices:
    sizes = {tuple(image.shape[2:]) for image, _, _ in results}
    if len(sizes) > 1:
        raise InputError(
            "slices of different sizes",
            got=sorted(sizes),
            wanted="one size for all scans",
            fix="put NormalizeFieldOfViewd into the preprocessing",
        )
    return PreparedSlices(
        images=torch.cat([image for image, _, _ in results]),
        labels=None if results[0][1] is None else torch.cat([label for _, label, _ in results]),
        names=[_name(item, i, image_key) for i, item in enumerate(items)],
        counts=[len(image) for image, _, _ in results],
        notes=[note for _, _, note in results],
    )


def _name(item: Mapping[str, Any], index: int, image_key: str) -> str:
    return str(item.get("name") or item.get(image_key) or f"item {index}")
