"""Image similarity that looks past a modality's grey values, one value per sample.

For reconstructing an image by a generator trained on another modality: the generator knows CT's grey values,
the target is MRI. All losses take ``(prediction, target)`` of shape (B, C, H, W) and an optional weight map
(B, 1, H, W); 0 is a perfect match; gradients reach the prediction only; a sample's value never depends on its
neighbours in the batch.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import nn

__all__ = ["GradientOrientationLoss", "LocalNCCLoss", "MINDLoss", "MultiScaleDistanceLoss"]


class _SimilarityLoss(nn.Module, ABC):
    """Common checks, weighting and reduction.

    Args:
        reduction: "none" for (B,), "mean" for the mean over the batch.
    """

    def __init__(self, reduction: str = "mean") -> None:
        super().__init__()
        if reduction not in ("none", "mean"):
            raise ValueError(f"reduction: got {reduction!r}; wanted 'none' or 'mean'")
        self.reduction = reduction

    def forward(
        self, prediction: torch.Tensor, target: torch.Tensor, weight: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Loss (B,), or its mean.

        Args:
            prediction: (B, C, H, W).
            target: of the same shape; no gradient reaches it.
            weight: (B, 1, H, W), not negative: pixels with 0 do not count. None: all count alike.

        Raises:
            ValueError: shapes differ.
        """
        if prediction.ndim != 4 or prediction.shape != target.shape:
            raise ValueError(
                f"got prediction {tuple(prediction.shape)} and target {tuple(target.shape)}; "
                "wanted the same (B, C, H, W)"
            )
        values = self.compute(prediction, target.detach(), weight)
        return values.mean() if self.reduction == "mean" else values

    @abstractmethod
    def compute(self, prediction: torch.Tensor, target: torch.Tensor, weight: torch.Tensor | None) -> torch.Tensor:
        """Loss per sample (B,)."""


def _sample_mean(values: torch.Tensor, weight: torch.Tensor | None) -> torch.Tensor:
    """(Weighted) mean over channels and pixels, (B, C, H, W) -> (B,)."""
    if weight is None:
        return values.flatten(1).mean(dim=1)
    total = (values.mean(dim=1, keepdim=True) * weight).flatten(1).sum(dim=1)
    return total / weight.flatten(1).sum(dim=1).clamp(min=1e-6)


def _box(image: torch.Tensor, size: int) -> torch.Tensor:
    """Mean over a ``size`` x ``size`` window; at the edge over the pixels that exist."""
    # Two products with band matrices: several times faster than pooling on a CPU, above all backwards.
    rows, columns = _band(image.shape[2], size, image), _band(image.shape[3], size, image)
    return rows @ image @ columns.T


