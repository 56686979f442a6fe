"""Losses: they see tensors, never networks."""

from .adversarial import (
    feature_matching_loss,
    hinge_critic_loss,
    hinge_generator_loss,
    logistic_critic_loss,
    logistic_generator_loss,
)
from .candidate_labels import CandidateSegmentationLoss, candidate_cross_entropy, candidate_dice_loss
from .class_weighted import ClassWeightedLoss
from .confidence import confidence_adversarial_loss, confidence_discriminator_loss, masked_bce_with_logits
from .critic_features import feature_distance
from .energy_distance import energy_distance
from .generative_segmentation import labelled_cells, token_cross_entropy
from .gradient_penalty import moved_path_length, path_length_penalty, path_lengths, r1_penalty
from .grey_curve import GreyCurveLoss
from .masked_cross_entropy import MaskedSegmentationLoss, masked_cross_entropy
from .objectness import objectness_loss, objectness_target
from .one_shot import SwappedPredictionLoss, sinkhorn_assignment
from .segmentation import RawLabelLoss
from .similarity import GradientOrientationLoss, LocalNCCLoss, MINDLoss, MultiScaleDistanceLoss
from .trusted_pixels import cap_background, trusted_pixels

__all__ = [
    "CandidateSegmentationLoss",
    "ClassWeightedLoss",
    "GradientOrientationLoss",
    "LocalNCCLoss",
    "MINDLoss",
    "MultiScaleDistanceLoss",
    "GreyCurveLoss",
    "MaskedSegmentationLoss",
    "RawLabelLoss",
    "SwappedPredictionLoss",
    "candidate_cross_entropy",
    "candidate_dice_loss",
    "cap_background",
    "confidence_adversarial_loss",
    "confidence_discriminator_loss",
    "energy_distance",
    "feature_distance",
    "feature_matching_loss",
    "hinge_critic_loss",
    "hinge_generator_loss",
    "labelled_cells",
    "logistic_critic_loss",
    "logistic_generator_loss",
    "masked_bce_with_logits",
    "masked_cross_entropy",
    "objectness_loss",
    "objectness_target",
    "moved_path_length",
    "path_length_penalty",
    "path_lengths",
    "r1_penalty",
    "sinkhorn_assignment",
    "token_cross_entropy",
    "trusted_pixels",
]
