"""Batches for transfer from strong to weak organs: masks of strong ones, tags of all, and silhouettes for a critic."""

from __future__ import annotations

import logging

import torch

from ..utils import InputError
from .organ_roles import OrganRoles
from .paired_loader import _UNLABELLED, PairedSliceLoader
from .tagged_bank import UNKNOWN, TaggedSliceBank

__all__ = ["TransferSliceLoader"]

logger = logging.getLogger(__name__)
_OTHER_SEED = 0x7AF5FE4
_PARTS = ("labelled", "unlabelled", "real")


class TransferSliceLoader(PairedSliceLoader):
    """Yields ``{"labelled": {...}, "unlabelled": {...}, "real": {...}}``, each part only where there is something.

    - ``labelled``: ``image``, ``label`` (strong organs, ``UNKNOWN``), ``tags``, ``candidates`` and ``index``, the
      slice's number in its bank;
    - ``unlabelled``: the same of the weak bank, without ``label``: there is no mask key at all;
    - ``real``: ``image`` and ``label`` of slices in which nothing is unknown and a strong organ is shown, for a critic
      of silhouettes. It is there if such slices are; see ``has_real``.

    Args:
        labelled: bank with masks of strong organs.
        unlabelled: bank with tags alone, or None.
        roles: strong and weak organs.
        batch_size, num_batches, seed, position, labelled_foreground_fraction: see :class:`PairedSliceLoader`;
            foreground is what shows a strong organ.
        parts: which parts to make.

    Raises:
        InputError: a strong organ has no mask, or an organ no tag, in any slice; an unknown part; or as the parent.
    """

    def __init__(
        self,
        labelled: TaggedSliceBank,
        unlabelled: TaggedSliceBank | None,
        roles: OrganRoles,
        batch_size: int,
        num_batches: int,
        seed: int = 0,
        position: int = 0,
        labelled_foreground_fraction: float | None = None,
        parts: tuple[str, ...] | list[str] = _PARTS,
    ) -> None:
        if not set(parts) <= set(_PARTS) or "labelled" not in parts:
            raise InputError(
                "parts of a batch", got=list(parts), wanted=f"'labelled' and others of {', '.join(_PARTS)}"
            )
        super().__init__(labelled, unlabelled, batch_size, num_batches, seed, position, labelled_foreground_fraction)
        self.roles, self.parts = roles, tuple(parts)
        strong = (labelled.labels > 0) & (labelled.labels != UNKNOWN)
        shows = strong.flatten(1).any(1).cpu()
        if labelled_foreground_fraction is not None:
            self._foreground = torch.nonzero(shows).flatten()
            self._background = torch.nonzero(~shows).flatten()
        self._check_organs()
        clear = ~(labelled.labels == UNKNOWN).flatten(1).any(1).cpu()
        self._real = torch.nonzero(clear & shows).flatten()

    @property
    def has_real(self) -> bool:
        """Whether there are slices of strong organs without a weak one."""
        return len(self._real) > 0

    def batch(self, index: int) -> dict[str, dict[str, torch.Tensor]]:
        """Batch number ``index`` (0, 1, ...), whatever was asked for before."""
        chosen = self._labelled_indices(index)
        batch = {"labelled": {**_part(self.labelled, chosen), "label": self.labelled.labels[chosen]}}
        if self.unlabelled is not None and "unlabelled" in self.parts:
            batch["unlabelled"] = _part(self.unlabelled, self._stream(_UNLABELLED, len(self.unlabelled), index))
        if self.has_real and "real" in self.parts:
            # drawn on their own: not the slices that the predictions beside them are of
            chosen = self._real[self._stream(_OTHER_SEED, len(self._real), index)]
            batch["real"] = {
                "image": self.labelled.images[chosen].to(torch.float32), "label": self.labelled.labels[chosen],
            }  # fmt: skip
        return batch

    def _check_organs(self) -> None:
        present = set(torch.unique(self.labelled.labels).tolist())
        missing = [name for name in self.roles.strong if self.roles.classes[name] not in present]
        if missing:
            raise InputError(
                "strong organs without any mask", got=", ".join(missing), wanted="masks of each strong organ",
                fix="take them out of strong, check their values in organs, or add labelled scans that show them",
            )  # fmt: skip
        if not self.roles.weak:
            return  # nothing is learned from tags
        banks = [bank for bank in (self.labelled, self.unlabelled) if bank is not None]
        missing = self._never_tagged(banks)
        if missing:
            raise InputError(
                "organs that are tagged in no slice", got=", ".join(missing),
                wanted="tags of all organs of both lists, strong ones too",
                fix="add their tags to the table, or take them out of strong and weak",
            )  # fmt: skip
        missing = self._never_tagged(banks[1:]) if self.unlabelled is not None else []
        if missing:
            logger.warning("no slice of the scans without masks is tagged with %s: right?", ", ".join(missing))

    def _never_tagged(self, banks: list[TaggedSliceBank]) -> list[str]:
        seen = torch.cat([bank.tags for bank in banks]).any(0).tolist()
        return [name for name, there in zip(self.roles.names, seen, strict=True) if not there]


def _part(bank: TaggedSliceBank, chosen: torch.Tensor) -> dict[str, torch.Tensor]:
    return {
        "image": bank.images[chosen].to(torch.float32),
        "tags": bank.tags[chosen],
        "candidates": bank.candidates[chosen],
        "index": chosen,
    }
