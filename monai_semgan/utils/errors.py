"""The one error type for everything that a user can mend without reading the source."""

from __future__ import annotations

from typing import Any

__all__ = ["InputError"]


class InputError(ValueError):
    """A problem in the user's files, options or folders, told so that the user can mend it.

    Args:
        what: what is wrong and where, with the file or option named, e.g. ``"scan a.nii.gz: wrong
            dimension"``.
        got: what was found.
        wanted: what would have been right.
        fix: what the user should do next.

    The text reads ``"what: got X; wanted Y. What to do: Z"``; parts that are not given are left out. After a ``what``
    of several lines (a list of files) what to do stands on a line of its own.
    """

    def __init__(self, what: str, got: Any = None, wanted: Any = None, fix: str | None = None) -> None:
        self.what, self.got, self.wanted, self.fix = what, got, wanted, fix
        details = []
        if got is not None:
            details.append(f"got {got}")
        if wanted is not None:
            details.append(f"wanted {wanted}")
        text = what + (": " + "; ".join(details) if details else "")
        if fix:
            # after a list of several lines it would be lost at the end of the last one
            text = (text.rstrip("\n") + "\n" if "\n" in text else text.rstrip(".") + ". ") + f"What to do: {fix}"
        super().__init__(text)

    def __reduce__(self) -> tuple:
        # ValueError would be rebuilt from the finished text alone, and lose the parts, when it crosses a
        # process boundary (data loader workers).
        return type(self), (self.what, self.got, self.wanted, self.fix)
