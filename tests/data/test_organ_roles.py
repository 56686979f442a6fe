"""Strong and weak organs: numbering, mappings, and what is refused."""

from __future__ import annotations

import pytest

from monai_semgan.data import OrganRoles
from monai_semgan.utils import InputError

ORGANS = {"liver": 1, "right_kidney": 2, "left_kidney": 3, "spleen": 4, "stomach": 7}


def test_classes_do_not_depend_on_roles() -> None:
    roles = OrganRoles(ORGANS, ["spleen", "right_kidney"], ["liver"])
    assert roles.classes == {"liver": 1, "right_kidney": 2, "spleen": 3}
    assert OrganRoles(ORGANS, ["liver", "right_kidney", "spleen"]).classes == roles.classes
    assert roles.names == ["liver", "right_kidney", "spleen"]
    assert roles.num_classes == 4
    assert (roles.strong_classes, roles.weak_classes) == ([2, 3], [1])


def test_masks_for_training_hold_no_weak_organ() -> None:
    roles = OrganRoles(ORGANS, ["spleen"], ["liver", "stomach"])
    assert roles.strong_mapping == {4: 2}
    assert roles.reference_mapping == {1: 1, 4: 2, 7: 3}
    assert list(roles.labels.items()) == [("liver", 1), ("spleen", 4), ("stomach", 7)]


@pytest.mark.parametrize(
    ("strong", "weak", "message"),
    [
        (["liver", "spleen"], ["liver"], "strong and weak: got liver"),
        (["livr"], [], "unknown organ: got livr; .*did you mean liver"),
        (["spleen"], ["pancreas"], "option weak: unknown organ: got pancreas; wanted some of liver"),
        ([], ["liver"], "option strong: got no organ"),
        (["spleen", "spleen"], ["liver"], "got spleen more than once"),
        ("spleen", ["liver"], "wanted a list of names"),
        ([1], ["liver"], "wanted a list of names"),
    ],
)
def test_what_is_refused(strong: list, weak: list, message: str) -> None:
    with pytest.raises(InputError, match=message):
        OrganRoles(ORGANS, strong, weak)
