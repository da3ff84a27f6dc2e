"""One call of one of Apple's services, as data.

A walk through a list of Apple's that ends, whatever cursors come.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import attrs

from pyade.errors import AppleError, ResponseError, ServerError, TransportError
from pyade.flow import Step
from pyade.loading import modules_when_asked

if TYPE_CHECKING:
    import msgspec
else:
    modules_when_asked(globals(), msgspec="msgspec")

T = TypeVar("T")

OPEN_SESSION = "open a session"
"""The operation of errors that came before the call itself was sent."""

ENVELOPE_BYTES = 1024**2
"""How long an answer may be, besides its records."""

RECORD_BYTES = 2048
"""How long a record of a list may be on average, besides; a page of 1,000 real devices has under 2 MiB."""


@attrs.frozen(kw_only=True)
class Call(Generic[T]):
    """A request to Apple and how its answer is read.

    Attributes:
        operation: What is asked, for errors and logs.
        method: HTTP method.
        path: From the base URL, with a leading slash.
        decode: Reads the body of a success.
        json: The body; not part of ``repr``, since it may hold an escrow key.
        params: The query; never holds a secret.
        repeatable: True if sending it twice does no more than sending it once, so that a lost answer may be
            followed by another try.
        fallback_method: The method to use where Apple refuses ``method`` with 405.
        paged: True if the client fills in ``limit`` and keeps it within Apple's maximum.
        max_records: How many records its answer may hold; decides how long the answer may be.
        by_code: Answers for codes of Apple that are a result here and not an error.
    """

    operation: str
    method: str
    path: str
    decode: Callable[[bytes], T] = attrs.field(eq=False, repr=False)
    json: Mapping[str, Any] | None = attrs.field(default=None, repr=False, hash=False)
    params: Mapping[str, str] = attrs.field(factory=dict, hash=False)
    repeatable: bool
    fallback_method: str | None = None
    paged: bool = False
    max_records: int = 0
    by_code: Mapping[str, T] = attrs.field(factory=dict, eq=False, repr=False)

    @property
    def content(self) -> bytes | None:
        """The body as it is sent; None for a request without one."""
        return None if self.json is None else msgspec.json.encode(self.json)

    @property
    def max_bytes(self) -> int:
        """How long its answer may be, on the wire and unpacked."""
        return ENVELOPE_BYTES + self.max_records * RECORD_BYTES


@attrs.frozen
class SendCall(Step[T], Generic[T]):
    """Send *call* to Apple with authentication and retries, and answer with what it decodes to."""

    call: Call[T]


def may_have_acted(error: AppleError | TransportError) -> bool:
    """Return True if Apple may have carried out the request that ended in *error*."""
    if isinstance(error, TransportError):
        return error.effect_unknown
    return isinstance(error, (ServerError, ResponseError)) and error.operation != OPEN_SESSION


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
