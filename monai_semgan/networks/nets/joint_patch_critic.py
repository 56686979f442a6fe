"""Multi-scale patch critic for an image together with its mask; D_m in SemanticGAN.

PatchGAN at several scales as in pix2pixHD (Wang et al. 2018, 1711.11585): each next critic sees the
input pooled once more. MONAI's MultiScalePatchDiscriminator adds a layer per scale instead.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils.parametrizations import spectral_norm


class _PatchCritic(nn.Module):
    def __init__(self, in_channels: int, channels: int, num_layers: int) -> None:
        super().__init__()
        self.stages = nn.ModuleList()
        self.stages.append(nn.Sequential(nn.Conv2d(in_channels, channels, 4, 2, 2), nn.LeakyReLU(0.2)))
        width = channels
        for layer in range(1, num_layers + 1):
            previous, width = width, min(width * 2, channels * 8)
            conv = nn.Conv2d(previous, width, 4, stride=2 if layer < num_layers else 1, padding=2, bias=False)
            self.stages.append(nn.Sequential(spectral_norm(conv), nn.InstanceNorm2d(width), nn.LeakyReLU(0.2)))
        self.stages.append(nn.Sequential(nn.Conv2d(width, 1, 4, 1, 2)))

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        outputs = []
        for stage in self.stages:
            x = stage(x)
            outputs.append(x)
        return outputs


class JointPatchCritic(nn.Module):
    """Scores how well image and mask fit each other, patch by patch, at several scales.

    Args:
        image_channels, label_channels: channels of the two parts, both in about [-1, 1].
        channels: width of the first convolution (``ndf`` of the papers).
        num_layers: down-sampling depth of each critic.
        num_scales: number of critics.

    Shape: ``image (B, C, S, S)``, ``label (B, K, S, S)`` to a list over scales of feature lists, each
    ending with the logits ``(B, 1, h, w)``.
    """

    def __init__(
        self,
        image_channels: int = 1,
        label_channels: int = 1,
        channels: int = 64,
        num_layers: int = 3,
        num_scales: int = 3,
    ) -> None:
        super().__init__()
        self.critics = nn.ModuleList(
            _PatchCritic(image_channels + label_channels, channels, num_layers) for _ in range(num_scales)
        )

    def forward(self, image: torch.Tensor, label: torch.Tensor) -> list[list[torch.Tensor]]:
        x = torch.cat([image, label], dim=1)
        outputs = []
        for index, critic in enumerate(self.critics):
            if index:
                x = F.avg_pool2d(x, 3, stride=2, padding=1, count_include_pad=False)
            outputs.append(critic(x))
        return outputs

    @staticmethod
    def logits(outputs: list[list[torch.Tensor]]) -> list[torch.Tensor]:
        """The logit map of each scale, finest first."""
        return [scale[-1].float() for scale in outputs]
