"""Differentiable augmentation that moves an image and its mask together, for critics.

After Zhao et al., "Differentiable augmentation for data-efficient GAN training" (arXiv 2006.10738): real and
generated pairs go through the same random changes before every critic, and the generator's gradient comes
back through them. An image-and-mask critic needs the mask moved by exactly the image's motion.

Sampling is by gather, not by ``grid_sample``: its backward is again a sum of gathers, so that gradient
penalties (R1 through the augmentation) work on every device and torch version.
"""

from __future__ import annotations

import math

import torch

from .appearance._common import per_sample, uniform

__all__ = ["JointDiffAugment"]


class JointDiffAugment:
    """Random affine motion and cutout of image and mask together, brightness and contrast of the image.

    Args:
        translation: largest shift, as a share of the height and width.
        scale: largest zoom: the factor is ``exp`` of a number uniform in -``scale``..``scale``.
        rotation: largest turn in degrees, either way. There are no flips: anatomy has a left and a right.
        cutout: side of the removed rectangle as a share of the height and width; 0 switches it off.
        brightness: largest shift of the image's grey values, in units of its [-1, 1] range.
        contrast: the image's distance from its mean is multiplied by ``exp`` of -``contrast``..``contrast``.
        probability: chance per sample of the motion, of the cutout and of the colour change, each drawn on
            its own. It is a plain attribute, so that an adaptive schedule may change it at any time.

    Ground that comes into view is filled with -1, in a mask of several classes with background (+1 in channel
    0, -1 in the others).
    """

    def __init__(
        self,
        translation: float = 0.125,
        scale: float = 0.15,
        rotation: float = 10.0,
        cutout: float = 0.0,
        brightness: float = 0.2,
        contrast: float = 0.2,
        probability: float = 1.0,
    ) -> None:
        shares = {"translation": translation, "cutout": cutout, "probability": probability}
        for name, value in shares.items():
            if not 0.0 <= value <= 1.0:
                raise ValueError(f"{name}: got {value}; wanted a number in 0..1")
        for name, value in {
            "scale": scale,
            "rotation": rotation,
            "brightness": brightness,
            "contrast": contrast,
        }.items():
            if value < 0:
                raise ValueError(f"{name}: got {value}; wanted 0 (off) or more")
        self.translation, self.scale, self.rotation = translation, scale, rotation
        self.cutout, self.brightness, self.contrast = cutout, brightness, contrast
        self.probability = probability

    def __call__(
        self,
        image: torch.Tensor,
        label_channels: torch.Tensor | None = None,
        generator: torch.Generator | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Changed image and mask.

        Args:
            image: (B, C, H, W) in [-1, 1], air at -1.
            label_channels: (B, K, H, W) in [-1, 1], one channel or one-hot with background first; may be
                None.
            generator: source of randomness; None takes torch's default one.

        Raises:
            ValueError: batch or spatial sizes differ.
        """
        if image.ndim != 4:
            raise ValueError(f"image: got shape {tuple(image.shape)}; wanted (B, C, H, W)")
        if label_channels is not None and (
            label_channels.shape[0] != image.shape[0] or label_channels.shape[2:] != image.shape[2:]
        ):
            raise ValueError(
                f"label_channels: got shape {tuple(label_channels.shape)}; "
                f"wanted (B, K, H, W) with the image's B, H, W: {tuple(image.shape)}"
            )
        if self.probability == 0.0 or not image.shape[0]:
            return image, label_channels
        channels = image.shape[1]
        image = self._change_colour(image, generator)
        pair = image if label_channels is None else torch.cat([image, label_channels.to(image.dtype)], dim=1)
        fill = pair.new_full((1, pair.shape[1], 1, 1), -1.0)
        if pair.shape[1] - channels > 1:
            fill[:, channels] = 1.0
        pair = self._cut_out(self._move(pair, fill, generator), fill, generator)
        return pair[:, :channels], None if label_channels is None else pair[:, channels:]

    def _chosen(self, image: torch.Tensor, generator: torch.Generator | None) -> torch.Tensor:
        """1 for samples that are changed, 0 for the others; (B,)."""
        return (uniform((image.shape[0],), 0.0, 1.0, image, generator) < self.probability).to(image.dtype)

    def _change_colour(self, image: torch.Tensor, generator: torch.Generator | None) -> torch.Tensor:
        if self.brightness == 0.0 and self.contrast == 0.0:
            return image
        batch, chosen = image.shape[0], self._chosen(image, generator)
        shift = chosen * uniform((batch,), -self.brightness, self.brightness, image, generator)
        gain = (chosen * uniform((batch,), -self.contrast, self.contrast, image, generator)).exp()
        mean = image.mean(dim=(1, 2, 3), keepdim=True)
        return (image - mean) * per_sample(gain, image) + mean + per_sample(shift, image)

    def _move(self, pair: torch.Tensor, fill: torch.Tensor, generator: torch.Generator | None) -> torch.Tensor:
        if self.translation == 0.0 and self.scale == 0.0 and self.rotation == 0.0:
            return pair
        batch, (height, width) = pair.shape[0], pair.shape[2:]
        chosen = self._chosen(pair, generator)
        angle = math.radians(self.rotation) * chosen * uniform((batch,), -1.0, 1.0, pair, generator)
        zoom = (chosen * uniform((batch,), -self.scale, self.scale, pair, generator)).exp()
        shift = chosen[:, None] * uniform((batch, 2), -self.translation, self.translation, pair, generator)
        rows = torch.arange(height, device=pair.device, dtype=pair.dtype)[:, None] - (height - 1) / 2
        columns = torch.arange(width, device=pair.device, dtype=pair.dtype)[None, :] - (width - 1) / 2
        # Where an output pixel comes from: shifted back, turned back and zoomed back about the centre.
        rows = rows[None] - (shift[:, 0] * height)[:, None, None]
        columns = columns[None] - (shift[:, 1] * width)[:, None, None]
        cosine, sine = (angle.cos() / zoom)[:, None, None], (angle.sin() / zoom)[:, None, None]
        source_rows = cosine * rows + sine * columns + (height - 1) / 2
        source_columns = cosine * columns - sine * rows + (width - 1) / 2
        # Samples that stay are kept exactly, not to within interpolation's rounding.
        moved = _gather_bilinear(pair - fill, source_rows, source_columns) + fill
        return torch.where(per_sample(chosen > 0, pair), moved, pair)

    def _cut_out(self, pair: torch.Tensor, fill: torch.Tensor, generator: torch.Generator | None) -> torch.Tensor:
        if self.cutout == 0.0:
            return pair
        batch, (height, width) = pair.shape[0], pair.shape[2:]
        chosen = self._chosen(pair, generator)
        centre = uniform((batch, 2), 0.0, 1.0, pair, generator)
        rows = (torch.arange(height, device=pair.device, dtype=pair.dtype) + 0.5) / height
        columns = (torch.arange(width, device=pair.device, dtype=pair.dtype) + 0.5) / width
        in_rows = (rows[None] - centre[:, :1]).abs() < self.cutout / 2
        in_columns = (columns[None] - centre[:, 1:]).abs() < self.cutout / 2
        hole = in_rows[:, None, :, None] & in_columns[:, None, None, :] & per_sample(chosen > 0, pair)
        return torch.where(hole, fill, pair)


def _gather_bilinear(image: torch.Tensor, rows: torch.Tensor, columns: torch.Tensor) -> torch.Tensor:
    """Values of (B, C, H, W) at pixel positions (B, H, W), zero outside; twice differentiable."""
    batch, channels, height, width = image.shape
    flat = image.flatten(2)
    top, left = rows.floor(), columns.floor()
    down, right = rows - top, columns - left
    total = torch.zeros_like(image)
    for row, row_weight in ((top, 1.0 - down), (top + 1, down)):
        for column, column_weight in ((left, 1.0 - right), (left + 1, right)):
            inside = (row >= 0) & (row < height) & (column >= 0) & (column < width)
            index = row.clamp(0, height - 1) * width + column.clamp(0, width - 1)
            index = index.long().reshape(batch, 1, -1).expand(-1, channels, -1)
            weight = (row_weight * column_weight * inside)[:, None]
            total = total + flat.gather(2, index).reshape(image.shape) * weight
    return total
