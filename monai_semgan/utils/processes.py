"""Several processes that work on one thing: who is who, shared gradients, whole batches, one writer.

Everything here is the identity in a single process, so code that calls it needs no second path. Sums go through
``torch.distributed``, which ``start_processes`` sets up through ``ignite.distributed``; nothing is pickled.
"""

from __future__ import annotations

import atexit
import json
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import nn

from .errors import InputError

__all__ = [
    "average_gradients",
    "average_statistics",
    "copy_from_first",
    "first_process_first",
    "gather_batch",
    "gather_values",
    "is_first_process",
    "part_of_batch",
    "part_weight",
    "process_count",
    "process_device",
    "process_part",
    "process_rank",
    "require_started",
    "start_processes",
    "sum_over_processes",
    "wait_for_all",
]

_BUCKET_BYTES = 32 * 2**20


# ---- who is who ------------------------------------------------------------------------------------
def process_count() -> int:
    """Processes that work together; 1 without a process group."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def process_rank() -> int:
    """Number of this process, from 0."""
    return dist.get_rank() if dist.is_available() and dist.is_initialized() else 0


def is_first_process() -> bool:
    """Whether this process is the one that writes."""
    return process_rank() == 0


def process_part() -> tuple[int, int]:
    """``(rank, processes)``: of a list of work, this process takes ``items[rank::processes]``."""
    return process_rank(), process_count()


def part_of_batch(batch_size: int) -> slice:
    """The rows of a batch that this process has: every ``processes``-th, from its rank on.

    Every n-th and not a run of neighbours, so that the groups of the minibatch standard deviation, which are sample i,
    i + B/4 and so on, stay whole as long as each process has a multiple of four samples.

    Raises:
        InputError: the batch cannot be dealt out evenly.
    """
    rank, count = process_part()
    if batch_size % count:
        raise InputError(
            "batch size", got=f"{batch_size} for {count} processes", wanted=f"a multiple of {count}: it is shared out",
            fix=f"give a batch size of {(batch_size // count + 1) * count}, or start fewer processes",
        )  # fmt: skip
    return slice(rank, None, count)


def process_device() -> torch.device:
    """The GPU of this process (one each, by ``LOCAL_RANK``), or the CPU where there is none."""
    if not torch.cuda.is_available():
        return torch.device("cpu")
    return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))


def start_processes(device: torch.device | str, timeout_minutes: float = 60.0) -> None:
    """Join the processes that ``torchrun`` has started; alone, without it, nothing is done.

    Args:
        device: where this process computes: ``nccl`` is used between GPUs, ``gloo`` between CPUs.
        timeout_minutes: how long one may wait for another, e.g. for the data that the first process prepares; one
            that has died is noticed by ``torchrun`` at once.
    """
    if process_count() > 1 or int(os.environ.get("WORLD_SIZE", "1")) < 2:
        return
    from ignite import distributed as idist  # slow to import, and needed here alone

    device = torch.device(device)
    if device.type == "cuda":
        torch.cuda.set_device(device)
    idist.initialize("nccl" if device.type == "cuda" else "gloo", timeout=timedelta(minutes=timeout_minutes))
    atexit.register(idist.finalize)


def require_started() -> None:
    """Stop when ``torchrun`` has started several processes that do not know of each other.

    Raises:
        InputError: each would train on its own and write over the others' files.
    """
    count = int(os.environ.get("WORLD_SIZE", "1"))
    if count > 1 and process_count() == 1:
        raise InputError(
            f"{count} processes were started, but they do not work together", wanted="processes that share the work",
            fix="add the bundle's configs/multi_gpu_train.json to --config_file, or start without torchrun",
        )  # fmt: skip


# ---- order -----------------------------------------------------------------------------------------
def wait_for_all() -> None:
    """Go on when every process has come here."""
    if process_count() > 1:
        dist.barrier()


@contextmanager
def first_process_first() -> Iterator[None]:
    """Let the first process run the block alone, then the others: they find what it has made.

    When the first fails the others fail as well, at their next exchange.
    """
    if not is_first_process():
        wait_for_all()
    try:
        yield
    finally:
        if is_first_process():
            wait_for_all()


# ---- exchange --------------------------------------------------------------------------------------
def copy_from_first(modules: Iterable[nn.Module]) -> None:
    """Give all processes the first one's parameters and buffers."""
    if process_count() == 1:
        return
    with torch.no_grad():
        for module in modules:
            for tensor in (*module.parameters(), *module.buffers()):
                value = tensor.detach().contiguous()
                dist.broadcast(value, src=0)
                tensor.copy_(value)


