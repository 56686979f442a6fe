"""Random rotation, scale, shift and smooth deformation of a batch of slices with their label maps."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F

from .appearance._common import smooth_field, uniform

__all__ = ["RandSliceAffine", "random_slice_affine"]


def random_slice_affine(
    image: torch.Tensor,
    label: torch.Tensor | None = None,
    generator: torch.Generator | None = None,
    rotation: float = 12.0,
    scale: tuple[float, float] = (0.85, 1.15),
    shift: float = 0.06,
    deformation: float = 0.015,
    label_mode: str = "nearest",
    fill: float = -1.0,
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Move each slice and its label map by the same random affine motion and smooth deformation.

    Args:
        image: (B, C, H, W); interpolated linearly, ``fill`` where nothing was.
        label: (B, 1, H, W) index map, 0 where nothing was; values and dtype are kept. May be None.
        generator: source of randomness; None takes torch's default one.
        rotation: largest turn in degrees, either way. There are no flips: anatomy has a left and a right.
        scale: smallest and largest zoom; each axis within a tenth of the slice's own.
        shift: largest shift along each axis, as a share of its length.
        deformation: standard deviation of the smooth displacement, as a share of the width (5 x 5 nodes).
        label_mode: "nearest", or "linear" for the class with the largest interpolated share (smoother edges).
        fill: grey value of air.

    Raises:
        ValueError: unknown ``label_mode``, or the label's batch or size differs.
    """
    if label_mode not in ("nearest", "linear"):
        raise ValueError(f"label_mode: got {label_mode!r}; wanted 'nearest' or 'linear'")
    if label is not None and label.shape != (image.shape[0], 1, *image.shape[2:]):
        wanted = (image.shape[0], 1, *image.shape[2:])
        raise ValueError(f"label: got shape {tuple(label.shape)}; wanted {wanted}")
    grid = _sampling_grid(image, generator, rotation, scale, shift, deformation)
    moved = F.grid_sample(image - fill, grid, mode="bilinear", align_corners=False) + fill
    if label is None:
        return moved, None
    if label_mode == "nearest":
        moved_label = F.grid_sample(label.to(image.dtype), grid, mode="nearest", align_corners=False)
        return moved, moved_label.round().to(label.dtype)
    return moved, _move_label_linear(label, grid, image.dtype)


def _move_label_linear(label: torch.Tensor, grid: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    values = torch.unique(label)
    shares = F.grid_sample((label == values.reshape(1, -1, 1, 1)).to(dtype), grid, align_corners=False)
    outside = 1.0 - shares.sum(dim=1, keepdim=True)
    # What lies outside the slice is background, whether or not background occurs in the batch.
    best, index = shares.max(dim=1, keepdim=True)
    return torch.where(best >= outside, values[index], torch.zeros_like(values[index])).to(label.dtype)


def _sampling_grid(
    image: torch.Tensor,
    generator: torch.Generator | None,
    rotation: float,
    scale: tuple[float, float],
    shift: float,
    deformation: float,
) -> torch.Tensor:
    """Grid (B, H, W, 2) for ``grid_sample``: for each output pixel, where it comes from, in -1..1."""
    batch, height, width = image.shape[0], image.shape[2], image.shape[3]
    angle = math.radians(rotation) * uniform((batch,), -1.0, 1.0, image, generator)
    zoom = uniform((batch, 1), math.log(scale[0]), math.log(scale[1]), image, generator).exp()
    spread = 0.05 if scale[0] != scale[1] else 0.0
    zoom = zoom * (1.0 + spread * uniform((batch, 2), -1.0, 1.0, image, generator))
    zoom = zoom.clamp(scale[0], scale[1])
    offset = 2.0 * shift * uniform((batch, 2), -1.0, 1.0, image, generator)
    cosine, sine, aspect = angle.cos(), angle.sin(), height / width
    theta = torch.stack(
        [
            torch.stack([cosine / zoom[:, 0], -sine * aspect / zoom[:, 0], offset[:, 0]], dim=1),
            torch.stack([sine / aspect / zoom[:, 1], cosine / zoom[:, 1], offset[:, 1]], dim=1),
        ],
        dim=1,
    )
    grid = F.affine_grid(theta, [batch, 1, height, width], align_corners=False)
    if deformation > 0:
        bend = [smooth_field(image, 5, generator)[:, 0] for _ in range(2)]
        grid = grid + 2.0 * deformation * torch.stack(bend, dim=-1)
    return grid


class RandSliceAffine:
    """:func:`random_slice_affine` with its settings kept: ``(image, label, generator) -> (image, label)``."""

    def __init__(
        self,
        rotation: float = 12.0,
        scale: tuple[float, float] = (0.85, 1.15),
        shift: float = 0.06,
        deformation: float = 0.015,
        label_mode: str = "nearest",
        fill: float = -1.0,
    ) -> None:
        self.rotation, self.scale, self.shift = rotation, (scale[0], scale[1]), shift
        self.deformation, self.label_mode, self.fill = deformation, label_mode, fill

    def __call__(
        self,
        image: torch.Tensor,
        label: torch.Tensor | None = None,
        generator: torch.Generator | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Moved image (B, C, H, W) and label map (B, 1, H, W)."""
        return random_slice_affine(image, label, generator, **vars(self))
