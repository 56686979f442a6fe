"""The shared learning-rate schedule."""

from __future__ import annotations

import pytest
from monai_semgan.engines import warmup_cosine


def test_rises_then_falls_to_the_floor() -> None:
    factors = [warmup_cosine(i, 1000) for i in range(1001)]
    assert factors[0] == pytest.approx(1 / 50)
    assert factors[:50] == sorted(factors[:50])
    assert factors[50:] == sorted(factors[50:], reverse=True)
    assert factors[-1] == pytest.approx(0.02)
    assert max(factors) <= 1.0
