"""A walk through a list of Apple's that ends, whatever cursors come."""

from __future__ import annotations

from pyade.errors import ResponseError

MAX_EMPTY_PAGES = 1000
"""How many pages in a row may bring nothing new."""


class Cursors:
    """The cursors of one walk through a list.

    Args:
        operation: What is asked, for errors.
        cursor: The one that the walk begins with; None at the beginning of the list.
    """

    def __init__(self, operation: str, cursor: str | None = None) -> None:
        self._operation = operation
        # A hash each, since a hostile cursor may be as long as a page.
        self._seen = set() if cursor is None else {hash(cursor)}
        self._empty = 0

    def follow(self, cursor: str, *, brought_something: bool) -> str:
        """Return *cursor*, which the page that was just read promises more with.

        Args:
            cursor: Of the next page.
            brought_something: True if the page held anything new.

        Raises:
            ResponseError: The cursor was there before, or page after page is empty: the walk would not end.
        """
        self._empty = 0 if brought_something else self._empty + 1
        detail = ""
        if hash(cursor) in self._seen:
            detail = "Apple promised more with a cursor that was there before"
        elif self._empty >= MAX_EMPTY_PAGES:
            detail = f"Apple promised more on {self._empty} empty pages in a row"
        if detail:
            step = "keep what came and go on later; if it stays so, fetch the full list"
            raise ResponseError(self._operation, 200, "", detail, step)
        self._seen.add(hash(cursor))
        return cursor
