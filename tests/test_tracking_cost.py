"""What tracking costs is counted rightly, and it is little."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from monai_semgan.apps import prepare_phantom
from monai_semgan.handlers import ExperimentRun
from tests.bundle_command import BUNDLES
from tests.tracking_cost import MODEL, PARTS, Cost, Meter, Trained, estimate, intervals, measure

LIMIT = 0.03


def busy(seconds: float) -> None:
    end = time.process_time() + seconds
    while time.process_time() < end:
        pass


def test_time_of_an_inner_call_is_not_the_outer_ones() -> None:
    meter = Meter(stage="gan")
    for _ in range(2):
        with meter.part("pictures"):
            busy(0.02)
            with meter.part("deliveries of numbers"):
                busy(0.05)
    outer, inner = (meter.costs["gan", name] for name in ("pictures", "deliveries of numbers"))
    assert (outer.calls, inner.calls) == (2, 2)
    assert 0.04 <= outer.cpu < 0.08
    assert 0.1 <= inner.cpu < 0.14
    assert inner.wall >= inner.cpu * 0.9


def test_the_methods_are_watched_and_given_back(tmp_path: Path) -> None:
    before = [vars(owner)[name] for _, methods in PARTS.values() for owner, name in methods]
    meter = Meter()
    with meter.watching():
        run = ExperimentRun(tmp_path, "x", enabled=False)
        run.start()
        run.flush()
    assert {name: cost.calls for (_, name), cost in meter.costs.items()} == {
        "opening the run": 1, "deliveries of numbers": 1,
    }  # fmt: skip
    assert [vars(owner)[name] for _, methods in PARTS.values() for owner, name in methods] == before


def test_each_part_grows_in_its_own_way() -> None:
    costs = {
        ("gan", "opening the run"): Cost(1, 3.0),
        ("gan", "losses, rates, norms"): Cost(10, 1.0),
        ("gan", "pictures"): Cost(2, 4.0),
        ("gan", "deliveries of numbers"): Cost(2, 2.0),
        ("", MODEL): Cost(1, 5.0),
    }
    trained = {"gan": Trained(iterations=10, full=80, cpu=110.0, wall=0.0)}
    rows, here, there = estimate(Meter(costs), trained, {("gan", "pictures"): 7})
    assert (here, there) == (100.0, 800.0)
    assert rows == {
        "opening the run": (3.0, 3.0), "losses, rates, norms": (1.0, 8.0), "pictures": (4.0, 14.0),
        "deliveries of numbers": (2.0, 16.0), MODEL: (5.0, 5.0),
    }  # fmt: skip


def test_looks_are_those_of_the_handlers() -> None:
    config = {"warmup_iterations": 800, "gan_iterations": 500, "encoder_iterations": 900, "student_iterations": 500,
              "validate_every": 200, "picture_every": 200}  # fmt: skip
    assert intervals(config) == {
        ("gan", "critics"): 6, ("gan", "samples against slices"): 7, ("gan", "pictures"): 7,
        ("train", "pictures"): 5, ("train", "validation slices"): 5, ("distil", "validation slices"): 3,
    }  # fmt: skip
    handlers = json.loads((BUNDLES / "ct_liver" / "configs" / "train.json").read_text(encoding="utf-8"))
    names = {
        stage: [h["_target_"].rpartition(".")[2] for h in handlers[stage]["handlers"]]
        for stage in ("gan", "train", "distil")
    }
    assert names == {
        "gan": ["ProgressReport", "CriticMonitor", "GeneratorMonitor", "TrackTraining", "SampleGridSaver"],
        "train": ["SliceValidation", "ProgressReport", "TrackTraining", "SampleGridSaver"],
        "distil": ["SliceValidation", "ProgressReport", "TrackTraining"],
    }  # fmt: skip


@pytest.mark.slow
@pytest.mark.timeout(3000)
@pytest.mark.filterwarnings("ignore")
def test_tracking_of_the_main_training_costs_less_than_three_per_cent(tmp_path: Path) -> None:
    """Two minutes of processor time; a short training pays as much for its run and model as a long one."""
    table, _, share = measure(Path(prepare_phantom(tmp_path / "phantom")), tmp_path / "out", divide=8)
    print(table)
    assert share < LIMIT, table
