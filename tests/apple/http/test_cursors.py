"""An iteration over a list ends, whatever cursors arrive."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyade import errors
from pyade.apple.http.calls import MAX_EMPTY_PAGES, Cursors

if TYPE_CHECKING:
    from tests.apple.conftest import Driver, ScriptedApple

WALKS = pytest.mark.parametrize("walk", [("iter_devices",), ("iter_changes", "c0")])


@WALKS
@pytest.mark.parametrize("length", [1, 2, 3])
def test_repeated_cursors_end_an_iteration_with_an_error(
    client: Driver,
    apple: ScriptedApple,
    page: Callable[..., httpx.Response],
    walk: tuple[str, ...],
    length: int,
) -> None:
    apple.script = [page(f"A{n}", cursor=f"c{n % length}", more=True) for n in range(9)]
    with pytest.raises(errors.ResponseError, match="a cursor that was used before"):
        getattr(client, walk[0])(*walk[1:])
    assert len(apple.calls) <= length + 1


@WALKS
def test_endless_empty_pages_end_an_iteration_with_an_error(
    client: Driver, apple: ScriptedApple, page: Callable[..., httpx.Response], walk: tuple[str, ...]
) -> None:
    apple.script = [page(cursor=f"n{n}", more=True) for n in range(MAX_EMPTY_PAGES + 5)]
    with pytest.raises(errors.ResponseError, match="1000 empty pages in a row"):
        getattr(client, walk[0])(*walk[1:])
    assert len(apple.calls) == MAX_EMPTY_PAGES


@WALKS
def test_an_empty_page_among_others_ends_nothing(
    client: Driver, apple: ScriptedApple, page: Callable[..., httpx.Response], walk: tuple[str, ...]
) -> None:
    apple.script = [
        page("A1", cursor="n1", more=True),
        page(cursor="n2", more=True),
        page("A2", cursor="n2"),
    ]
    assert getattr(client, walk[0])(*walk[1:])
    assert len(apple.calls) == 3


@given(st.lists(st.tuples(st.text(max_size=2), st.booleans()), max_size=40))
def test_an_iteration_continues_exactly_as_long_as_each_cursor_is_new(pages: list[tuple[str, bool]]) -> None:
    cursors, seen = Cursors("list", "first"), {"first"}
    for cursor, brought_something in pages:
        if cursor in seen:
            with pytest.raises(errors.ResponseError):
                cursors.follow(cursor, brought_something=brought_something)
        else:
            assert cursors.follow(cursor, brought_something=brought_something) == cursor
            seen.add(cursor)


def test_cursors_as_long_as_a_page_are_not_kept() -> None:
    cursors = Cursors("list")
    for number in range(500):
        cursors.follow(f"{number}" + "x" * 100_000, brought_something=True)
    assert all(isinstance(kept, int) for kept in cursors._seen)
