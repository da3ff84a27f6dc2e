"""Lists of the API, a page at a time.

Rules of this file:

1. The address of the next page is not followed: only its cursor is taken, and sent with the same limit and
   fields, which Apple leaves out of it. So no address of an answer is ever asked with an access token.
2. An address at a foreign host is worth a warning: it was written by a proxy, or with a typing error.
3. A walk ends: ``apple.http.paging`` knows when its cursors lead nowhere.
4. A list is no snapshot: what moved to a later page meanwhile is handed out once.
5. A record that cannot be read is left out and counted. So a list that lacks a record proves nothing.

Source: Apple, Apple Business API, ``PagedDocumentLinks`` and ``PagingInformation``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Generic, TypeVar

import attrs
import httpx
import msgspec

from pyade.apple.http.calls import Call, Cursors
from pyade.apple.http.json_bodies import check_length, decode_json, read_record, read_records, read_value
from pyade.business.account import BUSINESS_URL, SCHOOL_URL
from pyade.text import logger

T = TypeVar("T")

_log = logger(__name__)


@attrs.frozen(kw_only=True)
class Page(Generic[T]):
    """A part of a list.

    Attributes:
        items: In Apple's order.
        next_cursor: Asks for the next page, also later; None on the last one.
        total: How many there are in all, if Apple said so.
        next_origin: Scheme and host of the address that Apple gave for the next page, "" if it gave none.
        unreadable: Number of records that could not be read, or have no id, and were left out.
    """

    items: tuple[T, ...]
    next_cursor: str | None = None
    total: int | None = None
    next_origin: str = attrs.field(default="", repr=False)
    unreadable: int = 0


def read_page(content: bytes, read: Callable[[Any], T], limit: int | None = None) -> Page[T]:
    """Return the page of a body, with each of its resources read by *read*.

    Args:
        content: The body.
        read: Returns what a resource object says; raises ``msgspec.ValidationError`` if it cannot be read.
        limit: Records that were asked for; a longer list is refused before any of it is read.

    Raises:
        msgspec.ValidationError: It is no collection, or longer than *limit*.
        msgspec.DecodeError: It is no JSON.
    """
    wire = decode_json(content, _WireCollection)
    check_length(wire.data, limit)
    items = read_records(wire.data, lambda raw: read(read_record(raw)), "record")
    address = wire.links.next if wire.links else None
    cursor, origin = None, ""
    if address:
        try:
            url = httpx.URL(address)
        except httpx.InvalidURL as error:
            raise msgspec.ValidationError("the address of the next page is none") from error
        origin = origin_of(url)
        cursor = url.params.get("cursor")
        if cursor is None:
            raise msgspec.ValidationError("the address of the next page has no cursor")
    paging = wire.meta.paging if wire.meta else None
    return Page(
        items=tuple(items),
        next_cursor=(paging.nextCursor if paging else None) or cursor,
        total=read_value(paging.total, int) if paging else None,
        next_origin=origin,
        unreadable=len(wire.data) - len(items),
    )


def origin_of(url: httpx.URL) -> str:
    """Return scheme and host of *url*, without a port that is the usual one; "" if it names no host."""
    return f"{url.scheme}://{url.netloc.decode()}" if url.host else ""


class Walk(Generic[T]):
    """The way through all pages of a list; whoever walks sends ``call`` until it is None.

    Args:
        call: For the first page.
    """

    def __init__(self, call: Call[Page[T]]) -> None:
        self.call: Call[Page[T]] | None = call
        self._cursors = Cursors(call.operation, call.params.get("cursor"))
        self._seen: set[str] = set()

    def take(self, page: Page[T]) -> Iterator[T]:
        """Yield what is new on *page*, then be ready for the next one.

        Raises:
            ResponseError: The cursors lead nowhere.
        """
        call, self.call = self.call, None
        known = len(self._seen)
        for item in page.items:
            key = item if isinstance(item, str) else getattr(item, "id", "")
            if key not in self._seen:
                self._seen.add(key)
                yield item
        if call is None or page.next_cursor is None:
            return
        cursor = self._cursors.follow(page.next_cursor, brought_something=len(self._seen) > known)
        self.call = attrs.evolve(call, params={**call.params, "cursor": cursor})


def warn_of_next_page(operation: str, page: Page[Any], origin: str) -> None:
    """Warn of a page whose next one is said to be at a host that was not asked.

    Args:
        operation: What was asked.
        page: The answer.
        origin: Scheme and host that were asked, and will be asked for the next page.
    """
    # A proxy may pass Apple's own address on.
    if page.next_origin and page.next_origin not in (origin, BUSINESS_URL, SCHOOL_URL):
        _log.warning(
            "%s: the next page is said to be at %r; it is asked for at %s, which answered",
            operation,
            page.next_origin[:200],
            origin,
        )


class _WireLinks(msgspec.Struct):
    next: str | None = None


class _WirePaging(msgspec.Struct):
    nextCursor: str | None = None  # noqa: N815 - Apple's name
    total: msgspec.Raw = msgspec.Raw()


class _WireMeta(msgspec.Struct):
    paging: _WirePaging | None = None


class _WireCollection(msgspec.Struct):
    data: list[msgspec.Raw]
    links: _WireLinks | None = None
    meta: _WireMeta | None = None
