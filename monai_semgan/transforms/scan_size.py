"""How large a scan may be: what a header promises is held against a limit before memory is taken."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence

from ..utils import InputError

__all__ = ["LIMIT_VARIABLE", "check_scan_size", "scan_limit_gib"]

LIMIT_VARIABLE = "MONAI_SEMGAN_MAX_SCAN_GIB"
_DEFAULT_GIB = 4.0  # 1024 x 1024 x 1024 voxels as float32
_BYTES = 4


def scan_limit_gib() -> float:
    """The largest scan in GiB as float32: the environment's ``MONAI_SEMGAN_MAX_SCAN_GIB``, by default 4.

    Raises:
        InputError: the variable is no number above 0.
    """
    text = os.environ.get(LIMIT_VARIABLE, "")
    try:
        limit = float(text) if text else _DEFAULT_GIB
        if not limit > 0:
            raise ValueError
    except ValueError as error:
        raise InputError(f"environment variable {LIMIT_VARIABLE}", got=repr(text), wanted="GiB, e.g. 4") from error
    return limit


def check_scan_size(shape: Sequence[int], what: str) -> None:
    """Refuse a scan that would not fit into the memory it may have.

    Args:
        shape: voxels along each axis, as the header says.
        what: how messages name the scan.

    Raises:
        InputError: it is larger than ``scan_limit_gib``, or an axis has no voxel.
    """
    if min(shape, default=0) < 1:
        raise InputError(f"{what}: no voxels", got=f"shape {tuple(shape)}", wanted="a 3-D volume")
    limit, size = scan_limit_gib(), math.prod(int(n) for n in shape) * _BYTES / 2**30
    if size > limit:
        raise InputError(
            f"{what}: too large", got=f"{' x '.join(str(n) for n in shape)} voxels, {size:.3g} GiB as float32",
            wanted=f"at most {limit:g} GiB",
            fix=f"see whether the file is damaged; set {LIMIT_VARIABLE} for larger scans",
        )  # fmt: skip
