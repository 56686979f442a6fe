"""SGD whose steps are as long as a fixed share of each tensor (You et al. 2017, 1708.03888)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch

__all__ = ["LARC"]


class LARC(torch.optim.Optimizer):
    """Momentum SGD on gradients rescaled to the length ``trust * ||p||``, for each tensor p on its own.

    A step is thus ``lr * trust * ||p||`` long whatever the loss. With the lr of .01 and the trust of .01 of the
    released one-shot code, 100 steps move a weight by no more than some percent: take an lr near 1.

    Args:
        params: as for any optimiser.
        lr: factor on the rescaled step.
        momentum: of SGD.
        trust: length of the rescaled gradient relative to the tensor's.
    """

    def __init__(self, params: Iterable, lr: float = 1.0, momentum: float = 0.9, trust: float = 0.01) -> None:
        super().__init__(params, {"lr": lr, "momentum": momentum, "trust": trust})

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:  # type: ignore[override]
        loss = closure() if closure is not None else None
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is None:
                    continue
                length, slope = p.norm(), p.grad.norm()
                factor = torch.where((length > 0) & (slope > 0), group["trust"] * length / (slope + 1e-8), 1.0)
                step = self.state[p].setdefault("momentum", torch.zeros_like(p))
                step.mul_(group["momentum"]).add_(p.grad * factor)
                p.sub_(step, alpha=group["lr"])
        return loss
