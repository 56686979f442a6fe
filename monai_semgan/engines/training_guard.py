"""What keeps a training from going on with broken numbers: bad steps are counted, a lost training is diagnosed."""

from __future__ import annotations

import json
import logging
import math
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import torch
from torch import nn

from ..utils.files import write_json_atomic

__all__ = ["TrainingDiverged", "TrainingGuard"]

logger = logging.getLogger(__name__)
REPORT = "diverged.json"
_REMEDIES = ("learning_rate", "weight", "gamma", "strength", "clip", "mixed_precision")
_CRITICS = ("critic", "discriminator")
_FIRST_LOOK = 100  # steps of a critic whose mean is what later ones are held against
_KEPT_VALUES = 10


class TrainingDiverged(RuntimeError):  # noqa: N818
    """Raised when losses or gradients stay non-finite; names phase, term and the last good checkpoint."""


class TrainingGuard:
    """Counts the steps that were left out, and decides when there is no point in going on.

    A phase whose loss or gradient is not finite makes no step. What its forward pass did to running statistics
    (batch normalisation) is taken back too: they would stay broken for ever, and only the evaluation would show
    it. After ``max_bad_steps`` bad steps of one phase in a row the training stops; no checkpoint is written in such
    a row, so that ``last.pt`` is from before it. ``diverged.json`` beside it says what was seen.

    It costs no synchronisation with a GPU: everything is told by numbers that the trainer has read anyway.

    Args:
        networks: name to network.
        max_bad_steps: bad steps of one phase in a row that stop the training.
        folder: where ``diverged.json`` is written (None: nowhere).
    """

    def __init__(self, networks: Mapping[str, nn.Module], max_bad_steps: int = 20, folder: Path | None = None) -> None:
        self.networks = networks
        self.max_bad_steps = max_bad_steps
        self.folder = folder
        self.in_a_row: dict[str, int] = {}  # by phase: healthy phases must not hide a sick one
        self.skipped: dict[str, int] = {}
        self.critics = CriticWatch()
        self._values: dict[str, deque[dict[str, float]]] = {}
        self._statistics: list[torch.Tensor] | None = None
        self._remembered: list[torch.Tensor] = []

    @property
    def healthy(self) -> bool:
        """Whether no phase is in a row of bad steps."""
        return not any(self.in_a_row.values())

    def before(self) -> None:
        """Remember the running statistics of all networks; nothing is done where there are none."""
        if self._statistics is None:
            buffers = ((n, b) for net in self.networks.values() for n, b in net.named_buffers())
            self._statistics = [b for n, b in buffers if "running_" in n and b.is_floating_point()]
            self._remembered = [b.clone() for b in self._statistics]
        elif self._statistics:
            with torch.no_grad():
                torch._foreach_copy_(self._remembered, self._statistics)

    def good(self, phase: str, players: Sequence[str], values: Mapping[str, float]) -> None:
        """Note a finite step."""
        self.in_a_row[phase] = 0
        self._values.setdefault(phase, deque(maxlen=_KEPT_VALUES)).append(dict(values))
        self.critics.look(phase, players, values)

    def bad(self, phase: str, values: dict[str, float], iteration: int, checkpoint: Path | None) -> None:
        """Note a step that was left out; the terms that were not finite become 0 in ``values``.

        Raises:
            TrainingDiverged: it was one too many.
        """
        if self._statistics:
            with torch.no_grad():
                torch._foreach_copy_(self._statistics, self._remembered)
        self.skipped[phase] = self.skipped.get(phase, 0) + 1
        in_a_row = self.in_a_row[phase] = self.in_a_row.get(phase, 0) + 1
        terms = [name for name, value in values.items() if not math.isfinite(value)]
        if in_a_row == 1:
            logger.warning(
                "iteration %d, phase %s: the step is left out, not finite: %s",
                iteration, phase, ", ".join(terms) or "gradient only",
            )  # fmt: skip
        if in_a_row >= self.max_bad_steps:
            self._give_up(phase, terms, values, iteration, checkpoint)
        values.update(dict.fromkeys(terms, 0.0))

    def check_weights(self, iteration: int, checkpoint: Path | None) -> None:
        """Refuse to keep networks with weights that are not finite; called before a checkpoint is written.

        Raises:
            TrainingDiverged: a weight or statistic is NaN or infinite.
        """
        broken = [name for name, network in self.networks.items() if not all_finite(network.state_dict().values())]
        if broken:
            self._give_up("", [f"weights of {' and '.join(broken)}"], {}, iteration, checkpoint)

    def _give_up(
        self, phase: str, terms: list[str], values: Mapping[str, float], iteration: int, checkpoint: Path | None
    ) -> None:
        parameters = [
            f"{name}.{key}"
            for name, network in self.networks.items()
            for key, p in network.named_parameters()
            if not (all_finite([p]) and (p.grad is None or all_finite([p.grad])))
        ]
        kept = checkpoint is not None and checkpoint.is_file()
        state = str(checkpoint) if kept else f"the start ({checkpoint or 'a checkpoint'} has not been written yet)"
        report = {
            "iteration": iteration,
            "phase": phase,
            "terms": terms or ["gradient only"],
            "values": {name: repr(value) for name, value in values.items()},
            "before": list(self._values.get(phase, ())),
            "skipped_steps": self.skipped,
            "parameters": parameters[:20],
            "critics": self.critics.said,
            "last_good_checkpoint": checkpoint.name if kept and checkpoint is not None else None,
        }
        if self.folder is not None:
            with suppress(OSError):  # a full disk must not hide what is told below
                write_json_atomic(self.folder / REPORT, report)
        what = f"phase {phase}: {self.in_a_row[phase]} steps in a row were" if phase else "networks are"
        critics = f" Before: {'; '.join(self.critics.said)}." if self.critics.said else ""
        raise TrainingDiverged(
            f"{what} not finite (terms: {', '.join(terms) or 'gradient only'}; iteration {iteration})."
            f"{critics} The last good state is {state}. What to do: lower the learning rate or the weight of that term "
            "and give the same command again: after a divergence a training goes on with other rates and weights"
            + (f". Details are in {self.folder / REPORT}" if self.folder is not None else "")
        )

    # ---- going on afterwards -------------------------------------------------------------------
    def may_change(self, names: Iterable[str]) -> bool:
        """Whether these settings may differ from the checkpoint's: rates and weights may, after a divergence."""
        names = list(names)
        diverged = self.folder is not None and (self.folder / REPORT).is_file()
        return diverged and all(any(r in name.rsplit(".", 1)[-1] for r in _REMEDIES) for name in names)

    def checkpoint_written(self, iteration: int) -> None:
        """Put the report of an earlier divergence aside once a later state is safe."""
        report = None if self.folder is None else self.folder / REPORT
        if report is None or not report.is_file():
            return
        with suppress(OSError, ValueError, KeyError, TypeError):
            if json.loads(report.read_text(encoding="utf-8"))["iteration"] < iteration:
                report.replace(report.with_name("diverged_before.json"))


