"""Masks that lie beside scans used without them: to watch what a training makes of the scans, never to train."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..utils import InputError

__all__ = ["find_hidden_masks"]


def find_hidden_masks(items: Sequence[Mapping[str, Any]], image_key: str = "image") -> list[dict[str, Any]]:
    """Entries with a ``label`` for those whose mask stands in ``labels/`` beside ``images/``, under the same name.

    A datalist gives unlabelled scans no ``label``, and nothing that trains looks for one. This does, for the handlers
    that compare predictions on unlabelled scans with the truth in experiments where it is known.

    Args:
        items: unlabelled entries of a datalist; they stay as they are.
        image_key: key of the scan's path.

    Returns:
        Copies with ``label``, in the order of ``items``; scans without such a mask are left out.

    Raises:
        InputError: there is none at all.
    """
    found = []
    for item in items:
        image = Path(item[image_key])
        parts = list(image.parts)
        if "images" not in parts[:-1]:
            continue
        place = len(parts) - 1 - parts[::-1].index("images")
        mask = Path(*parts[:place], "labels", *parts[place + 1 :])
        if mask.is_file():
            found.append({**item, "label": str(mask)})
    if not found:
        raise InputError(
            "no mask of an unlabelled scan to watch",
            got=f"{len(items)} unlabelled scans, and nothing in labels/ beside images/ under their names",
            fix="leave watch_hidden_masks off: the validation scans are watched in any case",
        )
    return found
