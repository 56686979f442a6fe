"""A table that fits the terminal: columns shrink, then the least important ones go."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["Column", "fit_table", "plain"]

_GAP = "  "
_NARROWEST = 18  # what a column that may shrink keeps at least


@dataclass(frozen=True)
class Column:
    """One column of a table.

    Args:
        title: its heading.
        cells: one text a row.
        keep: how important: when the table is too wide, the column with the smallest number goes first.
        shrinks: whether its texts may be cut.
        right: whether they stand on the right, as numbers do.
    """

    title: str
    cells: Sequence[str]
    keep: int = 5
    shrinks: bool = False
    right: bool = False

    @property
    def width(self) -> int:
        """Width of the widest text."""
        return max([len(self.title), *(len(cell) for cell in self.cells)])


def fit_table(columns: Sequence[Column], width: int | None = None) -> str:
    """The table as text, no line wider than ``width`` as far as the columns allow (None: as wide as it is)."""
    shown = [column for column in columns if any(column.cells)] or list(columns)
    widths = _widths(shown, width)
    while widths is None and len(shown) > 1:
        shown.remove(min(reversed(shown), key=lambda column: column.keep))
        widths = _widths(shown, width)
    if widths is None:
        widths = [min(column.width, width or column.width) for column in shown]
    lines = [[column.title for column in shown], ["-" * own for own in widths]]
    lines += [list(row) for row in zip(*(column.cells for column in shown), strict=True)]
    return "\n".join(_line(line, widths, shown) for line in lines)


def plain(text: str) -> str:
    """A text from a store without what a terminal would obey."""
    return "".join(char if char.isprintable() else "?" for char in text)


def _widths(columns: Sequence[Column], width: int | None) -> list[int] | None:
    """Widths that fit, the widest columns that may shrink made equally narrow; None when they cannot."""
    widths = [column.width for column in columns]
    if width is None:
        return widths
    least = [min(own, _NARROWEST) if column.shrinks else own for own, column in zip(widths, columns, strict=True)]
    too_much = sum(widths) + len(_GAP) * (len(widths) - 1) - width
    while too_much > 0:
        index = max(range(len(widths)), key=lambda place: widths[place] if widths[place] > least[place] else 0)
        if widths[index] <= least[index]:
            return None
        widths[index] -= 1
        too_much -= 1
    return widths


def _line(cells: Sequence[str], widths: Sequence[int], columns: Sequence[Column]) -> str:
    texts = []
    for cell, own, column in zip(cells, widths, columns, strict=True):
        cell = cell if len(cell) <= own else cell[: own - 1] + "…"
        texts.append(cell.rjust(own) if column.right else cell.ljust(own))
    return _GAP.join(texts).rstrip()
