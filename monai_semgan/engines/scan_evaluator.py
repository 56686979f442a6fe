"""Evaluator that runs one scan an iteration and lets no bad scan stop the others."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from ignite.engine import Engine, Events
from monai.engines import SupervisedEvaluator
from monai.engines.utils import IterationEvents, default_prepare_batch
from monai.inferers import Inferer
from monai.transforms import Transform

from ..utils.errors import InputError
from ..utils.failures import describe_failure
from ..utils.processes import gather_values, is_first_process, process_count

__all__ = ["ScanEvaluator"]


class ScanEvaluator(SupervisedEvaluator):
    """``SupervisedEvaluator`` for whole scans: ``image (1, C, H, W, D)`` a batch.

    A scan is skipped, and recorded in ``failures``, when its batch carries ``failed`` (see
    ``TolerantDataset``) or when the network, the inferer, the postprocessing or a handler of
    ``IterationEvents`` raises on it, running out of memory included. For a skipped scan
    ``Events.ITERATION_COMPLETED`` is not fired, so that no metric or handler ever sees a scan without a
    prediction. Handlers that write results should attach to ``IterationEvents.MODEL_COMPLETED``: then a
    result that cannot be written is that scan's failure alone.

    When the inferer has a ``report`` after the call, ``state.output[0]["report"]`` is that dictionary from
    the postprocessing on.

    Args:
        device: where to compute.
        val_data_loader: one scan a batch, each with ``image`` and, for messages, ``name``.
        network: what the inferer runs.
        inferer: called as ``inferer(image, network)``.
        postprocessing: dictionary transform on ``{"image", "pred", ...}`` of one scan.
        prepare_batch, non_blocking, val_handlers, amp, decollate and all others: as in MONAI.

    With several processes each has its own scans (``TolerantDataset`` deals them out), and the first knows at the end
    what became of all.

    Attributes:
        failures: ``(name, message)`` of each scan that gave no result, in order; at the end, in the first process,
            those of all processes, in the others none.
        completed: the names of those that did.

    Example:
        >>> from monai.networks.nets import BasicUNet
        >>> net = BasicUNet(spatial_dims=3, features=(4, 4, 4, 4, 4, 4))
        >>> scans = [{"name": ["a"], "failed": ["cannot be read"]}]
        >>> evaluator = ScanEvaluator(torch.device("cpu"), scans, net)
        >>> evaluator.run()
        >>> evaluator.failures
        [('a', 'cannot be read')]
    """

    def __init__(
        self,
        device: torch.device,
        val_data_loader: Iterable,
        network: torch.nn.Module,
        inferer: Inferer | None = None,
        postprocessing: Transform | None = None,
        val_handlers: Sequence | None = None,
        prepare_batch: Callable = default_prepare_batch,
        **kwargs: Any,
    ) -> None:
        # MONAI would decollate, postprocess and call handlers in this order with nothing in between; the
        # report has to come in after decollating (it has no batch axis), so the last two are registered here.
        super().__init__(device, val_data_loader, network, inferer=inferer, prepare_batch=prepare_batch, **kwargs)
        self.failures: list[tuple[str, str]] = []
        self.completed: list[str] = []
        self._skipped = False
        self.add_event_handler(Events.STARTED, ScanEvaluator._start)
        # before all handlers of the same event: they are told of every scan
        self.add_event_handler(Events.COMPLETED, ScanEvaluator._gather)
        self.add_event_handler(IterationEvents.MODEL_COMPLETED, ScanEvaluator._attach_report)
        if postprocessing is not None:
            self._register_postprocessing(postprocessing)
        if val_handlers is not None:
            self._register_handlers(val_handlers)
        self.add_event_handler(Events.COMPLETED, ScanEvaluator._log_summary)

    def raise_failures(self) -> None:
        """Raise ``InputError`` naming every scan that gave no result; call it after ``run()``, last of all.

        Raises:
            InputError: when ``failures`` is not empty. Uncaught, it makes the exit code of a bundle run not
                0, while the results of the other scans are already in place.
        """
        if not self.failures:
            return
        total = len(self.failures) + len(self.completed)
        lines = "".join(f"\n  {name}: {message}" for name, message in self.failures)
        raise InputError(
            f"{len(self.failures)} of {total} scans gave no result ({len(self.completed)} did):{lines}",
            fix="mend or remove these scans and run again; finished results stay",
        )

    def _iteration(self, engine: Engine, batchdata: dict[str, Any]) -> Any:
        name = self._name_of(batchdata)
        self._skipped = False
        failed = batchdata.get("failed") if isinstance(batchdata, dict) else None
        if failed is not None:
            return self._skip(name, failed if isinstance(failed, str) else "; ".join(map(str, failed)))
        try:
            output = super()._iteration(engine, batchdata)
        except Exception as error:
            if isinstance(error, torch.cuda.OutOfMemoryError):
                torch.cuda.empty_cache()
            self.logger.debug("scan %s failed", name, exc_info=error)
            return self._skip(name, describe_failure(error))
        self.completed.append(name)
        return output

    def _skip(self, name: str, message: str) -> list:
        self._skipped = True
        self.failures.append((name, message))
        self.logger.warning("scan %s skipped: %s", name, message)
        self.state.batch = []
        return []

    def _name_of(self, batchdata: Any) -> str:
        name = batchdata.get("name") if isinstance(batchdata, dict) else None
        if isinstance(name, (list, tuple)) and name:
            name = name[0]
        return str(name) if name else f"scan {self.state.iteration}"

    def _fire_event(self, event_name: Any, *event_args: Any, **event_kwargs: Any) -> None:
        if event_name == Events.ITERATION_COMPLETED and self._skipped:
            return
        super()._fire_event(event_name, *event_args, **event_kwargs)

    def _start(self) -> None:
        self.failures.clear()
        self.completed.clear()
        self._skipped = False

    def _attach_report(self) -> None:
        report = getattr(self.inferer, "report", None)
        output = self.state.output
        if isinstance(output, list):
            output = output[0] if output else None
        if isinstance(report, dict) and isinstance(output, dict):
            output["report"] = report

    def _gather(self) -> None:
        if process_count() == 1:
            return
        found = gather_values([self.failures, self.completed])
        first = is_first_process()
        self.failures[:] = [(name, text) for failures, _ in found for name, text in failures] if first else []
        self.completed[:] = [name for _, completed in found for name in completed] if first else []

    def _log_summary(self) -> None:
        if not is_first_process():
            return
        total = len(self.completed) + len(self.failures)
        self.logger.info("%d of %d scans done", len(self.completed), total)
        for name, message in self.failures:
            self.logger.warning("no result for %s: %s", name, message)
