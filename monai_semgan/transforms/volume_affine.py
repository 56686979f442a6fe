"""Random rotation, scale, shift, deformation and slice thickness of a batch of volumes with their label maps."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F

from .appearance._common import smooth_field, uniform

__all__ = ["RandVolumeAffine", "random_volume_affine"]


def random_volume_affine(
    image: torch.Tensor,
    label: torch.Tensor | None = None,
    generator: torch.Generator | None = None,
    rotation: float = 12.0,
    scale: tuple[float, float] = (0.85, 1.15),
    shift: float = 0.06,
    deformation: float = 0.015,
    thick_probability: float = 0.5,
    thickness: float = 1.6,
    fill: float = -1.0,
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Move each volume and its label map by the same random motion; some images lose resolution across slices.

    Args:
        image: (B, 1, H, W, D), slices along the last axis; interpolated linearly, ``fill`` where nothing was.
        label: (B, 1, H, W, D) index map: the class with the largest interpolated share. May be None.
        generator: source of randomness; None takes torch's default one.
        rotation: largest turn in the axial plane in degrees, either way. There are no flips.
        scale: smallest and largest zoom; each axis within a twentieth of the volume's own.
        shift: largest shift in the plane, as a share of its length.
        deformation: standard deviation of the smooth displacement along each axis, as a share of its length (5 nodes).
        thick_probability: chance that the images (all of the batch) are resampled to thicker slices and back.
        thickness: largest factor of that.
        fill: grey value of air.

    Raises:
        ValueError: the image is no batch of volumes, or the label's shape differs.
    """
    if image.ndim != 5:
        raise ValueError(f"image: got shape {tuple(image.shape)}; wanted (B, 1, H, W, D)")
    if label is not None and label.shape != image.shape:
        raise ValueError(f"label: got shape {tuple(label.shape)}; wanted {tuple(image.shape)}")
    grid = _sampling_grid(image, generator, rotation, scale, shift, deformation)
    moved = F.grid_sample(image - fill, grid, mode="bilinear", align_corners=False) + fill
    if label is not None:
        label = _move_volume_label(label, grid, image.dtype)
    thick, factor = uniform((2,), 0.0, 1.0, image.new_zeros(1, device="cpu"), generator).tolist()
    if thick < thick_probability:
        depth = max(2, round(image.shape[-1] / (1.0 + (thickness - 1.0) * factor)))
        coarse = F.interpolate(moved, size=(*image.shape[2:4], depth), mode="trilinear", align_corners=False)
        moved = F.interpolate(coarse, size=tuple(image.shape[2:]), mode="trilinear", align_corners=False)
    return moved, label


def _move_volume_label(label: torch.Tensor, grid: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    values = torch.unique(label)
    if len(values) == 2 and int(values[0]) == 0:  # one organ: its share says all
        share = F.grid_sample((label > 0).to(dtype), grid, align_corners=False)
        return torch.where(share > 0.5, values[1], values[0]).to(label.dtype)
    shares = [F.grid_sample((label == value).to(dtype), grid, align_corners=False) for value in values]
    best, index = torch.cat(shares, dim=1).max(dim=1, keepdim=True)
    outside = 1.0 - torch.stack(shares).sum(dim=0)
    return torch.where(best >= outside, values[index], torch.zeros_like(values[index])).to(label.dtype)


def _sampling_grid(
    image: torch.Tensor,
    generator: torch.Generator | None,
    rotation: float,
    scale: tuple[float, float],
    shift: float,
    deformation: float,
) -> torch.Tensor:
    """Grid (B, H, W, D, 3) for ``grid_sample``, whose last axis counts (D, W, H), in -1..1."""
    batch, height, width = image.shape[0], image.shape[2], image.shape[3]
    angle = math.radians(rotation) * uniform((batch,), -1.0, 1.0, image, generator)
    zoom = uniform((batch, 1), math.log(scale[0]), math.log(scale[1]), image, generator).exp()
    spread = 0.05 if scale[0] != scale[1] else 0.0
    zoom = (zoom * (1.0 + spread * uniform((batch, 3), -1.0, 1.0, image, generator))).clamp(scale[0], scale[1])
    offset = 2.0 * shift * uniform((batch, 2), -1.0, 1.0, image, generator)
    cosine, sine, aspect = angle.cos(), angle.sin(), height / width
    theta = image.new_zeros(batch, 3, 4)
    theta[:, 0, 0] = 1.0 / zoom[:, 2]
    theta[:, 1, 1], theta[:, 1, 2] = cosine / zoom[:, 0], -sine * aspect / zoom[:, 0]
    theta[:, 2, 1], theta[:, 2, 2] = sine / aspect / zoom[:, 1], cosine / zoom[:, 1]
    theta[:, 1:, 3] = offset
    grid = F.affine_grid(theta, [batch, 1, *image.shape[2:]], align_corners=False)
    if deformation > 0:
        bend = torch.stack([smooth_field(image, 5, generator)[:, 0] for _ in range(3)], dim=-1)
        grid = grid + 2.0 * deformation * bend
    return grid


class RandVolumeAffine:
    """:func:`random_volume_affine` with its settings kept: ``(image, label, generator) -> (image, label)``."""

    def __init__(
        self,
        rotation: float = 12.0,
        scale: tuple[float, float] = (0.85, 1.15),
        shift: float = 0.06,
        deformation: float = 0.015,
        thick_probability: float = 0.5,
        thickness: float = 1.6,
        fill: float = -1.0,
    ) -> None:
        self.rotation, self.scale, self.shift = rotation, (scale[0], scale[1]), shift
        self.deformation, self.thick_probability = deformation, thick_probability
        self.thickness, self.fill = thickness, fill

    def __call__(
        self,
        image: torch.Tensor,
        label: torch.Tensor | None = None,
        generator: torch.Generator | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Moved image and label map (B, 1, H, W, D)."""
        return random_volume_affine(image, label, generator, **vars(self))
