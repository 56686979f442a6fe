"""How to name a result file after a scan."""

from __future__ import annotations

import re

__all__ = ["safe_name"]

_LONGEST_NAME = 120  # leaves room for endings such as _seg.nii.gz below the 255 bytes of common file systems


def safe_name(name: str, default: str = "scan") -> str:
    """Turn any name into one plain file name part, which cannot leave the folder it is put in.

    Letters, digits, ``_``, ``-``, ``.`` and spaces stay; path separators and the rest become ``_``; leading
    dots go.
    """
    plain = re.sub(r"[^\w.\- ]+", "_", str(name)).strip(" .")
    while len(plain.encode("utf-8")) > _LONGEST_NAME:
        plain = plain[:-1]
    return plain or default
