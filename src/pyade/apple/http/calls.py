"""One call of one of Apple's services as data, and the cursors of a paged list, which always ends."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import attrs

from pyade.errors import AppleError, ResponseError, ServerError, TransportError
from pyade.flow import Step
from pyade.loading import lazy_modules

if TYPE_CHECKING:
    import msgspec
else:
    lazy_modules(globals(), msgspec="msgspec")

T = TypeVar("T")

OPEN_SESSION = "open a session"
"""The ``operation`` of errors that happened before the call itself was sent."""

ENVELOPE_BYTES = 1024**2
"""Most bytes of a response without its records."""

RECORD_BYTES = 2048
"""Most bytes of a record of a list, on average; a page of 1,000 real devices has under 2 MiB."""


@attrs.frozen(kw_only=True)
class Call(Generic[T]):
    """A request to Apple and how its response is decoded.

    Attributes:
        operation: Name of the call, for errors and logs.
        method: HTTP method.
        path: From the base URL, with a leading slash.
        decode: Decodes the body of a success.
        json: The body; not part of ``repr``, since it may hold an escrow key.
        params: The query; never holds a secret.
        repeatable: True if the call is idempotent, so that it may be tried again after a lost response.
        fallback_method: The method to use if Apple refuses ``method`` with 405.
        paged: True if the client fills in ``limit`` and keeps it within Apple's maximum.
        max_records: How many records the response may hold; sets ``max_bytes``.
        by_code: Results for error codes of Apple that are no error for this call.
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
        """The encoded body; None for a request without one."""
        return None if self.json is None else msgspec.json.encode(self.json)

    @property
    def max_bytes(self) -> int:
        """Most bytes of the response, both on the wire and decompressed."""
        return ENVELOPE_BYTES + self.max_records * RECORD_BYTES


@attrs.frozen
class SendCall(Step[T], Generic[T]):
    """Send *call* to Apple with authentication and retries; the result is the decoded response."""

    call: Call[T]


def may_have_acted(error: AppleError | TransportError) -> bool:
    """Return True if Apple may have carried out the request that ended in *error*."""
    if isinstance(error, TransportError):
        return error.effect_unknown
    return isinstance(error, (ServerError, ResponseError)) and error.operation != OPEN_SESSION


MAX_EMPTY_PAGES = 1000
"""How many pages in a row may be empty."""


class Cursors:
    """Checks the cursors of one iteration over a list, so that it ends.

    Args:
        operation: Name of the call, for errors.
        cursor: The cursor to start from; None for the beginning of the list.
    """

    def __init__(self, operation: str, cursor: str | None = None) -> None:
        self._operation = operation
        # Hashes only, since a hostile cursor may be as long as a page.
        self._seen = set() if cursor is None else {hash(cursor)}
        self._empty = 0

    def follow(self, cursor: str, *, brought_something: bool) -> str:
        """Return *cursor*, with which the page just read announced another page.

        Args:
            cursor: Of the next page.
            brought_something: True if the page just read was not empty.

        Raises:
            ResponseError: The cursor was used before, or too many pages in a row were empty: the iteration
                would not end.
        """
        self._empty = 0 if brought_something else self._empty + 1
        detail = ""
        if hash(cursor) in self._seen:
            detail = "Apple announced another page with a cursor that was used before"
        elif self._empty >= MAX_EMPTY_PAGES:
            detail = f"Apple announced another page on each of {self._empty} empty pages in a row"
        if detail:
            step = "keep the pages so far and continue later; if it happens again, fetch the full list"
            raise ResponseError(self._operation, 200, "", detail, step)
        self._seen.add(hash(cursor))
        return cursor
