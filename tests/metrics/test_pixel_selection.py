"""Shares of selected and of right pixels."""

from __future__ import annotations

import torch

from monai_semgan.metrics import score_selection


def test_known_shares() -> None:
    predicted = torch.tensor([0, 0, 0, 0, 1, 1, 2, 2])
    label = torch.tensor([0, 0, 0, 1, 1, 0, 2, 1])
    selected = torch.tensor([1, 1, 0, 0, 1, 1, 1, 0]).bool()
    assert score_selection(predicted, selected, label) == {
        "ratio": 5 / 8,
        "ratio_background": 2 / 4,
        "ratio_organ": 3 / 4,
        "accuracy_all": 5 / 8,
        "accuracy": 4 / 5,
        "accuracy_background": 2 / 2,
        "accuracy_organ": 2 / 3,
    }


def test_without_masks_nothing_is_said_about_accuracy() -> None:
    predicted = torch.tensor([0, 1])
    assert score_selection(predicted, predicted == 1) == {"ratio": 0.5, "ratio_background": 0.0, "ratio_organ": 1.0}


def test_what_has_no_pixels_is_left_out() -> None:
    nothing = torch.zeros(4, dtype=torch.long)
    assert score_selection(nothing, nothing > 0, nothing) == {
        "ratio": 0.0,
        "ratio_background": 0.0,
        "accuracy_all": 1.0,
    }
