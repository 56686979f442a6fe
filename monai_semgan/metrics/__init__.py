"""Scores of masks, by patient and summarised; distances between sets of images."""

from __future__ import annotations

from .pixel_selection import score_selection
from .random_features import RandomConvFeatures, frechet_feature_distance
from .score_summary import FAILURE_DICE, summarise_scores
from .selective import (
    area_under_risk_coverage,
    failure_auroc,
    risk_coverage_curve,
    spearman,
    summarise_estimate,
)
from .volume_metrics import SCORE_NAMES, score_volume

__all__ = [
    "FAILURE_DICE",
    "RandomConvFeatures",
    "SCORE_NAMES",
    "area_under_risk_coverage",
    "failure_auroc",
    "frechet_feature_distance",
    "risk_coverage_curve",
    "score_selection",
    "score_volume",
    "spearman",
    "summarise_estimate",
    "summarise_scores",
]
