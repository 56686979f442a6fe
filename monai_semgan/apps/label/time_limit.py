"""Latent optimisation that stops in time."""

from __future__ import annotations

import math
import time
from typing import Any

import torch
from torch import nn

from ...inferers import LatentInversionInferer
from ...utils import InputError

__all__ = ["TimeLimitedInversionInferer"]


class _TimeIsUp(Exception):  # noqa: N818
    """Ends the optimisation of one batch of slices from inside."""


class TimeLimitedInversionInferer(LatentInversionInferer):
    """``LatentInversionInferer`` that takes the best latents seen when its time is up.

    Each batch of slices gets its share of the time that is left. With enough time the answer is that of
    ``LatentInversionInferer`` to the bit; without time for a single step it is the encoder's. The limit may be overrun
    by one step, and by what it takes to encode and draw the slices that are left.

    Args:
        time_limit: seconds for one scan.
        options: of ``LatentInversionInferer``.

    Afterwards ``report["steps"]`` is the least number of steps that a slice got, and ``report["time_limit_reached"]``
    says whether that is fewer than asked for.
    """

    def __init__(self, time_limit: float = 60.0, **options: Any) -> None:
        super().__init__(**options)
        if not time_limit > 0:
            raise InputError("option time_limit", got=time_limit, wanted="seconds above 0")
        self.time_limit = float(time_limit)
        self._end = self._batch_end = math.inf
        self._batches = 1
        self._best: Any = None
        self._looks = 0
        self._steps: list[int] = []

    def __call__(self, inputs: torch.Tensor, network: nn.Module, *args: Any, **kwargs: Any) -> torch.Tensor:
        self._end = time.monotonic() + self.time_limit
        self._batches = math.ceil(len(self._to_slices(inputs)[0]) / self.slice_batch)
        self._steps = []
        result = super().__call__(inputs, network, *args, **kwargs)
        least = min(self._steps, default=0)
        self.report |= {"steps": least, "time_limit_reached": least < self.steps}
        return result

    def _optimise(self, start: Any, *args: Any, **kwargs: Any) -> Any:
        now = time.monotonic()
        self._batch_end = now + max(self._end - now, 0.0) / max(1, self._batches)
        self._best, self._looks = start, 0
        try:
            return super()._optimise(start, *args, **kwargs)
        except _TimeIsUp:
            return self._best
        finally:
            self._batches -= 1
            self._steps.append(max(0, self._looks - 1))

    def _keep_best(  # type: ignore[override]
        self, best: Any, best_loss: torch.Tensor, current: Any, loss: torch.Tensor
    ) -> None:
        super()._keep_best(best, best_loss, current, loss)
        self._best, self._looks = best, self._looks + 1
        # after the last step there is nothing left to save
        if self._looks <= self.steps and time.monotonic() > self._batch_end:
            raise _TimeIsUp
