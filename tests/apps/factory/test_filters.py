"""Who is refused, and what for."""

from __future__ import annotations

from typing import Any

import pytest

from monai_semgan.apps.factory import Filters
from monai_semgan.utils import InputError


def record(**changes: Any) -> dict[str, Any]:
    quality = {"entropy": 0.2, "agreement": 0.9, "critic": 0.0} | changes.pop("quality", {})
    nearest = {"scan": "ct01", "slice": 3, "ratios": {"pixels": 1.5, "features": 1.2}}
    return {"quality": quality, "nearest": nearest, "anatomy": [], "unusable": [], "empty": False} | changes


def reasons(filters: Filters | None = None, kept: int = 10, empty: int = 0, least: float | None = None, **changes: Any):
    return [text.split(":")[0] for text in (filters or Filters()).reasons(record(**changes), kept, empty, least)]


def test_a_good_sample_is_kept():
    assert reasons() == []


@pytest.mark.parametrize(
    ("changes", "filters", "expected"),
    [
        ({"quality": {"entropy": 0.9}}, {"max_entropy": None}, "uncertainty"),
        ({"quality": {"agreement": 0.5}}, {"min_agreement": None}, "uncertainty"),
        ({"anatomy": ["class 1: 4 pieces"]}, {"anatomy": False}, "anatomy"),
        ({"nearest": {"scan": "a", "slice": 0, "ratios": {"pixels": 0.9, "features": 2.0}}}, {"memorised": False},
         "memorised"),
    ],
)  # fmt: skip
def test_every_filter_refuses_and_can_be_switched_off(changes, filters, expected):
    assert reasons(**changes) == [expected]
    assert reasons(Filters(**filters), **changes) == []


def test_unusable_files_cannot_be_kept():
    assert reasons(Filters(None, None, None, anatomy=False, memorised=False), unusable=["no body"]) == ["unusable"]


def test_the_critic_is_used_where_it_has_a_threshold():
    assert reasons(least=0.5) == ["critic"]
    assert reasons(least=-0.5) == []
    assert reasons(least=0.5, quality={"critic": None}) == []


def test_all_reasons_are_told():
    assert (
        reasons(quality={"entropy": 0.9, "agreement": 0.1}, anatomy=["a", "b"]) == ["uncertainty"] * 2 + ["anatomy"] * 2
    )


@pytest.mark.parametrize(("kept", "empty", "refused"), [(0, 0, True), (9, 2, False), (9, 3, True), (3, 0, False)])
def test_empty_samples_are_kept_up_to_their_share(kept, empty, refused):
    found = Filters(empty_fraction=0.3).reasons(record(empty=True), kept, empty, None)
    assert bool(found) == refused


def test_limits_out_of_range():
    with pytest.raises(InputError, match="option max_entropy"):
        Filters(max_entropy=1.5)
