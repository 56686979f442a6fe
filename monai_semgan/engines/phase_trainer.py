"""A trainer that runs named phases: one training engine for every method.

MONAI's GanTrainer and AdversarialTrainer know one critic and no lazy regularisers, and their state
cannot be resumed exactly; this one is a ``monai.engines.Trainer``, so MONAI's handlers attach as usual.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from ignite.engine import Events
from monai.engines import Trainer
from torch import nn

from ..utils.allocator import reuse_memory
from ..utils.checkpoint import load_checkpoint, load_weights, save_checkpoint
from ..utils.compiled import CompiledPasses
from ..utils.errors import InputError
from ..utils.files import make_output_folder
from ..utils.processes import (
    average_gradients,
    average_statistics,
    copy_from_first,
    is_first_process,
    process_count,
    process_rank,
    require_started,
    wait_for_all,
)
from .training_guard import TrainingDiverged, TrainingGuard

__all__ = ["Phase", "PhaseTrainer", "TrainingDiverged"]

Terms = dict[str, torch.Tensor]


@dataclass(frozen=True)
class Phase:
    """One optimiser step of a method.

    Args:
        name: as it appears in logs, ``<stage>/<phase>`` by convention.
        players: names of the networks this phase trains; all others are frozen while it runs.
        optimizer: name of the optimiser that steps.
        loss: maps a batch to named terms, which are summed; or gives such terms one after the other, whose gradients
            are summed: each part's graph is freed before the next one is made.
        every: run at iterations divisible by this (lazy regularisation); the loss carries the factor.
        start, stop: first iteration, and the iteration before which it ends (None: never).
        clip: largest gradient norm (None: no clipping).
        full_precision: run outside of mixed precision (double backward, distances).
    """

    name: str
    players: Sequence[str]
    optimizer: str
    loss: Callable[[Any], Terms | Iterator[Terms]]
    every: int = 1
    start: int = 0
    stop: int | None = None
    clip: float | None = None
    full_precision: bool = False

    def due(self, iteration: int) -> bool:
        """Whether the phase runs at this iteration, counted from 0."""
        inside = iteration >= self.start and (self.stop is None or iteration < self.stop)
        return inside and (iteration - self.start) % self.every == 0


class PhaseTrainer(Trainer):
    """Base of all training engines; a method gives ``phases()`` and one function a phase.

    Args:
        device: where to train.
        max_epochs, epoch_length: length of the training; an epoch is a number of iterations.
        train_data_loader: gives batches; with ``state_dict``/``load_state_dict`` it is resumed exactly.
        networks: name to network; what a phase names as players.
        optimizers: name to optimiser.
        output_dir: folder of ``last.pt`` (None: no checkpoints).
        checkpoint_every: iterations between checkpoints.
        seed: with the iteration, seeds torch before each iteration, so that a resumed run draws the same
            numbers as one that was never stopped.
        mixed_precision: run phases under bfloat16 autocast (many times slower on a CPU without bfloat16 units).
        settings: plain values that identify this training; a checkpoint of other settings is refused.
        max_bad_steps: consecutive non-finite steps of one phase that are skipped before the training stops.
        train_handlers: MONAI or Ignite handlers.
        compile_mode: torch's compiler for passes that are differentiated at most once, see
            :class:`~monai_semgan.utils.CompiledPasses`; None: nothing is compiled. Only where ``may_compile`` is set.
        compile_backend: for tests.

    Output: ``engine.state.output`` is a dict of floats: ``loss`` and one entry per term of each phase that ran.
    ``engine.state.gradient_norms`` has the norm of the gradient of each of them, before clipping.

    With several processes (see ``utils.start_processes``) each runs the phases on its part of every batch; gradients
    and terms are averaged before each step, so all make the same one. Images are counted over all processes, and the
    first one alone writes.
    """

    may_compile = False
    """Whether a method's phases call their networks by ``self.passes``."""

    def __init__(
        self,
        device: torch.device | str,
        max_epochs: int,
        train_data_loader: Iterable,
        networks: dict[str, nn.Module],
        optimizers: dict[str, torch.optim.Optimizer],
        epoch_length: int | None = None,
        output_dir: str | Path | None = None,
        checkpoint_every: int = 100,
        seed: int = 0,
        mixed_precision: bool = False,
        settings: dict[str, Any] | None = None,
        max_bad_steps: int = 20,
        train_handlers: Sequence | None = None,
        compile_mode: str | None = None,
        compile_backend: str | Callable[..., Any] = "inductor",
    ) -> None:
        super().__init__(
            device=device,
            max_epochs=max_epochs,
            data_loader=train_data_loader,
            epoch_length=epoch_length,
            handlers=list(train_handlers or []),
            decollate=False,
        )
        if checkpoint_every < 1:
            raise InputError("option checkpoint_every", got=checkpoint_every, wanted="1 iteration or more")
        if compile_mode is not None and not self.may_compile:
            raise InputError(
                "option compile_mode", got=repr(compile_mode), wanted=f"None: {type(self).__name__} compiles nothing"
            )
        self.passes = CompiledPasses(compile_mode, compile_backend)
        self.networks = networks
        self.optimizers = optimizers
        self.output_dir = Path(output_dir) if output_dir is not None else None
        self.checkpoint_every = checkpoint_every
        self.seed = seed
        self.mixed_precision = mixed_precision
        self.settings = settings or {}
        self.guard = TrainingGuard(networks, max_bad_steps, self.output_dir)
        self.skipped_steps = 0
        self.shared: dict[str, Any] = {}
        self.state.images_seen = 0
        self.state.output = {}
        self.state.gradient_norms = {}
        self.schedule = tuple(self.phases())
        for network in networks.values():
            network.to(device)
        self.add_event_handler(Events.ITERATION_COMPLETED, self._maybe_checkpoint)
        self.add_event_handler(Events.COMPLETED, self._on_completed)

    # ---- what a method gives -------------------------------------------------------------------
    def phases(self) -> Sequence[Phase]:
        """The phases of one iteration, in order."""
        raise NotImplementedError("a training engine must list its phases")

    def batch_size(self, batch: Any) -> int:
        """Images of a batch, for counting; by default the unlabelled, else the labelled part."""
        part = batch.get("unlabelled") or batch["labelled"]
        return int(part["image"].shape[0])

    def before_iteration(self, iteration: int, batch: Any) -> None:
        """Hook before the phases (learning rates, schedules)."""

    def after_iteration(self, iteration: int, batch: Any) -> None:
        """Hook after the phases (moving averages)."""

    def extra_state(self) -> dict[str, Any]:
        """What else a checkpoint must hold: tensors and plain values."""
        return {}

    def load_extra_state(self, state: dict[str, Any]) -> None:
        """Take back what :meth:`extra_state` gave."""

    def on_finished(self) -> None:
        """Write the stage's result (called once, before the stage counts as finished)."""

    # ---- running -------------------------------------------------------------------------------
    @property
    def total_iterations(self) -> int:
        return int(self.state.max_epochs) * int(self.state.epoch_length)

    @property
    def checkpoint_path(self) -> Path | None:
        return None if self.output_dir is None else self.output_dir / "last.pt"

    def run(self) -> None:
        """Train to the end, going on from ``last.pt`` if there is one; a finished stage returns at once.

        Random numbers are left as they were found: a stage that comes after is built of the same ones, whether this
        one was run now or before an interruption.
        """
        require_started()
        path = self.checkpoint_path
        if path is not None:
            make_output_folder(path.parent)
        if path is not None and path.is_file():
            self.load_training_state(load_checkpoint(path, map_location="cpu"))
        if self.state.iteration >= self.total_iterations:
            return
        copy_from_first([*self.networks.values(), *([self.ema.average] if hasattr(self, "ema") else [])])
        device = torch.device(self.state.device)
        forked = torch.random.fork_rng(devices=[device] if device.type == "cuda" else [])
        with forked, reuse_memory(self.state.device):
            super().run()

    def draw_seed(self, iteration: int) -> int:
        """Seed of an iteration's random numbers: other ones in each process, as each has other images."""
        return (self.seed * 1_000_003 + iteration + process_rank() * 0x5851F42D4C957F2D) % 2**63

    def images_in(self, batch: Any) -> int:
        """Images of a batch over all processes."""
        return self.batch_size(batch) * process_count()

    def _iteration(self, engine: Any, batchdata: Any) -> dict[str, float]:
        iteration = self.state.iteration - 1
        torch.manual_seed(self.draw_seed(iteration))
        batch = self._to_device(batchdata)
        self.shared = {}
        self.state.gradient_norms = {}
        self.state.images_seen += self.images_in(batch)
        self.before_iteration(iteration, batch)
        output: dict[str, float] = {}
        for phase in self.schedule:
            if phase.due(iteration):
                output.update(self._run_phase(phase, batch))
        average_statistics(self.networks.values())
        self.after_iteration(iteration, batch)
        output["loss"] = float(sum(output.values()))
        return output

    def _run_phase(self, phase: Phase, batch: Any) -> dict[str, float]:
        for name, network in self.networks.items():
            network.requires_grad_(name in phase.players)
        for other in self.optimizers.values():  # nobody needs the gradients of the phases before
            other.zero_grad(set_to_none=True)
        optimizer = self.optimizers[phase.optimizer]
        self.passes.begin()
        self.guard.before()
        terms = self._backward(phase, batch)
        total = torch.stack(list(terms.values())).sum()
        if process_count() > 1:
            total, terms = self._average(optimizer, terms)
        parameters = [p for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
        norm = torch.nn.utils.clip_grad_norm_(parameters, phase.clip if phase.clip is not None else float("inf"))
        values = {f"{phase.name}/{k}" if k else phase.name: float(v.detach()) for k, v in terms.items()}
        self.state.gradient_norms[phase.name] = float(norm)
        if bool(torch.isfinite(total.detach())) and bool(torch.isfinite(norm)):
            optimizer.step()
            self.guard.good(phase.name, phase.players, values)
        else:
            self.skipped_steps += 1
            self.state.metrics["skipped_steps"] = self.skipped_steps
            self.guard.bad(phase.name, values, self.state.iteration - 1, self.checkpoint_path)
        return values

    def _backward(self, phase: Phase, batch: Any) -> Terms:
        """Gradients of a phase, of one part after the other; returns the terms, without a graph."""
        with self.precision(phase):
            found = phase.loss(batch)
        parts = iter([found]) if isinstance(found, dict) else found
        sums: Terms = {}
        while True:
            with self.precision(phase):
                part = next(parts, None)
            if part is None:
                return sums
            torch.stack([t.float() for t in part.values()]).sum().backward()
            for name, term in part.items():
                value = term.detach().float()
                sums[name] = sums[name] + value if name in sums else value

    @staticmethod
    def _average(optimizer: torch.optim.Optimizer, terms: Terms) -> tuple[torch.Tensor, Terms]:
        """Gradients and terms become their means over the processes: all make the same step, or none."""
        trained = [p for group in optimizer.param_groups for p in group["params"] if p.requires_grad]
        means = average_gradients(trained, torch.stack([t.detach().float() for t in terms.values()]))
        return means.sum(), dict(zip(terms, means, strict=True))

    def precision(self, phase: Phase) -> Any:
        """Autocast context of a phase."""
        if not self.mixed_precision or phase.full_precision:
            return nullcontext()
        return torch.autocast(torch.device(self.state.device).type, dtype=torch.bfloat16)

    def _to_device(self, data: Any) -> Any:
        if isinstance(data, torch.Tensor):
            return data.to(self.state.device)
        if isinstance(data, dict):
            return {k: self._to_device(v) for k, v in data.items()}
        return data

    # ---- state ---------------------------------------------------------------------------------
    def training_state(self) -> dict[str, Any]:
        """Everything an exact continuation needs: tensors and plain values only."""
        loader = self.data_loader
        return {
            "settings": self.settings,
            "iteration": self.state.iteration,
            "images_seen": self.state.images_seen,
            "skipped_steps": self.skipped_steps,
            "networks": {k: v.state_dict() for k, v in self.networks.items()},
            "optimizers": {k: v.state_dict() for k, v in self.optimizers.items()},
            "loader": loader.state_dict() if hasattr(loader, "state_dict") else {},
            "extra": self.extra_state(),
        }

    def load_training_state(self, state: dict[str, Any]) -> None:
        """Take a state back; refuses one of a training with other settings."""
        before, now = _flat(state["settings"]), _flat(self.settings)
        other = [name for name in now if before.get(name) != now[name]]
        if other and not self.guard.may_change(other):
            shown = ", ".join(_difference(name, before.get(name), now[name]) for name in other[:4])
            raise InputError(
                f"Training in {self.output_dir}",
                got=f"a checkpoint of another configuration ({shown})",
                wanted="the configuration that it was started with",
                fix="give another --output_dir for the new training, or delete this folder",
            )
        for name, network in self.networks.items():
            weights = state["networks"].get(name, {})
            load_weights(network, weights, f"Checkpoint {self.checkpoint_path}, {name}")
        for name, optimizer in self.optimizers.items():
            optimizer.load_state_dict(state["optimizers"][name])
        if hasattr(self.data_loader, "load_state_dict"):
            self.data_loader.load_state_dict(state["loader"])
        self.load_extra_state(state["extra"])
        self.skipped_steps = state["skipped_steps"]
        self.state.images_seen = state["images_seen"]
        self.state.iteration = state["iteration"]
        self.state.epoch = state["iteration"] // int(self.state.epoch_length)

    def save(self) -> None:
        """Write ``last.pt`` now."""
        if self.checkpoint_path is not None and is_first_process():
            self.guard.check_weights(self.state.iteration - 1, self.checkpoint_path)
            save_checkpoint(self.training_state(), self.checkpoint_path)
            self.guard.checkpoint_written(self.state.iteration)

    def _maybe_checkpoint(self) -> None:
        # the last iteration is saved by _on_completed, after the stage's result has been written; in the middle of
        # steps that are not finite nothing is saved, so that the last good state stays
        due = self.state.iteration % self.checkpoint_every == 0 and self.state.iteration < self.total_iterations
        if due and self.guard.healthy:
            self.save()

    def _on_completed(self) -> None:
        self.guard.check_weights(self.state.iteration - 1, self.checkpoint_path)
        if is_first_process():
            self.on_finished()
            self.save()
        wait_for_all()  # the next stage of any process reads what the first has written


def _flat(settings: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """``{"a": {"b": 1}}`` -> ``{"a.b": 1}``."""
    flat: dict[str, Any] = {}
    for name, value in settings.items():
        if isinstance(value, dict):
            flat.update(_flat(value, f"{prefix}{name}."))
        else:
            flat[prefix + name] = value
    return flat


def _difference(name: str, before: Any, now: Any) -> str:
    if name == "datalist":  # two hashes say nothing to anybody
        return "the lists of scans were other ones"
    return f"{name} was {before!r} and is now {now!r}"
