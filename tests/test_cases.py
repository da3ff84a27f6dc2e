"""`each` tries every case and names each that failed."""

from __future__ import annotations

import inspect

import pytest
from tests.cases import each


def test_every_case_is_tried_and_each_that_fails_is_named() -> None:
    tried: list[tuple[int, str]] = []

    @each(("number", "text"), [(1, "one"), (2, "two"), (3, "three"), (4, "four")])
    def check(number: int, text: str) -> None:
        tried.append((number, text))
        assert number != 2, "no two"
        if number == 3:
            pytest.fail("no three")
        if number == 4:
            raise KeyError(text)

    with pytest.raises(AssertionError) as caught:
        check()
    assert [number for number, _ in tried] == [1, 2, 3, 4]
    assert str(caught.value).splitlines()[0] == "3 of 4 cases failed"
    for words in ("[number=2, text='two']", "no two", "no three", "text='four']\nKeyError: 'four'"):
        assert words in str(caught.value)


def test_two_decorators_try_every_combination_and_keep_the_fixtures() -> None:
    tried: list[tuple[str, int, int]] = []

    @each("left, unused", [(1, 0), (2, 0)])
    @each("right", [3, 4])
    def check(fixture: str, left: int, unused: int, right: int) -> None:
        tried.append((fixture, left, right))

    assert list(inspect.signature(check).parameters) == ["fixture"]
    check(fixture="x")
    assert tried == [("x", 1, 3), ("x", 1, 4), ("x", 2, 3), ("x", 2, 4)]


def test_no_cases_and_an_unknown_argument_name_are_errors() -> None:
    with pytest.raises(AssertionError, match="no case"):
        each("number", [])
    with pytest.raises(AssertionError, match="does not take"):
        each("number", [1])(lambda text: None)
    with pytest.raises(ValueError, match="zip"):
        each("one, two", [(1,)])
