"""Inference of a network that reads stacks of slices at a fixed spacing, on scans of any slice spacing."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from monai.inferers import Inferer, SlidingWindowInferer
from monai.utils import convert_to_dst_type

from ..utils.errors import InputError

__all__ = ["VolumeStackInferer"]


class VolumeStackInferer(Inferer):
    """Resample the slice axis to ``spacing_mm``, run a 3-D network over the stack, resample its logits back.

    In the plane nothing is done: scans have to be in the network's frame (``NormalizeFieldOfViewd``). Stacks deeper
    than ``depth`` are seen through overlapping windows, shallower ones completed with air.

    Args:
        spacing_mm: slice spacing that the network was trained on.
        depth: slices the network sees at once.
        overlap: of neighbouring windows, 0..1.
        window_batch: windows at once.
        mixed_precision: run the network under bfloat16 autocast.
        network: run this network, whatever is handed to the call (a second network beside an evaluation's own); it is
            moved to the scan's device.

    Raises:
        InputError: an option is out of range, or the scan does not say its slice spacing (its tensor carries no
            affine).
    """

    needs_affine = True
    """Tells callers that the input has to be a ``MetaTensor``."""

    def __init__(
        self,
        spacing_mm: float = 6.0,
        depth: int = 32,
        overlap: float = 0.5,
        window_batch: int = 1,
        mixed_precision: bool = False,
        network: torch.nn.Module | None = None,
    ) -> None:
        super().__init__()
        if not spacing_mm > 0 or depth < 1 or not 0 <= overlap < 1 or window_batch < 1:
            raise InputError(
                "volume inference",
                got=f"spacing_mm {spacing_mm}, depth {depth}, overlap {overlap}, window_batch {window_batch}",
                wanted="spacing_mm above 0, depth and window_batch of at least 1, overlap in 0..1 without 1",
            )  # fmt: skip
        self.spacing_mm, self.depth, self.overlap = float(spacing_mm), int(depth), float(overlap)
        self.window_batch, self.mixed_precision, self.network = int(window_batch), bool(mixed_precision), network

    def __call__(self, inputs: torch.Tensor, network: Callable[..., torch.Tensor]) -> torch.Tensor:
        """Logits ``(B, K, H, W, D)`` of ``inputs (B, 1, H, W, D)``; both are ``MetaTensor``."""
        network = self.network.to(inputs.device) if self.network is not None else network
        slices, spacing = inputs.shape[-1], slice_spacing(inputs)
        image = torch.as_tensor(inputs.as_tensor())
        plane = tuple(image.shape[2:4])
        wanted = max(1, round(slices * spacing / self.spacing_mm))
        stack = F.interpolate(image, size=(*plane, wanted), mode="trilinear", align_corners=False)
        window = SlidingWindowInferer(
            (*plane, self.depth), sw_batch_size=self.window_batch, overlap=self.overlap, mode="gaussian", cval=-1.0
        )
        device = image.device.type
        with torch.no_grad(), torch.autocast(device, torch.bfloat16, enabled=self.mixed_precision):
            logits = window(stack, network)
        result = F.interpolate(logits.float(), size=(*plane, slices), mode="trilinear", align_corners=False)
        # keeps the meta data: without them Invertd would skip the prediction
        return convert_to_dst_type(result, inputs, dtype=result.dtype)[0]


def slice_spacing(inputs: torch.Tensor) -> float:
    """Distance of slices in mm, from the affine of a ``MetaTensor`` ``(B, C, H, W, D)`` of one scan."""
    affine = getattr(inputs, "affine", None)
    if affine is None:
        raise InputError(
            "volume inference: the scan's slice spacing is not known", got=type(inputs).__name__,
            wanted="a MetaTensor with its affine", fix="load the scan with LoadScand, and do not strip its meta data",
        )  # fmt: skip
    return float(torch.as_tensor(affine).reshape(-1, 4, 4)[0, :3, 2].norm())
