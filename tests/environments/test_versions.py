"""Version numbers: what is one, which comes next."""

import pytest
from django.core.exceptions import ValidationError

from environments import versions


@pytest.mark.parametrize(("text", "number"), [("1", "1"), (" 4.2 ", "4.2"), ("0.999.1", "0.999.1"), ("1.02", "1.2")])
def test_one_to_three_numbers_of_up_to_three_digits_are_a_version(text, number):
    assert versions.clean(text) == number


@pytest.mark.parametrize("text", ["", "1.", ".1", "1.2.3.4", "1000", "1.2b", "1,2", "-1", "1..2", "\uff11.2", "1.2\n3"])
def test_anything_else_is_none(text):
    with pytest.raises(ValidationError):
        versions.clean(text)


@pytest.mark.parametrize(
    ("current", "used", "suggestion"),
    [
        ("", [], "0.1"),
        ("0.1", ["0.1"], "0.2"),
        ("0.999", [], "1.0"),
        ("1.2.999", [], "1.3.0"),
        ("0.3", ["0.3", "0.4", "0.5"], "0.3.1"),
        ("0.3.1", ["0.3.2", "0.3.3"], "0.3.4"),
        ("0.3", ["0.4.0", "0.3.1"], "0.3.2"),
        ("999.999.999", [], ""),
        ("label", [], ""),
        ("", ["0.1", "0.2"], "0.3"),
    ],
)
def test_the_suggestion_is_the_next_free_number(current, used, suggestion):
    assert versions.suggest(current, used) == suggestion


def test_numbers_are_compared_as_numbers():
    assert versions.order("1.10") > versions.order("1.9.9")
    assert versions.order("1.2") == versions.order("1.2.0")
    assert versions.order("") < versions.order("0")