def average_gradients(parameters: Sequence[nn.Parameter], numbers: torch.Tensor) -> torch.Tensor:
    """Replace every gradient by its mean over the processes; returns the mean of ``numbers`` as well.

    One flat sum a bucket after the backward pass, instead of ``DistributedDataParallel``: a phase may differentiate
    twice, call a network several times or only parts of it, and frozen players change with every phase; hooks on the
    backward pass would see each of these as an error. The price is that the sum does not overlap with the computation.

    A parameter that has no gradient in one process counts as 0 there; one that has none in any keeps none, so that
    its optimiser leaves it alone, as with one process.

    Args:
        parameters: the same list in every process.
        numbers: ``(N,)``, e.g. the terms of the loss.
    """
    count = process_count()
    if count == 1:
        return numbers
    present = numbers.new_tensor([p.grad is not None for p in parameters], dtype=torch.float32)
    small = torch.cat([numbers.detach().float().flatten(), present])
    dist.all_reduce(small)
    used = [p for p, n in zip(parameters, small[numbers.numel() :].tolist(), strict=True) if n > 0]
    for parameter in used:
        if parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
    for bucket in _buckets([p.grad for p in used]):
        flat = torch.cat([g.reshape(-1) for g in bucket])
        dist.all_reduce(flat)
        flat /= count
        for gradient, mean in zip(bucket, flat.split([g.numel() for g in bucket]), strict=True):
            gradient.copy_(mean.view(gradient.shape))
    return small[: numbers.numel()] / count


def _buckets(gradients: Sequence[torch.Tensor]) -> Iterator[list[torch.Tensor]]:
    """Runs of gradients of one type, of limited size: sums of many small tensors cost their latency each."""
    bucket: list[torch.Tensor] = []
    size = 0
    for gradient in gradients:
        amount = gradient.numel() * gradient.element_size()
        if bucket and (bucket[0].dtype != gradient.dtype or size + amount > _BUCKET_BYTES):
            yield bucket
            bucket, size = [], 0
        bucket.append(gradient)
        size += amount
    if bucket:
        yield bucket


def sum_over_processes(tensors: Iterable[torch.Tensor]) -> None:
    """Replace each tensor by its sum over the processes, in place; outside of any graph."""
    if process_count() > 1:
        for tensor in tensors:
            dist.all_reduce(tensor)


def part_weight(amount: torch.Tensor) -> torch.Tensor:
    """Factor for a mean over elements that are not equally many in each process, such as pixels with a label.

    ``amount`` times processes over the sum of all amounts, 1 in a single process. The mean over the processes of each
    one's own mean times this is the mean over all elements, and so are its gradients.

    Args:
        amount: number of own elements, a scalar.
    """
    if process_count() == 1:
        return torch.ones_like(amount, dtype=torch.float32)
    whole = amount.detach().float().clone()
    sum_over_processes([whole])
    return amount * process_count() / whole.clamp(min=1.0)


def average_statistics(modules: Iterable[nn.Module]) -> None:
    """Replace running statistics (batch normalisation) by their means over the processes.

    A batch is normalised by the statistics of each process's own part, as in ``DistributedDataParallel``.
    """
    if process_count() == 1:
        return
    named = [item for module in modules for item in module.named_buffers()]
    found = [b for name, b in named if name.rsplit(".", 1)[-1] in ("running_mean", "running_var") and b is not None]
    for bucket in _buckets(found):
        flat = torch.cat([b.reshape(-1) for b in bucket])
        dist.all_reduce(flat)
        flat /= process_count()
        for buffer, mean in zip(bucket, flat.split([b.numel() for b in bucket]), strict=True):
            buffer.copy_(mean.view(buffer.shape))


def gather_batch(part: torch.Tensor) -> torch.Tensor:
    """The whole batch ``(B, ...)`` of parts ``(B / processes, ...)``, in the order that one process would have it in.

    For what is not a mean over samples (Dice of a batch, distances of distributions, running statistics): computed on
    the whole batch in every process, then :func:`average_gradients` gives the gradient of the one-process loss. Row i
    of the batch is row ``i // processes`` of process ``i % processes``, as the loaders deal them out.

    Differentiable once with respect to ``part``.
    """
    if process_count() == 1:
        return part
    if part.dtype == torch.bool:
        return gather_batch(part.to(torch.uint8)).bool()
    return _GatherBatch.apply(part)


class _GatherBatch(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, part: torch.Tensor) -> torch.Tensor:
        part = part.contiguous()
        parts = [torch.empty_like(part) for _ in range(process_count())]
        dist.all_gather(parts, part)
        return torch.stack(parts, dim=1).flatten(0, 1)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: torch.Tensor) -> torch.Tensor:
        # every process has the whole loss: times their number, so that the later mean is the sum over the parts
        rank, count = process_part()
        return gradient[rank::count] * count


def gather_values(value: Any) -> list[Any]:
    """Plain values (what JSON holds) of all processes, by rank."""
    if process_count() == 1:
        return [value]
    device = torch.device("cuda", torch.cuda.current_device()) if dist.get_backend() == "nccl" else "cpu"
    text = torch.frombuffer(bytearray(json.dumps(value).encode()), dtype=torch.uint8).to(device)
    lengths = [torch.zeros(1, dtype=torch.long, device=device) for _ in range(process_count())]
    dist.all_gather(lengths, torch.tensor([len(text)], device=device))
    longest = max(int(n) for n in lengths)
    padded = torch.zeros(longest, dtype=torch.uint8, device=device)
    padded[: len(text)] = text
    texts = [torch.empty_like(padded) for _ in lengths]
    dist.all_gather(texts, padded)
    return [json.loads(bytes(t[: int(n)].tolist())) for t, n in zip(texts, lengths, strict=True)]
