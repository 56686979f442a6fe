"""One answer of several inferers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from monai.inferers import Inferer
from monai.utils import convert_to_dst_type

from ..utils.errors import InputError

__all__ = ["MeanInferer"]


class MeanInferer(Inferer):
    """Average the class probabilities of several inferers on the same scan.

    Args:
        inferers: each called as ``inferer(scan, network)``, gives logits ``(B, K, ...)`` of one shape. An inferer with
            a network of its own (``VolumeStackInferer(network=...)``) uses that one. With a single inferer its logits
            are handed on as they are.

    ``__call__``: ``inputs (B, C, H, W[, D])`` to the logarithm of the mean probability. ``report`` is that of the
    first.

    Raises:
        InputError: there is no inferer, or their answers differ in shape.
    """

    def __init__(self, inferers: Sequence[Callable]) -> None:
        super().__init__()
        self.inferers = list(inferers)
        if not self.inferers:
            raise InputError("option inferers", got="none", wanted="one or more")
        self.needs_affine = any(bool(getattr(inferer, "needs_affine", False)) for inferer in self.inferers)

    @property
    def report(self) -> dict[str, Any]:
        """What the first inferer reported."""
        return getattr(self.inferers[0], "report", None) or {}

    def __call__(self, inputs: torch.Tensor, network: Callable, *args: Any, **kwargs: Any) -> torch.Tensor:
        if len(self.inferers) == 1:
            return self.inferers[0](inputs, network, *args, **kwargs)
        mean: torch.Tensor | None = None
        for inferer in self.inferers:
            logits = inferer(inputs, network, *args, **kwargs)
            plain = logits.as_tensor() if hasattr(logits, "as_tensor") else logits
            probability = plain.detach().float().softmax(dim=1)
            if mean is not None and mean.shape != probability.shape:
                raise InputError(
                    "mean of several inferers", got=f"shapes {tuple(mean.shape)} and {tuple(probability.shape)}",
                    wanted="one shape", fix="use networks of the same classes",
                )  # fmt: skip
            mean = probability if mean is None else mean.add_(probability)
        assert mean is not None
        mean = mean.div_(len(self.inferers)).clamp_(min=torch.finfo(mean.dtype).tiny).log_()
        # keeps the meta data: without them Invertd would skip the prediction
        return convert_to_dst_type(mean, inputs, dtype=mean.dtype)[0]
