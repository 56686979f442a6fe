"""The message shown to the user is that of the cause, in one line."""

from __future__ import annotations

from monai_semgan.utils import InputError
from monai_semgan.utils.failures import describe_failure


def raised(function):
    try:
        function()
    except Exception as error:
        return error
    raise AssertionError("nothing was raised")


def test_an_input_error_is_found_below_wrappers():
    def wrap():
        try:
            try:
                raise InputError("scan a", got=4, wanted=3)
            except ValueError as error:
                raise RuntimeError("applying transform X") from error
        except RuntimeError as error:
            raise RuntimeError("applying transform Y") from error

    assert describe_failure(raised(wrap)) == "scan a: got 4; wanted 3"


def test_an_input_error_made_of_another_error_wins_over_it():
    def wrap():
        try:
            raise OSError("disk")
        except OSError as error:
            raise InputError("scan a cannot be read") from error

    assert describe_failure(raised(wrap)) == "scan a cannot be read"


def test_others_give_type_and_text_in_one_line():
    assert describe_failure(ValueError("two\n lines")) == "ValueError: two lines"
    assert describe_failure(MemoryError()) == "MemoryError"
