"""Endless pairs of a labelled and an unlabelled batch that depend on nothing but seed and batch number."""

from __future__ import annotations

import torch

from ..utils import InputError
from .numbered_batches import NumberedBatches
from .slice_bank import SliceBank

__all__ = ["PairedSliceLoader"]

_LABELLED, _UNLABELLED, _FOREGROUND, _COIN = range(4)


class PairedSliceLoader(NumberedBatches):
    """Yields ``{"labelled": {"image", "label"}, "unlabelled": {"image"}}``, slices ``(B, 1, H, W)``.

    Images are float32 in [-1, 1], labels uint8 index maps, on the device that the banks are on. The unlabelled stream
    holds all slices: those of the unlabelled bank and, without their masks, those of the labelled one. Each stream is a
    row of permutations (passes) of its slices; pass p is drawn from a generator seeded with (seed, stream, p). Batch
    i is therefore the same whenever and in whichever process it is asked for, and a resumed run goes on
    exactly where it stopped.

    Args:
        labelled: bank with masks.
        unlabelled: bank without masks (masks in it are not used), or None.
        batch_size: slices of each of the two batches; with several processes those of all together, of which each
            makes its part.
        num_batches: batches of one iteration over the loader (an "epoch" of the trainer). The next iteration
            goes on with the following batches.
        seed: start of the streams.
        position: number of the first batch.
        labelled_foreground_fraction: probability that a labelled slice is drawn from those that show an
            organ; None draws uniformly from all.

    Raises:
        InputError: no masks in the labelled bank, no slice with an organ where a fraction asks for it,
            different slice sizes, or numbers out of range.
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
        if not labelled.labelled:
            raise InputError("the labelled slice bank has no masks", fix="list scans with masks as labelled")
        if unlabelled is not None and unlabelled.images.shape[1:] != labelled.images.shape[1:]:
            raise InputError(
                "labelled and unlabelled slices differ in size",
                got=tuple(unlabelled.images.shape[1:]),
                wanted=tuple(labelled.images.shape[1:]),
                fix="use the same preprocessing for both",
            )
        super().__init__("slice loader", batch_size, num_batches, seed, position)
        fraction = labelled_foreground_fraction
        if fraction is not None and not 0 <= fraction <= 1:
            raise InputError("option labelled_foreground_fraction", got=fraction, wanted="0..1 or None")
        self.labelled, self.unlabelled = labelled, unlabelled
        self.labelled_foreground_fraction = fraction
        self._foreground = self._background = torch.empty(0, dtype=torch.long)
        if fraction is not None:
            shows = (labelled.labels > 0).flatten(1).any(dim=1)
            shows = shows.cpu()  # rows are drawn on the CPU, wherever the slices are
            self._foreground = torch.nonzero(shows).flatten()
            self._background = torch.nonzero(~shows).flatten()
            if fraction > 0 and len(self._foreground) == 0:
                raise InputError("the labelled slice bank shows no organ", fix="check the masks and the label mapping")
        self._passes: dict[int, tuple[int, torch.Tensor]] = {}

    @property
    def masks(self) -> torch.Tensor:
        """All masks there are to learn from, slice by slice: uint8 index maps ``(N, 1, H, W)``."""
        return self.labelled.labels

    def batch(self, index: int) -> dict[str, dict[str, torch.Tensor]]:
        """Batch number ``index`` (0, 1, ...), whatever was asked for before."""
        chosen = self._labelled_indices(index)
        return {
            "labelled": {
                "image": self.labelled.images[chosen].to(torch.float32),
                "label": self.labelled.labels[chosen],
            },
            "unlabelled": {"image": self._all_images(self._stream(_UNLABELLED, self._total(), index))},
        }

    def forget(self) -> None:
        self._passes.clear()

    def _total(self) -> int:
        return len(self.labelled) + (0 if self.unlabelled is None else len(self.unlabelled))

    def _all_images(self, indices: torch.Tensor) -> torch.Tensor:
        """Pick from both banks as if they were one, without a second copy of them in memory."""
        if self.unlabelled is None:
            return self.labelled.images[indices].to(torch.float32)
        count = len(self.unlabelled)
        chosen = [self.unlabelled.images[i] if i < count else self.labelled.images[i - count] for i in indices]
        return torch.stack([image.to(torch.float32) for image in chosen])

    def _labelled_indices(self, index: int) -> torch.Tensor:
        if self.labelled_foreground_fraction is None:
            return self._stream(_LABELLED, len(self.labelled), index)
        if len(self._background) == 0:
            return self._foreground[self._stream(_FOREGROUND, len(self._foreground), index)]
        coin = torch.rand(self.batch_size, generator=self._generator(_COIN, index))[self.part]
        from_foreground = coin < self.labelled_foreground_fraction
        background = self._background[self._stream(_LABELLED, len(self._background), index)]
        if len(self._foreground) == 0:
            return background
        foreground = self._foreground[self._stream(_FOREGROUND, len(self._foreground), index)]
        return torch.where(from_foreground, foreground, background)

    def _stream(self, stream: int, count: int, index: int) -> torch.Tensor:
        """Entries ``index * batch_size ...`` of the endless row of permutations of ``count`` slices."""
        places = range(index * self.batch_size, (index + 1) * self.batch_size)[self.part]
        return torch.tensor([int(self._pass(stream, count, p // count)[p % count]) for p in places])

    def _pass(self, stream: int, count: int, number: int) -> torch.Tensor:
        kept = self._passes.get(stream)
        if kept is None or kept[0] != number:
            kept = (number, torch.randperm(count, generator=self._generator(stream, number)))
            self._passes[stream] = kept
        return kept[1]

    def _generator(self, stream: int, number: int) -> torch.Generator:
        # Three counters into 63 bits by odd multipliers: neighbours get unrelated seeds.
        mixed = self.seed * 0x9E3779B97F4A7C15 + stream * 0xBF58476D1CE4E5B9 + number * 0x94D049BB133111EB
        mixed ^= (mixed & (2**64 - 1)) >> 31
        return torch.Generator().manual_seed(mixed & (2**63 - 1))
