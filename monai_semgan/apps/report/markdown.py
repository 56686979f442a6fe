"""The part of Markdown that model cards use, as HTML; what is not understood stays text."""

from __future__ import annotations

import re
from collections.abc import Iterator

from .markup import Markup, join, table, tag

__all__ = ["markdown_to_html"]

_SPAN = re.compile(r"`(?P<code>[^`]+)`|\*\*(?P<bold>[^*]+)\*\*|<(?P<bare>https?://[^\s<>]+)>"
                   r"|!?\[(?P<text>[^\]]*)\]\((?P<link>[^)\s]+)\)")  # fmt: skip
_RULE = re.compile(r"\|?[\s:|-]+\|?")


def markdown_to_html(text: str, top: int = 3) -> Markup:
    """Headings, paragraphs, lists, tables, code, bold and links.

    Args:
        text: Markdown. HTML in it is shown, not obeyed; links to anywhere but http(s) become plain text.
        top: level of the first heading.
    """
    return join(_blocks(text.replace("\r\n", "\n").split("\n"), top))


def _blocks(lines: list[str], top: int) -> Iterator[Markup]:
    index = 0
    while index < len(lines):
        line = lines[index]
        end = index + 1
        if line.startswith("```"):
            while end < len(lines) and not lines[end].startswith("```"):
                end += 1
            yield tag("pre", tag("code", "\n".join(lines[index + 1 : end])))
            end += 1
        elif found := re.match(r"(#{1,6}) +(.*)", line):
            yield tag(f"h{min(len(found[1]) + top - 1, 6)}", _spans(found[2]))
        elif line.startswith("|") and end < len(lines) and _RULE.fullmatch(lines[end].strip()):
            while end < len(lines) and lines[end].startswith("|"):
                end += 1
            yield table(_cells(line), [_cells(row) for row in lines[index + 2 : end]])
        elif re.match(r"[-*] ", line):
            while end < len(lines) and (re.match(r"[-*] |\s+\S", lines[end])):
                end += 1
            items = re.split(r"^[-*] ", "\n".join(lines[index:end]), flags=re.MULTILINE)[1:]
            yield tag("ul", *(tag("li", _spans(" ".join(item.split()))) for item in items))
        elif line.strip():
            while end < len(lines) and lines[end].strip() and not re.match(r"#{1,6} |\||```|[-*] ", lines[end]):
                end += 1
            yield tag("p", _spans(" ".join(lines[index:end])))
        index = end


def _cells(line: str) -> list[Markup]:
    return [_spans(cell.strip()) for cell in line.strip().strip("|").split("|")]


def _spans(text: str) -> Markup:
    parts: list[str | Markup] = []
    last = 0
    for found in _SPAN.finditer(text):
        parts.append(text[last : found.start()])
        last = found.end()
        if found["code"]:
            parts.append(tag("code", found["code"]))
        elif found["bold"]:
            parts.append(tag("b", _spans(found["bold"])))
        elif found["bare"]:
            parts.append(tag("a", found["bare"], href=found["bare"]))
        else:
            web = re.match(r"https?://", found["link"])
            parts.append(tag("a", _spans(found["text"]), href=found["link"]) if web else _spans(found["text"]))
    return join([*parts, text[last:]])