def _band(length: int, size: int, like: torch.Tensor) -> torch.Tensor:
    """Matrix (length, length) whose rows average over a window around the diagonal."""
    place = torch.arange(length, device=like.device)
    band = ((place[:, None] - place[None, :]).abs() <= size // 2).to(like.dtype)
    return band / band.sum(dim=1, keepdim=True)


def _check_odd(name: str, size: int) -> None:
    if size < 1 or size % 2 == 0:
        raise ValueError(f"{name}: got {size}; wanted an odd number of pixels")


class LocalNCCLoss(_SimilarityLoss):
    """One minus the squared local normalised cross-correlation.

    Unlike :class:`monai.losses.LocalNormalizedCrossCorrelationLoss` this gives one value per sample, is 0 for
    equal images also where they are flat (air), and treats windows at the edge like others. The square makes
    it blind to the contrast's sign: dark on bright equals bright on dark.

    Args:
        kernel_size: side of the window in pixels, odd.
        smooth: variance below which a window counts as flat; about the image noise's, for a [-1, 1] image.
        reduction: "none" for (B,), "mean" for the mean over the batch.
    """

    def __init__(self, kernel_size: int = 9, smooth: float = 1e-4, reduction: str = "mean") -> None:
        super().__init__(reduction)
        _check_odd("kernel_size", kernel_size)
        self.kernel_size, self.smooth = kernel_size, smooth

    def compute(self, prediction: torch.Tensor, target: torch.Tensor, weight: torch.Tensor | None) -> torch.Tensor:
        size = self.kernel_size
        # Without the sample's mean first, the variances would be small differences of large numbers.
        p = prediction - prediction.mean(dim=(2, 3), keepdim=True)
        t = target - target.mean(dim=(2, 3), keepdim=True)
        p_mean, t_mean = _box(p, size), _box(t, size)
        covariance = _box(p * t, size) - p_mean * t_mean
        p_variance = (_box(p * p, size) - p_mean**2).clamp(min=0.0)
        t_variance = (_box(t * t, size) - t_mean**2).clamp(min=0.0)
        # `smooth` on both sides: exactly 1 for equal images, flat or not; never above 1 (Cauchy-Schwarz).
        ncc = (covariance.abs() + self.smooth) ** 2 / ((p_variance + self.smooth) * (t_variance + self.smooth))
        return _sample_mean(1.0 - ncc.clamp(max=1.0), weight)


class MINDLoss(_SimilarityLoss):
    """Distance of modality independent neighbourhood descriptors.

    Heinrich et al., "MIND: modality independent neighbourhood descriptor for multi-modal deformable
    registration" (Medical Image Analysis 2012), eq. 4-6: how alike a patch is to the patches around it,
    relative to the local variance. It does not change under an affine change of the grey values or their
    inversion, and hardly under one that varies smoothly.

    Args:
        radius: distances in pixels of the four neighbouring patches, along rows and columns.
        patch_size: side of a patch in pixels, odd.
        smooth: variance added so that flat ground has equal descriptors whatever the noise.
        reduction: "none" for (B,), "mean" for the mean over the batch.
    """

    def __init__(
        self,
        radius: Sequence[int] = (1, 2),
        patch_size: int = 3,
        smooth: float = 1e-4,
        reduction: str = "mean",
    ) -> None:
        super().__init__(reduction)
        _check_odd("patch_size", patch_size)
        self.radius, self.patch_size, self.smooth = tuple(radius), patch_size, smooth

    def compute(self, prediction: torch.Tensor, target: torch.Tensor, weight: torch.Tensor | None) -> torch.Tensor:
        difference = [
            (self._describe(prediction, r) - self._describe(target, r)).abs().mean(dim=1) for r in self.radius
        ]
        return _sample_mean(torch.stack(difference).mean(dim=0), weight)

    def _describe(self, image: torch.Tensor, radius: int) -> torch.Tensor:
        """Descriptors (B, 4, C, H, W), the most alike neighbour at 1."""
        height, width = image.shape[2:]
        padded = F.pad(image, [radius] * 4, mode="replicate")
        distances = []
        for down, right in ((-radius, 0), (radius, 0), (0, -radius), (0, radius)):
            top, left = radius + down, radius + right
            distances.append((image - padded[:, :, top : top + height, left : left + width]) ** 2)
        distance = _box(torch.cat(distances, dim=1), self.patch_size).unflatten(1, (4, -1))
        variance = distance.mean(dim=1, keepdim=True) + self.smooth
        return torch.exp(-(distance - distance.amin(dim=1, keepdim=True)) / variance)


class GradientOrientationLoss(_SimilarityLoss):
    """One minus the squared cosine between the images' gradients (normalised gradient fields).

    Haber and Modersitzki, "Intensity gradient based registration and fusion of multi-modal images" (MICCAI
    2006): edges should lie in the same place and direction, however strong and of whichever sign.

    Args:
        edge: gradients below this share of the sample's root-mean-square gradient count as flat.
        reduction: "none" for (B,), "mean" for the mean over the batch.
    """

    def __init__(self, edge: float = 0.3, reduction: str = "mean") -> None:
        super().__init__(reduction)
        if not edge > 0:
            raise ValueError(f"edge: got {edge}; wanted a number above 0")
        self.edge = edge

    def compute(self, prediction: torch.Tensor, target: torch.Tensor, weight: torch.Tensor | None) -> torch.Tensor:
        p_rows, p_columns = _gradient(prediction)
        t_rows, t_columns = _gradient(target)
        p_power, t_power = p_rows**2 + p_columns**2, t_rows**2 + t_columns**2
        p_floor, t_floor = self._floor(p_power), self._floor(t_power)
        inner = (p_rows * t_rows + p_columns * t_columns).abs() + (p_floor * t_floor).sqrt()
        cosine = inner**2 / ((p_power + p_floor) * (t_power + t_floor))
        return _sample_mean(1.0 - cosine.clamp(max=1.0), weight)

    def _floor(self, power: torch.Tensor) -> torch.Tensor:
        return self.edge**2 * power.mean(dim=(1, 2, 3), keepdim=True) + 1e-8


def _gradient(image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Central differences along rows and columns, each smoothed across (Sobel)."""
    padded = F.pad(image, [1] * 4, mode="replicate")
    across = padded[..., :, :-2] + 2.0 * padded[..., :, 1:-1] + padded[..., :, 2:]
    down = padded[..., :-2, :] + 2.0 * padded[..., 1:-1, :] + padded[..., 2:, :]
    return (across[..., 2:, :] - across[..., :-2, :]) / 8.0, (down[..., 2:] - down[..., :-2]) / 8.0


class MultiScaleDistanceLoss(_SimilarityLoss):
    """Mean absolute or squared difference, averaged over an image pyramid.

    Args:
        order: 1 for the absolute, 2 for the squared difference.
        num_scales: number of scales, each half the size of the one before; stops at 4 pixels.
        reduction: "none" for (B,), "mean" for the mean over the batch.
    """

    def __init__(self, order: int = 1, num_scales: int = 3, reduction: str = "mean") -> None:
        super().__init__(reduction)
        if order not in (1, 2):
            raise ValueError(f"order: got {order}; wanted 1 (absolute) or 2 (squared)")
        if num_scales < 1:
            raise ValueError(f"num_scales: got {num_scales}; wanted 1 or more")
        self.order, self.num_scales = order, num_scales

    def compute(self, prediction: torch.Tensor, target: torch.Tensor, weight: torch.Tensor | None) -> torch.Tensor:
        # Linear in the images, so that one pyramid of the difference serves both.
        difference, values = prediction - target, []
        for scale in range(self.num_scales):
            if scale:
                if min(difference.shape[2:]) < 8:
                    break
                difference = F.avg_pool2d(difference, 2)
                weight = None if weight is None else F.avg_pool2d(weight, 2)
            values.append(_sample_mean(difference.abs() if self.order == 1 else difference**2, weight))
        return torch.stack(values).mean(dim=0)
