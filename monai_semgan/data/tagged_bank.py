"""A bank of slices whose weak organs are known by tags alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch

from ..transforms import file_slices, slices_in_file
from ..transforms.slice_tags import slice_axis
from ..utils import InputError
from .organ_roles import OrganRoles
from .slice_bank import SliceBank, make_bank, prepare_slices
from .tag_table import TagTable

__all__ = ["UNKNOWN", "TaggedSliceBank", "build_tagged_slice_bank", "tag_correlation", "tag_slices"]

UNKNOWN = 255
"""Label of a pixel that may be background or any of its slice's candidates."""


@dataclass(frozen=True)
class TaggedSliceBank(SliceBank):
    """Slices with tags, and with masks of strong organs or without any.

    Args:
        images, cases, positions: see :class:`SliceBank`.
        labels: ``(N, 1, H, W)`` classes of strong organs, or None. Where a weak organ is tagged, what is not masked is
            ``UNKNOWN``: nobody has said that it is background.
        tags: ``(N, K - 1)`` bool, the organs in the order of their classes. Like the candidates they stay on the CPU.
        candidates: ``(N, K)`` bool, what an ``UNKNOWN`` pixel may be: background and, where there are masks, the tagged
            weak organs (a strong one would be masked), else all tagged organs.
    """

    tags: torch.Tensor
    candidates: torch.Tensor

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.tags.ndim != 2 or self.candidates.shape != (len(self), self.tags.shape[1] + 1):
            raise ValueError(f"tags {tuple(self.tags.shape)} and candidates {tuple(self.candidates.shape)} do not fit")


def build_tagged_slice_bank(
    items: Sequence[Mapping[str, Any]],
    preprocessing: Callable[[dict[str, Any]], Mapping[str, Any]],
    tags: TagTable | None,
    roles: OrganRoles,
    label_key: str | None = "label",
    image_key: str = "image",
    **options: Any,
) -> TaggedSliceBank:
    """:func:`build_slice_bank`, with tags.

    Args:
        items, preprocessing, label_key, image_key, options: see :func:`build_slice_bank`. With masks, ``preprocessing``
            has to take all but the strong organs out of them (``roles.strong_mapping``).
        tags: the tags of all slices; None: of no organ in any.
        roles: strong and weak organs.

    Raises:
        InputError: as :func:`build_slice_bank`, tags are missing, or a weak organ is still in a mask.
    """
    device = options.pop("device", None)
    made = prepare_slices(
        items, preprocessing, label_key, image_key=image_key, note=partial(_place, image_key), **options
    )
    bank = make_bank(made, device)
    places = dict(zip(made.names, made.notes, strict=True))
    table = torch.zeros(len(bank), len(roles.names), dtype=torch.bool)
    for case in dict.fromkeys(bank.cases) if tags is not None else ():
        rows = torch.tensor([name == case for name in bank.cases])
        flipped, count, taken = places[case]
        found = tags.rows(case, count, roles.names)
        found = found.flip(0) if flipped else found
        table[rows] = found if taken is None else found[taken]
    return tag_slices(bank, table, roles)


def _place(image_key: str, data: Mapping[str, Any]) -> tuple[bool, int, list[int] | None]:
    """Where a bank's slices, which go from feet to head, are in the table, which has them as they stand in the file.

    Whether the two run against each other, slices in the file, and which of them were taken (None: all).
    """
    image = data[image_key]
    flipped = bool(slice_axis(image.meta["original_affine"])[1])
    return flipped, len(file_slices(image) or range(image.shape[-1])), slices_in_file(image)


def tag_slices(bank: SliceBank, tags: torch.Tensor, roles: OrganRoles) -> TaggedSliceBank:
    """Put tags ``(N, organs)`` to the slices of a bank; what is not masked is ``UNKNOWN`` where weak organs are tagged.

    Raises:
        InputError: the bank's masks hold a weak organ.
    """
    weak = torch.tensor([name in roles.weak for name in roles.names])
    labels = bank.labels
    if labels is not None:
        strangers = set(torch.unique(labels).tolist()) - {0, UNKNOWN, *roles.strong_classes}
        if strangers:
            raise InputError(
                "masks for training hold more than strong organs", got=f"classes {sorted(strangers)}",
                wanted=f"classes {roles.strong_classes}", fix="map the masks by strong_mapping of the organs' roles",
            )  # fmt: skip
        tagged = (tags & weak).any(1)[:, None, None, None]
        labels = torch.where((labels == 0) & tagged.to(labels.device), torch.full_like(labels, UNKNOWN), labels)
        may_be = tags & weak
    else:
        may_be = tags
    candidates = torch.cat([torch.ones(len(tags), 1, dtype=torch.bool), may_be], dim=1)
    return TaggedSliceBank(bank.images, labels, bank.cases, bank.positions, tags, candidates)


def tag_correlation(tags: torch.Tensor) -> torch.Tensor:
    """Correlation of the organs' tags over slices, ``(organs, organs)``; 0 with an organ that is always or never there.

    Organs that always come together (above .9) cannot be told apart by any method that learns from tags.
    """
    centred = tags.double() - tags.double().mean(0)
    spread = centred.pow(2).sum(0).sqrt()
    matrix = (centred.T @ centred) / (spread[:, None] * spread[None, :]).clamp(min=1e-12)
    return matrix.float()
