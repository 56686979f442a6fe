"""What all loaders of endless batches share: they are counted, and a state is a number."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch

from ..utils import InputError
from ..utils.processes import part_of_batch

__all__ = ["NumberedBatches"]

Batch = dict[str, dict[str, torch.Tensor]]


class NumberedBatches:
    """Batches that depend on nothing but seed and number, so that a resumed run goes on exactly where it stopped.

    A loader gives :meth:`batch`.

    Args:
        what: the loader, for messages.
        batch_size: samples of a batch; with several processes those of all together, of which each makes ``part``.
        num_batches: batches of one iteration over the loader (an "epoch"); the next one goes on with those that follow.
        seed: start of the streams.
        position: number of the first batch.

    Raises:
        InputError: numbers out of range.
    """

    def __init__(self, what: str, batch_size: int, num_batches: int, seed: int = 0, position: int = 0) -> None:
        if batch_size < 1 or num_batches < 1 or position < 0:
            raise InputError(
                what,
                got=f"batch_size {batch_size}, num_batches {num_batches}, position {position}",
                wanted="batch_size and num_batches of at least 1, position of at least 0",
            )
        self.batch_size, self.num_batches = int(batch_size), int(num_batches)
        self.part = part_of_batch(self.batch_size)
        self.seed, self.position = int(seed), int(position)

    def batch(self, index: int) -> Batch:
        """Batch number ``index`` (0, 1, ...), whatever was asked for before."""
        raise NotImplementedError("a loader must make its batches")

    def forget(self) -> None:
        """Drop what was kept of the stream that a loaded state has left."""

    def __len__(self) -> int:
        return self.num_batches

    def __iter__(self) -> Iterator[Batch]:
        for _ in range(self.num_batches):
            batch = self.batch(self.position)
            # Moved on before the batch is handed out: a state saved while it is in work asks for the next.
            self.position += 1
            yield batch

    def state_dict(self) -> dict[str, Any]:
        """Position and seed, plain numbers."""
        return {"position": self.position, "seed": self.seed, "batch_size": self.batch_size}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a saved state.

        Raises:
            InputError: the state was saved with another batch size, with which positions mean other samples.
        """
        if int(state.get("batch_size", self.batch_size)) != self.batch_size:
            raise InputError(
                "resuming with another batch_size", got=self.batch_size, wanted=int(state["batch_size"]),
                fix="resume with the batch size of the first run, or start anew",
            )  # fmt: skip
        self.position, self.seed = int(state["position"]), int(state.get("seed", self.seed))
        self.forget()
