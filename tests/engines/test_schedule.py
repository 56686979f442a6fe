"""The shared learning-rate schedules."""

from __future__ import annotations

import pytest

from monai_semgan.engines import poly_decay, warmup_cosine


def test_rises_then_falls_to_the_floor() -> None:
    factors = [warmup_cosine(i, 1000) for i in range(1001)]
    assert factors[0] == pytest.approx(1 / 50)
    assert factors[:50] == sorted(factors[:50])
    assert factors[50:] == sorted(factors[50:], reverse=True)
    assert factors[-1] == pytest.approx(0.02)
    assert max(factors) <= 1.0


def test_poly_decay_is_that_of_the_papers() -> None:
    factors = [poly_decay(i, 20000) for i in range(20001)]
    assert factors[0] == 1.0
    assert factors[5000] == pytest.approx(0.75**0.9)
    assert factors == sorted(factors, reverse=True)
    assert factors[-1] == 0.0
    assert poly_decay(30, 20) == 0.0
    assert poly_decay(5, 10, power=1.0) == pytest.approx(0.5)
