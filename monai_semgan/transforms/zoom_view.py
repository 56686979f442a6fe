"""The middle of a scan's frame, larger: a view that moves pixels, and the way back."""

from __future__ import annotations

import re

import torch

from ..utils import InputError
from .resize_plane import resize_plane

__all__ = ["ZoomView"]

_NUMBER = r"(\d+(?:\.\d+)?)"
_NAME = re.compile(rf"zoom_{_NUMBER}(?:_depth_{_NUMBER})?")


class ZoomView:
    """Cut the middle out of every slice and enlarge it to the whole frame.

    Small bodies fill only part of a frame that is as wide as large ones need. Enlarged, they are seen with more pixels,
    and by a network of fixed reach with more detail and less surroundings; answers of several sizes together are
    better than each of them.

    Args:
        zoom: 1 or more; 1.25 shows the middle 80 % of either side. Rounded so that whole pixels are cut.
        depth: what the distance of slices is multiplied by when a network of volumes is told it. Below 1 organs look
            flatter to it, and fewer slices are interpolated between those of a scan with thick ones. Of no effect on
            networks of slices.

    ``__call__``: ``(B, C, H, W[, D])`` to the same shape. :meth:`back` puts an answer to it into place.

    Raises:
        InputError: the zoom is below 1, or the depth is not above 0.

    Example:
        >>> view = ZoomView.from_name("zoom_1.25")
        >>> answer, seen = view.back(view(torch.rand(1, 1, 20, 20, 3)))
        >>> answer.shape, int(seen.sum())
        (torch.Size([1, 1, 20, 20, 3]), 256)
    """

    def __init__(self, zoom: float, depth: float = 1.0) -> None:
        if not zoom >= 1.0:
            raise InputError("option zoom", got=zoom, wanted="1 or more")
        if not depth > 0.0:
            raise InputError("option depth", got=depth, wanted="above 0, e.g. 0.86")
        self.zoom, self.depth = float(zoom), float(depth)

    @classmethod
    def from_name(cls, name: str) -> ZoomView | None:
        """``"zoom_1.2"`` or ``"zoom_1.2_depth_0.86"`` to a view; None for any other name."""
        found = _NAME.fullmatch(str(name))
        return cls(float(found.group(1)), float(found.group(2) or 1.0)) if found else None

    def __call__(self, image: torch.Tensor) -> torch.Tensor:
        rows, columns = self._window(image)
        return resize_plane(image[:, :, rows, columns], (image.shape[2], image.shape[3]))

    def back(self, answer: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """``(B, K, H, W[, D])`` in place, 0 outside of what was shown, and where that was: bool ``(H, W)``."""
        rows, columns = self._window(answer)
        placed = torch.zeros_like(answer)
        size = (rows.stop - rows.start, columns.stop - columns.start)
        placed[:, :, rows, columns] = resize_plane(answer, size)
        seen = torch.zeros(answer.shape[2:4], dtype=torch.bool, device=answer.device)
        seen[rows, columns] = True
        return placed, seen

    def _window(self, image: torch.Tensor) -> tuple[slice, slice]:
        """Rows and columns that are shown, as far from one edge as from the other."""
        cut = [round(length * (1 - 1 / self.zoom) / 2) for length in image.shape[2:4]]
        rows, columns = (slice(c, length - c) for c, length in zip(cut, image.shape[2:4], strict=True))
        return rows, columns
