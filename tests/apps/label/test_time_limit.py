"""Latent optimisation with a time limit: the same answer with enough time, a best one so far without."""

from __future__ import annotations

import itertools
from types import SimpleNamespace

import pytest
import torch

from monai_semgan.apps.label import time_limit
from monai_semgan.apps.label.time_limit import TimeLimitedInversionInferer
from monai_semgan.inferers import LatentInversionInferer
from monai_semgan.utils import InputError
from tests.tiny import SIZE, make_segmenter

OPTIONS = {"slice_batch": 4, "learning_rate": 0.05}


def scan(depth: int = 6) -> torch.Tensor:
    torch.manual_seed(1)
    return torch.rand(1, 1, SIZE, SIZE, depth) * 2 - 1


def test_with_enough_time_the_answer_is_the_same() -> None:
    torch.manual_seed(0)
    network = make_segmenter().eval()
    plain = LatentInversionInferer(steps=3, **OPTIONS)
    limited = TimeLimitedInversionInferer(time_limit=600, steps=3, **OPTIONS)
    assert torch.equal(limited(scan(), network), plain(scan(), network))
    assert limited.report["steps"] == 3
    assert not limited.report["time_limit_reached"]
    assert limited.report["reconstruction_error"] == plain.report["reconstruction_error"]


def test_without_time_it_is_the_encoders() -> None:
    torch.manual_seed(0)
    network = make_segmenter().eval()
    encoder = LatentInversionInferer(steps=0, **OPTIONS)
    none = TimeLimitedInversionInferer(time_limit=1e-9, steps=1000, **OPTIONS)
    assert torch.equal(none(scan(), network), encoder(scan(), network))
    assert none.report["steps"] == 0


def test_in_between_the_best_so_far_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    network = make_segmenter().eval()
    ticks = itertools.count()
    clock = SimpleNamespace(monotonic=lambda: float(next(ticks)))
    monkeypatch.setattr(time_limit, "time", clock)  # every look at the clock is a second
    some = TimeLimitedInversionInferer(time_limit=12, steps=1000, **OPTIONS)
    some(scan(), network)
    assert some.report["time_limit_reached"]
    assert 2 <= some.report["steps"] <= 12
    assert next(ticks) < 20
    encoder = LatentInversionInferer(steps=0, **OPTIONS)
    assert not torch.equal(some(scan(), network), encoder(scan(), network))


def test_zero_steps_and_bad_limits() -> None:
    network = make_segmenter().eval()
    inferer = TimeLimitedInversionInferer(steps=0, **OPTIONS)
    inferer(scan(), network)
    assert not inferer.report["time_limit_reached"]
    with pytest.raises(InputError, match="time_limit"):
        TimeLimitedInversionInferer(time_limit=0)
