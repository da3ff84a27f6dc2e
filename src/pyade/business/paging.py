"""Read the lists of the API page by page.

The rules of this file:

1. Never follow the address of the next page. Take only its cursor, and send that with the same limit and
   fields, which Apple leaves out of the address. So an access token is never sent to an address from a
   response.
2. Log a warning if the next page is at another host: a proxy wrote the address, or there is a typing error.
3. Reading ends: ``Cursors`` of ``apple.http.calls`` raises if cursors repeat or bring nothing new.
4. A list is not a snapshot: a record that moved to a later page meanwhile is yielded once.
5. A record that cannot be read is left out and counted. So a record that is missing in a list proves nothing.

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
    """One page of a list.

    Attributes:
        items: The records, in Apple's order.
        next_cursor: The ``cursor`` of the next page, also usable later; None on the last page.
        total: Number of records in the whole list, if Apple reported it.
        next_origin: Scheme and host of the address that Apple gave for the next page, "" if it gave none.
        unreadable: Number of records that could not be read, or have no id, and were left out.
    """

    items: tuple[T, ...]
    next_cursor: str | None = None
    total: int | None = None
    next_origin: str = attrs.field(default="", repr=False)
    unreadable: int = 0


def read_page(content: bytes, read: Callable[[Any], T], limit: int | None = None) -> Page[T]:
    """Return the page in a response body, with each of its resources read by *read*.

    Args:
        content: The body.
        read: Returns the record of a resource object; raises ``msgspec.ValidationError`` if it cannot be
            read.
        limit: Requested number of records; a longer list is refused before any record is read.

    Raises:
        msgspec.ValidationError: The body is not a collection, or has more records than *limit*.
        msgspec.DecodeError: The body is not JSON.
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
            raise msgspec.ValidationError("the address of the next page is not a URL") from error
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
        unreadable=len(wire.data) - len(items),  # rule 5
    )


def origin_of(url: httpx.URL) -> str:
    """Return scheme and host of *url*, without the default port; "" if it names no host."""
    return f"{url.scheme}://{url.netloc.decode()}" if url.host else ""


class PageReader(Generic[T]):
    """Reads all pages of a list: the caller sends ``call`` and passes the page to ``take`` until it is None.

    Args:
        call: The call for the first page.
    """

    def __init__(self, call: Call[Page[T]]) -> None:
        self.call: Call[Page[T]] | None = call
        self._cursors = Cursors(call.operation, call.params.get("cursor"))
        self._seen: set[str] = set()

    def take(self, page: Page[T]) -> Iterator[T]:
        """Yield the new records of *page*, then set ``call`` for the next page.

        Raises:
            ResponseError: The cursors repeat or make no progress.
        """
        call, self.call = self.call, None
        known = len(self._seen)
        for item in page.items:
            key = item if isinstance(item, str) else getattr(item, "id", "")
            if key not in self._seen:  # rule 4
                self._seen.add(key)
                yield item
        if call is None or page.next_cursor is None:
            return
        cursor = self._cursors.follow(page.next_cursor, brought_something=len(self._seen) > known)  # rule 3
        self.call = attrs.evolve(call, params={**call.params, "cursor": cursor})  # rule 1


def warn_of_next_page(operation: str, page: Page[Any], origin: str) -> None:
    """Log a warning if the address of the next page is at a host other than the one that answered.

    Args:
        operation: Name of the call.
        page: The page that was read.
        origin: Scheme and host that answered, and that will be asked for the next page.
    """
    # Rule 2; a proxy may pass Apple's own address on.
    if page.next_origin and page.next_origin not in (origin, BUSINESS_URL, SCHOOL_URL):
        _log.warning(
            "%s: the response names %r for the next page; pyade asks %s instead, which answered",
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
