"""Scores of masks: what is measured for one patient, and how patients are summarised."""

from __future__ import annotations

from .pixel_selection import score_selection
from .score_summary import FAILURE_DICE, summarise_scores
from .volume_metrics import SCORE_NAMES, score_volume

__all__ = ["FAILURE_DICE", "SCORE_NAMES", "score_selection", "score_volume", "summarise_scores"]
