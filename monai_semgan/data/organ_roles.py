"""Which organs have masks and which only tags: strong and weak categories (Xiao et al. 2018, 1711.06828)."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from functools import cached_property

from ..utils import InputError

__all__ = ["OrganRoles"]


class OrganRoles:
    """Strong organs have masks; weak ones have nothing but the tag of a slice in which they are seen.

    Classes of the networks are numbered from 1 in the order of ``organs``, whatever an organ's role, so that networks
    of different roles can be compared class by class.

    Args:
        organs: name -> value in the mask files; organs of neither list are background.
        strong: names of the organs whose masks are learned from.
        weak: names of the organs of which tags alone are known. None: everything is learned from masks.

    Attributes:
        names: the organs of both lists, in the order of the classes 1, 2, ...

    Raises:
        InputError: an organ that is strong and weak, is named twice or is not known; no strong organ.
    """

    def __init__(self, organs: Mapping[str, int], strong: Sequence[str], weak: Sequence[str] = ()) -> None:
        self.organs = {str(name): int(value) for name, value in organs.items()}
        self.strong, self.weak = _names("strong", strong), _names("weak", weak)
        both = [name for name in self.strong if name in self.weak]
        if both:
            raise InputError(
                "organs that are strong and weak", got=", ".join(both), wanted="each organ in one of the two lists",
                fix="leave it in strong if its masks may be learned from, else in weak",
            )  # fmt: skip
        for role, names in (("strong", self.strong), ("weak", self.weak)):
            for name in names:
                _check_known(role, name, list(self.organs))
        if not self.strong:
            raise InputError(
                "option strong", got="no organ", wanted="one organ with masks or more, to transfer from",
                fix=f"name some of {', '.join(self.organs)}",
            )  # fmt: skip
        self.names = [name for name in self.organs if name in self.strong or name in self.weak]

    @cached_property
    def classes(self) -> dict[str, int]:
        """Name -> class of the networks."""
        return {name: index for index, name in enumerate(self.names, 1)}

    @property
    def num_classes(self) -> int:
        """Classes with background."""
        return len(self.names) + 1

    @property
    def strong_mapping(self) -> dict[int, int]:
        """Value in a file -> class, for strong organs alone: what training may take from a mask."""
        return {self.organs[name]: self.classes[name] for name in self.strong}

    @property
    def reference_mapping(self) -> dict[int, int]:
        """Value in a file -> class, for all organs: for judging only."""
        return {self.organs[name]: self.classes[name] for name in self.names}

    @property
    def labels(self) -> dict[str, int]:
        """Name -> value in a file, in the order of the classes."""
        return {name: self.organs[name] for name in self.names}

    @property
    def strong_classes(self) -> list[int]:
        """Classes of the strong organs."""
        return [self.classes[name] for name in self.names if name in self.strong]

    @property
    def weak_classes(self) -> list[int]:
        """Classes of the weak organs."""
        return [self.classes[name] for name in self.names if name in self.weak]


def _names(role: str, names: Sequence[str]) -> list[str]:
    if isinstance(names, str) or not all(isinstance(name, str) for name in names):
        raise InputError(f"option {role}", got=repr(names), wanted="a list of names, e.g. ['spleen', 'liver']")
    twice = sorted({name for name in names if list(names).count(name) > 1})
    if twice:
        raise InputError(f"option {role}", got=f"{', '.join(twice)} more than once", wanted="each organ once")
    return list(names)


def _check_known(role: str, name: str, known: list[str]) -> None:
    if name not in known:
        near = difflib.get_close_matches(name, known, n=1)
        raise InputError(
            f"option {role}: unknown organ", got=name, wanted=f"some of {', '.join(known)}",
            fix=f"did you mean {near[0]}?" if near else "add the organ and its value in the masks to organs",
        )  # fmt: skip
