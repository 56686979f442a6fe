"""Compiled passes of networks, beside the plain ones and on the same weights."""

from __future__ import annotations

import locale
from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeVar

import torch

from .errors import InputError

__all__ = ["CompiledPasses"]

MODES = ("default", "reduce-overhead", "max-autotune")
CUDA_GRAPHS = ("reduce-overhead", "max-autotune")
"""The modes whose results lie in memory that a later pass writes over."""

Made = TypeVar("Made")


class CompiledPasses:
    """What to call in place of a network: its pass compiled by torch, or without a mode the network itself.

    ``passes(network)(image)`` for ``network(image)``. Only for passes that are differentiated at most once: torch
    refuses to differentiate a compiled pass twice, so R1 and path length call the network as it is.

    A network is not changed: what is compiled is kept here and shares its weights, so names in checkpoints, copies for
    moving averages and plain calls stay as they were. Each shape is compiled for itself, when it is first seen; batches
    of a training have few.

    Random numbers have to be drawn outside and handed in (a generator's noise), since a compiled pass draws other ones.

    Args:
        mode: None (nothing is compiled), ``"default"``, ``"reduce-overhead"`` (CUDA graphs on a GPU; on a CPU as
            ``"default"``) or ``"max-autotune"`` (the fastest of several kernels, and CUDA graphs).
        backend: torch's compiler; another than ``"inductor"``, which has no modes, is for tests.

    Raises:
        InputError: another mode.
    """

    def __init__(self, mode: str | None = None, backend: str | Callable[..., Any] = "inductor") -> None:
        if mode is not None and mode not in MODES:
            raise InputError(
                "option compile_mode", got=repr(mode), wanted=f"None (null) or one of {', '.join(MODES)}",
                fix="leave it out to compile nothing",
            )  # fmt: skip
        if mode is not None:
            _import_compiler()
        self.mode, self.backend = mode, backend
        self._made: dict[Callable[..., Any], Callable[..., Any]] = {}

    def __call__(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """A network, or a method of one, to what is called in its place."""
        if self.mode is None:
            return function
        if function not in self._made:
            mode = self.mode if self.backend == "inductor" else None
            # static shapes: kernels of one size are faster, and CUDA graphs are of one size anyway
            self._made[function] = torch.compile(function, backend=self.backend, mode=mode, dynamic=False)
        return self._made[function]

    def begin(self) -> None:
        """Say that nothing of the passes before is needed any more, except what was kept."""
        if self.mode in CUDA_GRAPHS:
            torch.compiler.cudagraph_mark_step_begin()

    def keep(self, made: Made) -> Made:
        """Results (a tensor or a tuple of them) that must outlive the next :meth:`begin`."""
        if self.mode not in CUDA_GRAPHS:
            return made
        return tuple(part.clone() for part in made) if isinstance(made, tuple) else made.clone()


def _import_compiler() -> None:
    """Import what torch would import at the first compiled pass.

    It reads templates with the encoding of the process's locale, which readers of DICOM (ITK's) may have set to ASCII
    by then; half an import cannot be repeated.
    """
    before = locale.setlocale(locale.LC_CTYPE)
    with suppress(locale.Error):  # there are systems without it, whose encoding is another one than ASCII
        locale.setlocale(locale.LC_CTYPE, "C.UTF-8")
    try:
        import torch._inductor.lowering  # noqa: F401
    finally:
        locale.setlocale(locale.LC_CTYPE, before)
