"""A network that works at another size than the scans are shown at."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from monai.inferers import Inferer
from monai.utils import convert_to_dst_type

from ..transforms import resize_plane
from ..utils.errors import InputError

__all__ = ["AtSizeInferer"]


class AtSizeInferer(Inferer):
    """Resize slices in the plane, run an inferer, resize its logits back.

    The frame (field of view) stays, so only the pixels change: networks of 64 and of 128 px can look at one scan. At
    its own size nothing is done.

    Args:
        inferer: called as ``inferer(scan, network)``; gives logits ``(B, K, size, size[, D])``.
        size: pixels of the square slices that it wants.

    ``__call__``: ``inputs (B, C, H, W[, D])`` to ``(B, K, H, W[, D])``. ``report`` is that of the inner inferer.

    Raises:
        InputError: the size is below 1.
    """

    def __init__(self, inferer: Callable, size: int) -> None:
        super().__init__()
        if size < 1:
            raise InputError("option size", got=size, wanted="1 pixel or more")
        self.inferer, self.size = inferer, int(size)
        self.needs_affine = bool(getattr(inferer, "needs_affine", False))

    @property
    def report(self) -> dict[str, Any]:
        """What the inner inferer reported."""
        return getattr(self.inferer, "report", None) or {}

    def __call__(self, inputs: torch.Tensor, network: Callable, *args: Any, **kwargs: Any) -> torch.Tensor:
        plane = (int(inputs.shape[2]), int(inputs.shape[3]))
        if plane == (self.size, self.size):
            return self.inferer(inputs, network, *args, **kwargs)
        image = inputs.as_tensor() if hasattr(inputs, "as_tensor") else inputs
        seen = convert_to_dst_type(resize_plane(image, (self.size, self.size)), inputs, dtype=inputs.dtype)[0]
        logits = self.inferer(seen, network, *args, **kwargs)
        logits = logits.as_tensor() if hasattr(logits, "as_tensor") else logits
        return convert_to_dst_type(resize_plane(logits.float(), plane), inputs, dtype=torch.float32)[0]
