"""Tracking of trainers: averages, steps, learning rates, failures and resumed runs."""

from __future__ import annotations

import pytest
import torch
from ignite.engine import Engine, Events

from monai_semgan.handlers import TrackTraining, TrackValidation


class Recorder:
    """Stands in for an ExperimentRun and keeps what it is told."""

    def __init__(self) -> None:
        self.rows: list[tuple[int, dict]] = []
        self.events: list = []
        self.stages: list = []

    def start(self, fresh=False):
        self.events.append(("start", fresh))

    def rewind(self, step, prefix):
        self.events.append(("rewind", step, prefix))

    def log_metrics(self, metrics, step):
        self.rows.append((step, dict(metrics)))

    def flush(self):
        self.events.append("flush")

    def start_stage(self, stage):
        self.stages.append(("start", stage))

    def finish_stage(self, stage):
        self.stages.append(("finish", stage))

    def finish(self, status="FINISHED"):
        self.events.append(status)


def trainer(batch: int = 4, fail_at: int | None = None) -> Engine:
    def update(engine, _):
        engine.state.images_seen += batch
        engine.state.gradient_norms = {"gan/generator": 3.0} if engine.state.iteration % 2 else {"warmup": 1.0}
        if engine.state.iteration == fail_at:
            raise RuntimeError("diverged")
        output = {"loss": float(engine.state.iteration), "gan/generator": torch.tensor(2.0)}
        if engine.state.iteration % 2 == 0:
            output["gan/r1"] = 10.0 * engine.state.iteration
        return output

    engine = Engine(update)
    engine.state.images_seen = 0
    weight = torch.nn.Parameter(torch.zeros(1))
    engine.optimizers = {
        "generator": torch.optim.Adam([weight], lr=2e-3),
        "critic": torch.optim.SGD([{"params": [weight], "lr": 0.1}, {"params": [], "lr": 0.5}], lr=0.1),
    }
    engine.state.metrics = {}
    return engine


def test_means_rates_and_steps():
    run, engine = Recorder(), trainer()
    TrackTraining(run, every=4, stage="gan", first_stage=True).attach(engine)
    engine.run([0] * 10, max_epochs=1)
    assert [step for step, _ in run.rows] == [16, 32, 40]
    first, second, rest = (row for _, row in run.rows)
    assert first["gan/loss"] == 2.5
    assert second["gan/loss"] == 6.5
    assert rest["gan/loss"] == 9.5
    assert first["gan/r1"] == 30.0  # mean over the two iterations that had it
    assert first["gan/generator"] == 2.0
    assert first["gan/lr/generator"] == pytest.approx(2e-3)
    assert (first["gan/lr/critic"], first["gan/lr/critic_2"]) == (0.5, 0.1)
    assert second["gan/images_per_second"] > 0
    assert first["gan/grad_norm/generator"] == 3.0
    assert first["gan/grad_norm/warmup"] == 1.0
    assert run.events == [("start", True), ("rewind", 0, "gan/"), "flush"]
    assert run.stages == [("start", "gan"), ("finish", "gan")]


def test_what_is_measured_at_the_very_end_is_logged_once():
    run, engine = Recorder(), trainer()
    engine.add_event_handler(Events.COMPLETED, lambda engine: engine.state.metrics.update(validation_dice_ct=0.7))
    TrackTraining(run, every=2, stage="gan").attach(engine)
    engine.run([0] * 4, max_epochs=1)
    assert [step for step, _ in run.rows] == [8, 16, 16]
    assert run.rows[-1][1]["gan/validation_dice_ct"] == 0.7
    assert "gan/loss" not in run.rows[-1][1]
    run, engine = Recorder(), trainer()
    TrackTraining(run, every=2, stage="gan").attach(engine)
    engine.run([0] * 4, max_epochs=1)
    assert [step for step, _ in run.rows] == [8, 16]


def test_only_the_first_stage_at_zero_images_is_fresh():
    run, engine = Recorder(), trainer()
    TrackTraining(run, stage="gan", first_stage=True).attach(engine)
    engine.state.images_seen = 64
    engine.run([0], max_epochs=1)
    assert run.events[:2] == [("start", False), ("rewind", 64, "gan/")]
    run, engine = Recorder(), trainer()
    TrackTraining(run, stage="encoder", finish_run=True).attach(engine)
    engine.run([0], max_epochs=1)
    assert run.events == [("start", False), ("rewind", 0, "encoder/"), "FINISHED"]


def test_failure_reaches_the_run_later_handlers_and_the_caller():
    run, engine, seen = Recorder(), trainer(fail_at=3), []
    TrackTraining(run, every=100).attach(engine)
    engine.add_event_handler(Events.EXCEPTION_RAISED, lambda engine, error: seen.append(error))
    with pytest.raises(RuntimeError, match="diverged"):
        engine.run([0] * 5, max_epochs=1)
    assert seen
    assert "FAILED" in run.events
    assert "flush" not in run.events


def test_ctrl_c_is_told_apart():
    run, engine = Recorder(), trainer()
    TrackTraining(run).attach(engine)

    def interrupt(engine):
        raise KeyboardInterrupt

    engine.add_event_handler(Events.STARTED, interrupt)
    with pytest.raises(KeyboardInterrupt):
        engine.run([0], max_epochs=1)
    assert "KILLED" in run.events


def test_an_engine_without_images_counts_iterations():
    run, engine = Recorder(), Engine(lambda engine, batch: [{"loss": 1.0, "note": "text"}])
    TrackTraining(run, every=2).attach(engine)
    engine.run([0] * 4, max_epochs=1)
    assert [(step, row["train/loss"]) for step, row in run.rows] == [(2, 1.0), (4, 1.0)]


def test_validation():
    run, engine = Recorder(), Engine(lambda engine, batch: None)
    TrackValidation(run, step=lambda: 128).attach(engine)
    engine.add_event_handler(Events.EPOCH_COMPLETED, lambda engine: engine.state.metrics.update(dice=0.5, name="x"))
    engine.run([0], max_epochs=1)
    assert run.rows == [(128, {"validation/dice": 0.5})]
