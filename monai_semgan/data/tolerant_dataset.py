"""Dataset that hands out a note instead of raising when one item cannot be read."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from monai.data import Dataset

from ..utils.failures import describe_failure
from ..utils.processes import process_part

__all__ = ["TolerantDataset"]


class TolerantDataset(Dataset):
    """``monai.data.Dataset`` for runs in which one bad scan must not cost the others their result.

    An item that loads is the dictionary the transform returns, with its ``name``. One that does not is
    ``{"name": str, "failed": str}``, where ``failed`` is the text of the ``InputError`` or the type and text
    of any other exception. Use it with ``batch_size=1``: both kinds do not collate with each other.
    ``ScanEvaluator`` records such items and goes on. With several processes each has every n-th item.

    Args:
        data: dictionaries, with ``name`` where the scan has one; otherwise the name is ``"item 3"`` (counted
            from 1).
        transform: what to run on each, as for ``monai.data.Dataset``.

    Example:
        >>> def transform(item):
        ...     raise FileNotFoundError("a.nii.gz")
        >>> TolerantDataset([{"name": "a"}], transform)[0]
        {'name': 'a', 'failed': 'FileNotFoundError: a.nii.gz'}
    """

    def __init__(
        self, data: Sequence[Mapping[str, Any]], transform: Sequence[Callable] | Callable | None = None
    ) -> None:
        rank, count = process_part()
        super().__init__(data if count == 1 else data[rank::count], transform)
        self._numbers = range(len(data))[rank::count]

    def _transform(self, index: int) -> dict[str, Any]:
        item = self.data[index]
        name = str(item["name"]) if isinstance(item, Mapping) and "name" in item else f"item {self._numbers[index] + 1}"
        try:
            loaded = super()._transform(index)
        except Exception as error:  # one scan's trouble; KeyboardInterrupt and SystemExit still end the run
            return {"name": name, "failed": describe_failure(error)}
        if not isinstance(loaded, Mapping):
            kind = type(loaded).__name__
            return {
                "name": name,
                "failed": f"TypeError: the transform gave {kind}; wanted one dictionary a scan",
            }
        return {**loaded, "name": name}
