"""Inferers: how a trained network is used on slices and volumes."""

from .appearance_ensemble import AppearanceEnsembleInferer
from .at_size import AtSizeInferer
from .code_sampling import CodeSamplingInferer
from .latent_inversion import LatentInversionInferer
from .mean import MeanInferer
from .scan_quality import QUALITY_ESTIMATES, scan_quality
from .self_diffusion import SelfDiffusion, diffusion_labels
from .volume_stack import VolumeStackInferer

__all__ = [
    "QUALITY_ESTIMATES",
    "AppearanceEnsembleInferer",
    "AtSizeInferer",
    "CodeSamplingInferer",
    "LatentInversionInferer",
    "MeanInferer",
    "SelfDiffusion",
    "VolumeStackInferer",
    "diffusion_labels",
    "scan_quality",
]
