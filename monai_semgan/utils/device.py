"""Whether this machine has the device that was asked for."""

from __future__ import annotations

import torch

from .errors import InputError


def require_device(device: torch.device | str) -> torch.device:
    """Return ``device`` if this machine has it; a bundle asks before any work is done.

    Raises:
        InputError: no such device here.
    """
    try:
        wanted = torch.device(device)
        torch.empty(1, device=wanted)
    except (RuntimeError, AssertionError, TypeError, NotImplementedError) as error:
        here = ["cpu", *(f"cuda:{number}" for number in range(torch.cuda.device_count()))]
        if getattr(torch.backends, "mps", None) is not None and torch.backends.mps.is_available():
            here.append("mps")
        raise InputError(
            f"device {device} cannot be used here",
            got=" ".join(str(error).split(".")[0].split()),
            wanted=f"one of {', '.join(here)}",
            fix="give --device \"$torch.device('cpu')\", or install the driver and a PyTorch for this device",
        ) from error
    return wanted
