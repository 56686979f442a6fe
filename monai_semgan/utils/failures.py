"""What to tell the user about an exception."""

from __future__ import annotations

from collections.abc import Iterator

from .errors import InputError

__all__ = ["describe_failure"]


def describe_failure(error: BaseException) -> str:
    """One line that says what went wrong.

    Transforms report errors wrapped ("applying transform ..."), so the cause is looked up: the text of an
    ``InputError`` anywhere in the chain, otherwise the type and text of the first cause.
    """
    chain = list(_causes(error))
    for link in chain:
        if isinstance(link, InputError):
            return str(link)
    root = chain[-1]
    text = " ".join(str(root).split())
    return f"{type(root).__name__}: {text}" if text else type(root).__name__


def _causes(error: BaseException) -> Iterator[BaseException]:
    seen: set[int] = set()
    link: BaseException | None = error
    while link is not None and id(link) not in seen:
        seen.add(id(link))
        yield link
        link = link.__cause__ or (None if link.__suppress_context__ else link.__context__)
