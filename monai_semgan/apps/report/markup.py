"""HTML that cannot be broken by a name: whatever is not markup already is escaped when it goes in."""

from __future__ import annotations

import html
import unicodedata
from collections.abc import Iterable, Sequence
from typing import Any

__all__ = ["Markup", "join", "table", "tag"]

_LONG_WORD = 24  # letters, above which a word in a cell may be broken
_SHORT_TABLE = 14  # rows that stay on one page
_EMPTY = ("br", "col", "hr", "img", "line", "meta", "path", "rect", "wbr")


class Markup(str):
    """Text that is HTML already. Only ``tag`` and ``join`` make it."""

    __slots__ = ()


def tag(element: str, /, *children: Any, **attributes: Any) -> Markup:
    """One element, e.g. ``tag("td", name, class_="wide")``.

    Args:
        element: its name; a literal, never a text from a store.
        children: ``Markup`` goes in as it is, anything else as escaped text; None is left out; lists and tuples are
            taken apart.
        attributes: values are escaped; None and False are left out, True stands alone. ``class_`` is ``class``, other
            underscores are hyphens.
    """
    words = [element]
    for name, value in attributes.items():
        if value is None or value is False:
            continue
        name = name.rstrip("_").replace("_", "-")
        words.append(name if value is True else f'{name}="{_escaped(value)}"')
    start = " ".join(words)
    # SVG's elements, other than those of HTML, have to be closed.
    return Markup(f"<{start}/>" if element in _EMPTY else f"<{start}>{join(children)}</{element}>")


def join(parts: Iterable[Any]) -> Markup:
    """Parts one after the other, escaped unless they are ``Markup``."""
    texts = []
    for part in parts:
        if isinstance(part, list | tuple):
            texts.append(join(part))
        elif part is not None:
            texts.append(part if isinstance(part, Markup) else _escaped(part))
    return Markup("".join(texts))


def table(
    head: Sequence[Any], rows: Iterable[Sequence[Any]], classes: Sequence[str] = (), caption: Any = None
) -> Markup:
    """A table that may be scrolled sideways where it is too wide.

    Args:
        head: the headings.
        rows: the cells; a row of ``Markup`` is taken as a finished ``tr``.
        classes: CSS class of each column: ``"number"`` stands on the right, ``"minor"`` is left out on a phone. A last
            column without any text is left out.
        caption: what the table is.
    """
    classes = [*classes, *[""] * (len(head) - len(classes))]
    rows = list(rows)
    if len(rows) and not any(isinstance(row, Markup) or row[-1] for row in rows):  # nobody has a remark
        head, rows = head[:-1], [row[:-1] for row in rows]

    def row(cells: Sequence[Any], element: str) -> Markup:
        made = []
        for cell, name in zip(cells, classes, strict=False):
            if not isinstance(cell, Markup) and any(len(word) > _LONG_WORD for word in str(cell).split()):
                name = f"{name} long".strip()
            made.append(tag(element, cell, class_=name or None))
        return tag("tr", *made)

    body = [line if isinstance(line, Markup) else row(line, "td") for line in rows]
    whole = tag(
        "table", tag("caption", caption) if caption else None, tag("thead", row(head, "th")), tag("tbody", *body)
    )
    return tag("div", whole, class_="scroll short" if len(body) <= _SHORT_TABLE else "scroll")


def _escaped(value: Any) -> str:
    # Beside < and &: control characters are not allowed in HTML, and marks that turn the direction of writing could
    # make a name read as something else.
    text = "".join(
        "\N{REPLACEMENT CHARACTER}"
        if (unicodedata.category(char) in ("Cc", "Cs") and char not in "\n\t")
        or unicodedata.bidirectional(char) in ("LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI")
        else char
        for char in str(value)
    )
    return html.escape(text, quote=True)
