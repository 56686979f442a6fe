"""Losses: they see tensors, never networks."""

from .adversarial import (
    feature_matching_loss,
    hinge_critic_loss,
    hinge_generator_loss,
    logistic_critic_loss,
    logistic_generator_loss,
)
from .critic_features import feature_distance
from .energy_distance import energy_distance
from .gradient_penalty import path_length_penalty, path_lengths, r1_penalty
from .grey_curve import GreyCurveLoss
from .segmentation import RawLabelLoss
from .similarity import GradientOrientationLoss, LocalNCCLoss, MINDLoss, MultiScaleDistanceLoss

__all__ = [
    "GradientOrientationLoss",
    "LocalNCCLoss",
    "MINDLoss",
    "MultiScaleDistanceLoss",
    "GreyCurveLoss",
    "RawLabelLoss",
    "energy_distance",
    "feature_distance",
    "feature_matching_loss",
    "hinge_critic_loss",
    "hinge_generator_loss",
    "logistic_critic_loss",
    "logistic_generator_loss",
    "path_length_penalty",
    "path_lengths",
    "r1_penalty",
]
