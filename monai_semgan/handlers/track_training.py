"""Ignite handlers that send a trainer's losses and an evaluator's scores to an ``ExperimentRun``."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

import torch
from ignite.engine import Engine, Events

from .experiment_run import ExperimentRun

__all__ = ["TrackTraining", "TrackValidation", "scalar_output"]


def scalar_output(output: Any) -> dict[str, float]:
    """The numbers of an engine's output: of a dict, or of the first dict in a list."""
    if isinstance(output, (list, tuple)):
        output = output[0] if output else {}
    if not isinstance(output, Mapping):
        return {}
    numbers = {}
    for name, value in output.items():
        single = isinstance(value, torch.Tensor) and value.numel() == 1
        if single or (isinstance(value, (int, float)) and not isinstance(value, bool)):
            numbers[str(name)] = float(value)
    return numbers


class TrackTraining:
    """Logs every loss, gradient norm and learning rate, and the speed of a trainer.

    Losses and gradient norms are means over the iterations since the last log, each over the iterations that had it
    (lazy regularisers run rarely). The step is ``engine.state.images_seen`` (the iteration where a trainer has
    none). Names get the stage in front, unless they have it already: ``gan/loss``, ``gan/lr/generator``,
    ``gan/grad_norm/generator``, ``gan/images_per_second``.

    The stage has a run of its own below the experiment's. On an exception the run is closed as FAILED (KILLED for
    Ctrl-C) and the exception goes on its way after all other handlers have seen it. A completed stage delivers what
    waits; the run stays open for the next stage and the evaluation, and is closed by ``run.finish()`` or at the end of
    the process.

    Args:
        run: the experiment; several stages share it.
        every: iterations between two logs.
        stage: e.g. ``"gan"`` or ``"encoder"``.
        first_stage: with True, a training that begins at zero images begins a new run, even when an earlier,
            unfinished training left one in the folder.
        finish_run: close the run as FINISHED when this trainer is done.
    """

    def __init__(
        self,
        run: ExperimentRun,
        every: int = 50,
        stage: str = "train",
        first_stage: bool = False,
        finish_run: bool = False,
    ) -> None:
        self.run = run
        self.every = every
        self.stage = stage
        self.first_stage = first_stage
        self.finish_run = finish_run
        self._sums: dict[str, float] = {}
        self._counts: dict[str, int] = {}
        self._logged_step = 0
        self._logged_at = 0.0
        self._logged_metrics: dict[str, float] = {}

    def attach(self, engine: Engine) -> None:
        """Follow ``engine``."""
        engine.add_event_handler(Events.STARTED, self.started)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self.iteration_completed)
        engine.add_event_handler(Events.COMPLETED, self.completed)
        engine.add_event_handler(Events.EXCEPTION_RAISED, self.exception_raised)
        engine.add_event_handler(Events.EXCEPTION_RAISED, self._pass_on)

    def started(self, engine: Engine) -> None:
        """Begin (or continue) the run."""
        # An engine with a handler for exceptions leaves raising to the handlers, and the first that raises
        # cuts off the others: ours has to be the last.
        if engine.has_event_handler(self._pass_on, Events.EXCEPTION_RAISED):
            engine.remove_event_handler(self._pass_on, Events.EXCEPTION_RAISED)
        engine.add_event_handler(Events.EXCEPTION_RAISED, self._pass_on)
        step = images_seen(engine)
        self.run.start(fresh=self.first_stage and step == 0)
        self.run.rewind(step, f"{self.stage}/")
        self.run.start_stage(self.stage)
        self._forget(step)

    def iteration_completed(self, engine: Engine) -> None:
        """Add up the losses; log them when due."""
        values = scalar_output(engine.state.output)
        for phase, norm in getattr(engine.state, "gradient_norms", {}).items():
            values[f"grad_norm/{phase.removeprefix(f'{self.stage}/')}"] = norm
        for name, value in values.items():
            self._sums[name] = self._sums.get(name, 0.0) + value
            self._counts[name] = self._counts.get(name, 0) + 1
        if engine.state.iteration % self.every == 0:
            self._log(engine)

    def completed(self, engine: Engine) -> None:
        """Log the rest and deliver."""
        # what other handlers have measured at the very end is still to be logged
        if self._counts or scalar_output(engine.state.metrics) != self._logged_metrics:
            self._log(engine)
        self.run.finish_stage(self.stage)
        if self.finish_run:
            self.run.finish()
        else:
            self.run.flush()

    def exception_raised(self, engine: Engine, error: BaseException) -> None:
        """Close the run as failed."""
        self.run.finish("KILLED" if isinstance(error, KeyboardInterrupt) else "FAILED")

    def _pass_on(self, engine: Engine, error: BaseException) -> None:
        raise error

    def _log(self, engine: Engine) -> None:
        step, now = images_seen(engine), time.monotonic()
        values = {name: total / self._counts[name] for name, total in self._sums.items()}
        values.update(learning_rates(engine))
        self._logged_metrics = scalar_output(engine.state.metrics)
        for name, value in self._logged_metrics.items():
            values.setdefault(name, value)
        if step > self._logged_step and now > self._logged_at:
            values["images_per_second"] = (step - self._logged_step) / (now - self._logged_at)
        if torch.cuda.is_initialized():
            values["gpu_memory_gib"] = torch.cuda.max_memory_allocated() / 2**30
        self.run.log_metrics({_with_stage(name, self.stage): value for name, value in values.items()}, step)
        self._forget(step)

    def _forget(self, step: int) -> None:
        self._sums, self._counts = {}, {}
        self._logged_step, self._logged_at = step, time.monotonic()


class TrackValidation:
    """Logs an evaluator's metrics when it has finished a pass.

    Args:
        run: the experiment.
        step: gives the images seen by the trainer, e.g. ``lambda: trainer.state.images_seen``.
        stage: put in front of the names: ``validation/dice``.
    """

    def __init__(self, run: ExperimentRun, step: Callable[[], int], stage: str = "validation") -> None:
        self.run = run
        self.step = step
        self.stage = stage

    def attach(self, engine: Engine) -> None:
        """Follow ``engine``."""
        engine.add_event_handler(Events.COMPLETED, self.completed)

    def completed(self, engine: Engine) -> None:
        """Log the metrics of the pass."""
        values = scalar_output(engine.state.metrics)
        named = {_with_stage(name, self.stage): value for name, value in values.items()}
        self.run.log_metrics(named, self.step())


def images_seen(engine: Engine) -> int:
    """Images seen so far; where the trainer does not count them, its iterations."""
    seen = getattr(engine.state, "images_seen", None)
    return int(engine.state.iteration if seen is None else seen)


def learning_rates(engine: Engine) -> dict[str, float]:
    """``lr/<name>`` of every optimiser in ``engine.optimizers`` (or of the single ``engine.optimizer``)."""
    optimizers = getattr(engine, "optimizers", None)
    if optimizers is None and getattr(engine, "optimizer", None) is not None:
        optimizers = {"optimizer": engine.optimizer}  # type: ignore[attr-defined]
    rates = {}
    for name, optimizer in (optimizers or {}).items():
        different = sorted({float(group["lr"]) for group in optimizer.param_groups}, reverse=True)
        for number, rate in enumerate(different):
            rates[f"lr/{name}" if number == 0 else f"lr/{name}_{number + 1}"] = rate
    return rates


def _with_stage(name: str, stage: str) -> str:
    return name if name.startswith(f"{stage}/") else f"{stage}/{name}"
