"""The paired loader with a third stream: masks as they look when people draw them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from .paired_loader import _UNLABELLED, PairedSliceLoader
from .slice_bank import SliceBank

__all__ = ["RealMaskSliceLoader"]

_OTHER_SEED = 0x5EED0FA5


class RealMaskSliceLoader(PairedSliceLoader):
    """Yields ``{"labelled": {"image", "label"}, "unlabelled": {"image"}, "real": {"image", "label"}}``.

    ``real`` is what a discriminator of label maps is shown as real. It is drawn from the labelled bank on its own, so
    that the masks are not those of the predictions beside them: half of it as the labelled slices are drawn and half
    evenly, as predictions come from the labelled and from the unlabelled slices. Else the discriminator would tell the
    two apart by how often they show an organ.

    Unlike in the parent, the unlabelled stream holds the slices of the unlabelled bank alone, as in AdvSemiSeg; without
    such a bank, batches have no ``unlabelled``.

    Args:
        labelled: bank with masks.
        unlabelled: bank without masks (masks in it are not used), or None.
        batch_size, num_batches, seed, position, labelled_foreground_fraction: see :class:`PairedSliceLoader`.
    """

    def __init__(
        self,
        labelled: SliceBank,
        unlabelled: SliceBank | None,
        batch_size: int,
        num_batches: int,
        seed: int = 0,
        position: int = 0,
        labelled_foreground_fraction: float | None = None,
    ) -> None:
        super().__init__(labelled, unlabelled, batch_size, num_batches, seed, position, labelled_foreground_fraction)
        self._real = PairedSliceLoader(
            labelled,
            None,
            batch_size,
            num_batches,
            seed=self.seed ^ _OTHER_SEED,
            labelled_foreground_fraction=labelled_foreground_fraction,
        )

    def batch(self, index: int) -> dict[str, dict[str, torch.Tensor]]:
        """Batch number ``index`` (0, 1, ...), whatever was asked for before."""
        batch = super().batch(index)
        if self.unlabelled is None:
            del batch["unlabelled"]
        chosen = self._real_indices(index)
        batch["real"] = {
            "image": self.labelled.images[chosen].to(torch.float32),
            "label": self.labelled.labels[chosen],
        }
        return batch

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a saved state; see the parent."""
        super().load_state_dict(state)
        self._real.load_state_dict({"position": self.position, "seed": self.seed ^ _OTHER_SEED})

    def _real_indices(self, index: int) -> torch.Tensor:
        as_labelled = self._real._labelled_indices(index)
        if self.unlabelled is None:
            return as_labelled
        evenly = self._real._stream(_UNLABELLED, len(self.labelled), index)
        return torch.where(torch.arange(self.batch_size)[self.part] % 2 == 0, as_labelled, evenly)

    def _total(self) -> int:
        return len(self.labelled if self.unlabelled is None else self.unlabelled)
