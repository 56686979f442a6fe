"""Endless batches of slices without masks, which depend on nothing but seed and batch number."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from ..utils import InputError
from .numbered_batches import NumberedBatches
from .slice_bank import SliceBank

__all__ = ["ImageSliceLoader"]


class ImageSliceLoader(NumberedBatches):
    """Yields ``{"unlabelled": {"image"}}``, slices ``(B, 1, H, W)`` in [-1, 1], float32.

    The slices of all banks are one set, and masks among them are never handed out. Pass p over the set is a permutation
    drawn from (seed, p), so a resumed run goes on exactly where it stopped, as with :class:`PairedSliceLoader`.

    Args:
        banks: slices of one size; None among them is left out.
        batch_size: slices a batch; with several processes those of all together.
        num_batches: batches of one iteration over the loader; the next iteration goes on with the following ones.
        seed: start of the stream.
        position: number of the first batch.

    Raises:
        InputError: no bank, different slice sizes, or numbers out of range.
    """

    def __init__(
        self,
        banks: Sequence[SliceBank | None],
        batch_size: int,
        num_batches: int,
        seed: int = 0,
        position: int = 0,
    ) -> None:
        self.banks = [bank for bank in banks if bank is not None]
        sizes = {tuple(bank.images.shape[1:]) for bank in self.banks}
        if len(sizes) != 1:
            raise InputError(
                "slice loader", got=f"slices of sizes {sorted(sizes)}", wanted="slices, all of one size",
                fix="use the same preprocessing for all scans",
            )  # fmt: skip
        super().__init__("slice loader", batch_size, num_batches, seed, position)
        self._pass: tuple[int, torch.Tensor] | None = None

    def batch(self, index: int) -> dict[str, dict[str, torch.Tensor]]:
        """Batch number ``index`` (0, 1, ...), whatever was asked for before."""
        count = sum(len(bank) for bank in self.banks)
        places = range(index * self.batch_size, (index + 1) * self.batch_size)[self.part]
        images = [self._image(int(self._permutation(place // count, count)[place % count])) for place in places]
        return {"unlabelled": {"image": torch.stack(images)}}

    def forget(self) -> None:
        self._pass = None

    def _image(self, number: int) -> torch.Tensor:
        for bank in self.banks:
            if number < len(bank):
                return bank.images[number].to(torch.float32)
            number -= len(bank)
        raise IndexError(number)

    def _permutation(self, number: int, count: int) -> torch.Tensor:
        if self._pass is None or self._pass[0] != number:
            draw = torch.Generator().manual_seed((self.seed * 1_000_003 + number) % 2**63)
            self._pass = (number, torch.randperm(count, generator=draw))
        return self._pass[1]