class CriticWatch:
    """Says when a critic's loss has run away, or when it has won: nothing can be learnt from it any more.

    A critic's loss (logistic, hinge, cross entropy) begins near its value for guessing. Means of 100 steps or so
    are held against the mean of the first 100: more than 20 times that is running away, less than a hundredth of it is
    a critic that is never wrong. It is said once, and again only after the loss has come back.

    Attributes:
        said: what was said.
    """

    def __init__(self) -> None:
        self.said: list[str] = []
        self._steps: dict[str, int] = {}
        self._first: dict[str, float] = {}
        self._mean: dict[str, float] = {}
        self._trouble: dict[str, str] = {}

    def look(self, phase: str, players: Sequence[str], values: Mapping[str, float]) -> None:
        """Take the loss of one step; phases of other networks and gradient penalties are passed over."""
        if "r1" in phase or not all(any(c in player for c in _CRITICS) for player in players):
            return
        value = abs(sum(values.values()))
        steps = self._steps[phase] = self._steps.get(phase, 0) + 1
        if steps <= _FIRST_LOOK:
            self._first[phase] = self._first.get(phase, 0.0) + (value - self._first.get(phase, 0.0)) / steps
            self._mean[phase] = self._first[phase]
            return
        mean = self._mean[phase] = self._mean[phase] + (value - self._mean[phase]) / _FIRST_LOOK
        first = max(self._first[phase], 1e-6)
        before = self._trouble.get(phase)
        if mean > 20 * max(first, 0.1):
            self._say(phase, "runs away", f"its loss has risen from {first:.3g} to {mean:.3g}")
        elif mean < 0.01 * first:
            self._say(phase, "has won", f"its loss has fallen from {first:.3g} to {mean:.3g}: it is never wrong")
        elif before and 0.05 * first < mean < 4 * max(first, 0.1):
            del self._trouble[phase]

    def _say(self, phase: str, trouble: str, why: str) -> None:
        if self._trouble.get(phase) != trouble:
            self._trouble[phase] = trouble
            text = f"the critic of phase {phase} {trouble} ({why})"
            self.said = [*self.said[-9:], text]
            logger.warning("%s; lower its learning rate, or raise its gradient penalty", text)


def all_finite(tensors: Iterable[torch.Tensor]) -> bool:
    """Whether all floating point tensors are finite; on a GPU with a single look."""
    floats = [t.detach() for t in tensors if t.is_floating_point() and t.numel()]
    # |x| < inf is False for NaN as well; one reduction a tensor, one answer for all
    return not floats or bool(torch.stack([torch.isfinite(t).all() for t in floats]).all())
