"""The error type for users."""

from __future__ import annotations

import pickle

from monai_semgan.utils import InputError


def test_text_has_all_parts_in_order() -> None:
    error = InputError("scan a.nii.gz: wrong dimension", got="4-D", wanted="3-D", fix="split it")
    assert str(error) == "scan a.nii.gz: wrong dimension: got 4-D; wanted 3-D. What to do: split it"
    assert isinstance(error, ValueError)


def test_parts_may_be_left_out() -> None:
    assert str(InputError("nothing there")) == "nothing there"
    assert str(InputError("odd", fix="look.")) == "odd. What to do: look."
    assert str(InputError("number", got=0)) == "number: got 0"


def test_survives_a_process_boundary() -> None:
    error = pickle.loads(pickle.dumps(InputError("a", got=1, wanted=2, fix="b")))
    assert (error.what, error.got, error.wanted, error.fix) == ("a", 1, 2, "b")
    assert str(error) == str(InputError("a", got=1, wanted=2, fix="b"))


def test_after_a_list_the_advice_has_its_own_line() -> None:
    error = InputError("2 scans:\n  a: odd\n  b: odd", fix="look")
    assert str(error).splitlines()[-2:] == ["  b: odd", "What to do: look"]
