"""CT or MRI, HU or shifted, by values alone."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from monai_semgan.transforms import ct_offset, detect_modality, foreground_threshold

RNG = np.random.default_rng(0)


def _ct(low: float = -1000.0) -> np.ndarray:
    """Air, lung, fat, organs and bone in HU."""
    parts = [(low, 0, 5000), (-800, 60, 500), (-100, 15, 2000), (60, 25, 4000), (500, 200, 300)]
    return np.concatenate([RNG.normal(m, s, n).clip(low, 2500).round() for m, s, n in parts]).astype(np.float32)


def _mr(scale: float = 1.0) -> np.ndarray:
    """Noise, dark and bright tissue."""
    noise = np.abs(RNG.normal(0, 4, 5000)) * scale
    tissue = np.concatenate([RNG.normal(m, s, n) for m, s, n in ((120, 30, 3000), (340, 60, 2500), (700, 90, 400))])
    return np.concatenate([noise, np.abs(tissue) * scale]).astype(np.float32)


@pytest.mark.parametrize(
    ("array", "modality"),
    [
        (_ct(), "ct"),
        (_ct().clip(-125, 275), "ct"),
        (_ct().clip(-60, 200), "ct"),
        (_ct() + 1024, "ct"),
        (_mr(), "mr"),
        (_mr().round(), "mr"),
        (_mr(3.0).round(), "mr"),
        ((_mr() - _mr().mean()) / _mr().std(), "mr"),
        (_mr() / 900, "mr"),
    ],
)
def test_by_values(array: np.ndarray, modality: str) -> None:
    assert detect_modality(array.reshape(1, -1, 2, 1)) == modality
    assert detect_modality(torch.from_numpy(array)) == modality


def test_header_wins() -> None:
    assert detect_modality(_ct(), {"modality": "MR"}) == "mr"
    assert detect_modality(_mr(), {"modality": "ct"}) == "ct"
    assert detect_modality(_mr(), {"modality": "OT"}) == "mr"


def test_offset_only_where_the_rescale_is_missing() -> None:
    assert ct_offset(_ct() + 1024) == 1024
    assert ct_offset(_ct()) == 0
    assert ct_offset(_mr(3.0).round()) == 0


@pytest.mark.parametrize("scale", [0.01, 1.0, 50.0])
def test_threshold_lies_between_noise_and_tissue(scale: float) -> None:
    array = _mr(scale)
    threshold = foreground_threshold(array)
    assert (array[:5000] < threshold).mean() > 0.97
    assert (array[5000:] > threshold).mean() > 0.97


def test_threshold_of_constant_values() -> None:
    assert foreground_threshold(np.full(10, 3.0)) == 3.0
