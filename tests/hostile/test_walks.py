"""Iterators over lists whose cursors form circles, or lead nowhere or elsewhere: each ends, and soon.

The iterators are collected from the clients, so that a new one cannot be forgotten.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from typing import Any, TypeAlias

import anyio
import attrs
import pytest
from tests import cases
from tests.hostile import driver, wire
from tests.hostile.driver import MODES, PATIENT_S, Case
from tests.hostile.endpoints import ENDPOINTS, GOOD
from tests.hostile.kinds import Kind
from tests.hostile.server import TRAP, HostileServer, Piece, Request, good_answer

from pyade.apple import AsyncClient, Client
from pyade.business import AsyncBusinessClient, BusinessClient
from pyade.errors import PyadeError, ResponseError, TransportError

MOST_REQUESTS = 1500
ARGUMENTS: dict[str, tuple[Any, ...]] = {
    "apple.iter_devices": (),
    "apple.iter_changes": ("start",),
    "business.iter_devices": (),
    "business.iter_services": (),
    "business.iter_service_serials": ("S1",),
    "business.iter_builtin_devices": (),
}
BUSINESS = [name for name in ARGUMENTS if name.startswith("business.")]
APPLE = [name for name in ARGUMENTS if name.startswith("apple.")]

Page: TypeAlias = tuple[list[str], str | None]
"""The serial numbers or ids on a page, and the cursor of the next one; None on the last."""

PageSource: TypeAlias = Callable[[int], Page]
"""Returns the page for the request with that number, from 0."""


@attrs.frozen
class Collected:
    """The outcome of an iteration.

    Attributes:
        found: What was yielded before the end.
        error: The error that ended it; None at the end of the list.
        requests: The number of requests for a page.
        trapped: The number of requests to an address from a response.
    """

    found: list[str]
    error: BaseException | None
    requests: int
    trapped: int


def in_circles(length: int) -> PageSource:
    return lambda number: ([f"C{number}"], f"c{number % length}")


def back_to_the_start(number: int) -> Page:
    return [f"C{number}"], "start" if number == 2 else f"c{number}"


def empty_for_ever(number: int) -> Page:
    return [], f"c{number}"


def the_same_for_ever(number: int) -> Page:
    return ["C0"], f"c{number}"


def three_pages(number: int) -> Page:
    return [f"C{number}"], f"c{number}" if number < 2 else None


def body_of(request: Request, page: Page, **links: str) -> bytes:
    """Return *page* as the service that was asked sends it."""
    names, cursor = page
    if request.path.startswith("/v1/"):
        data = [{"type": "any", "id": name} for name in names]
        paging = {"limit": 1000} if links else {"limit": 1000, "nextCursor": cursor}
        return json.dumps({"data": data, "links": links, "meta": {"paging": paging}}).encode()
    devices = [{"serial_number": name} for name in names]
    return json.dumps(
        {"devices": devices, "cursor": cursor or "end", "more_to_follow": cursor is not None}
    ).encode()


Answer: TypeAlias = Callable[[Request, int], Iterable[Piece]]


def answering(source: PageSource) -> Answer:
    def answer(request: Request, number: int) -> Iterable[Piece]:
        return good_answer(attrs.evolve(request, good=body_of(request, source(number))))

    return answer


def collect(name: str, answer: Answer, mode: str = "", **options: Any) -> Collected:
    """Return the outcome of the iterator *name* of a client."""
    number = -1

    def counted(request: Request) -> Iterable[Piece]:
        nonlocal number
        number += 1
        # An endless iteration must fail, and not hang.
        return answer(request, number) if number < MOST_REQUESTS else (wire.answer(status=418),)

    kind = Kind(name=name, answer=counted, expected=lambda _: pytest.fail("checked by the test"))
    first = "apple.account" if name in APPLE else "business.list_devices"
    case = Case(kind=kind, endpoint=ENDPOINTS[first])
    mode = mode or MODES[zlib.crc32(repr((name, answer)).encode()) % len(MODES)]
    with HostileServer({kind.key: counted}, GOOD) as server:
        found, error = _iterate(case, server, mode, name.partition(".")[2], (*ARGUMENTS[name],), options)
        return Collected(found, error, number + 1, server.trapped)


def _iterate(
    case: Case,
    server: HostileServer,
    mode: str,
    method: str,
    arguments: tuple[Any, ...],
    options: dict[str, Any],
) -> tuple[list[str], BaseException | None]:
    found: list[str] = []

    def iterate() -> None:
        with driver.client(case, server.ports, PATIENT_S) as client:
            for item in getattr(client, method)(*arguments, **options):
                found.extend(_names(item))

    async def iterate_async() -> None:
        async with driver.async_client(case, server.ports, PATIENT_S) as client:
            items: AsyncIterator[Any] = getattr(client, method)(*arguments, **options)
            async for item in items:
                found.extend(_names(item))

    try:
        iterate() if mode == "sync" else anyio.run(iterate_async, backend=mode)
    except PyadeError as error:
        return found, error
    return found, None


def _names(item: Any) -> Iterator[str]:
    if hasattr(item, "devices"):
        yield from (device.serial_number for device in item.devices)
    else:
        yield item if isinstance(item, str) else getattr(item, "serial_number", "") or item.id


def test_every_iterator_is_tested() -> None:
    for kind, service in ((Client, "apple"), (BusinessClient, "business")):
        found = {f"{service}.{name}" for name in dir(kind) if name.startswith("iter_")}
        assert found == {name for name in ARGUMENTS if name.startswith(f"{service}.")}
    for one, other in ((Client, AsyncClient), (BusinessClient, AsyncBusinessClient)):
        assert [n for n in dir(one) if n.startswith("iter_")] == [
            n for n in dir(other) if n.startswith("iter_")
        ]


@cases.each("name", ARGUMENTS)
def test_valid_list_is_yielded(name: str) -> None:
    for mode in MODES:
        assert collect(name, answering(three_pages), mode) == Collected(["C0", "C1", "C2"], None, 3, 0)


@cases.each("name, length", [(name, length) for name in ARGUMENTS for length in (1, 2, 3, 7)])
def test_a_circle_of_cursors_ends(name: str, length: int) -> None:
    outcome = collect(name, answering(in_circles(length)))
    assert isinstance(outcome.error, ResponseError), outcome
    assert outcome.requests <= length + 2
    assert outcome.found == [f"C{number}" for number in range(outcome.requests)]


@cases.each("mode", MODES)
def test_a_circle_through_the_cursor_of_the_caller_ends(mode: str) -> None:
    outcome = collect("apple.iter_changes", answering(back_to_the_start), mode)
    assert isinstance(outcome.error, ResponseError), outcome
    assert outcome.requests == 3


@cases.each("name, mode", [("apple.iter_changes", "asyncio"), ("business.iter_devices", "sync")])
def test_empty_pages_end(name: str, mode: str) -> None:
    outcome = collect(name, answering(empty_for_ever), mode)
    assert isinstance(outcome.error, ResponseError), outcome
    assert outcome.requests <= 1001


@pytest.mark.slow
@cases.each("name", ARGUMENTS)
def test_empty_pages_end_everywhere(name: str) -> None:
    for mode in ("sync", "trio"):
        outcome = collect(name, answering(empty_for_ever), mode)
        assert isinstance(outcome.error, ResponseError), outcome
        assert outcome.requests <= 1001


@pytest.mark.slow
@cases.each("name", BUSINESS)
def test_pages_that_repeat_the_same_items_end(name: str) -> None:
    outcome = collect(name, answering(the_same_for_ever))
    assert isinstance(outcome.error, ResponseError), outcome
    assert outcome.requests <= 1002
    assert outcome.found == ["C0"]


@cases.each("name", ARGUMENTS)
def test_more_records_than_requested_are_refused(name: str) -> None:
    outcome = collect(name, answering(lambda _: (["C0", "C1", "C2"], None)), limit=2)
    assert isinstance(outcome.error, ResponseError), outcome
    assert outcome.found == []


SECOND_PAGES: dict[str, tuple[bytes, type[PyadeError]]] = {
    "a page": (wire.answer(b"<html>"), ResponseError),
    "nothing": (b"", TransportError),
    "a list that is none": (
        wire.answer(b'{"cursor":"c1","more_to_follow":true,"devices":{},"data":{}}'),
        ResponseError,
    ),
}


@cases.each("name, second", [(name, second) for name in ARGUMENTS for second in SECOND_PAGES])
def test_items_before_a_bad_page_are_yielded(name: str, second: str) -> None:
    bad, expected = SECOND_PAGES[second]

    def answer(request: Request, number: int) -> Iterable[Piece]:
        return answering(three_pages)(request, number) if number == 0 else (bad,)

    outcome = collect(name, answer)
    assert isinstance(outcome.error, expected), outcome
    assert outcome.found == ["C0"]


LINKS = {
    "a foreign host": f"http://localhost:1{TRAP}?cursor=c",
    "a host with a typing error": f"https://api-busines.apple.com{TRAP}?cursor=c",
    "another path of the same host": f"HOST{TRAP}?cursor=c",
    "a relative path": f"{TRAP}?cursor=c",
    "a path of a network": f"//127.0.0.1:1{TRAP}?cursor=c",
    "a script": "javascript:alert(1)?cursor=c",
    "a password": f"http://a:b@127.0.0.1:1{TRAP}?cursor=c",
    "no host": f"http://{TRAP}?cursor=c",
    "a broken address": "http://[::1?cursor=c",
    "a long address": f"http://127.0.0.1:1/{'a' * 100_000}?cursor=c",
    "control characters": f"http://127.0.0.1:1/\x1b[2J\n{TRAP}?cursor=c",
    "no cursor": f"http://127.0.0.1:1{TRAP}",
    "an empty cursor": f"http://127.0.0.1:1{TRAP}?cursor=",
    "two cursors": f"http://127.0.0.1:1{TRAP}?cursor=c&cursor=d",
    "the cursor that was sent": "/v1?cursor=c",
}


@cases.each("link", LINKS)
def test_address_of_the_next_page_is_never_requested(link: str) -> None:
    """Its cursor may be followed, on the original host."""
    name = BUSINESS[zlib.crc32(link.encode()) % len(BUSINESS)]

    def answer(request: Request, number: int) -> Iterable[Piece]:
        address = LINKS[link].replace("HOST", f"http://{request.headers['host']}")
        links = {"next": address} if number == 0 or link == "the cursor that was sent" else {"self": "/"}
        return good_answer(attrs.evolve(request, good=body_of(request, ([f"C{number}"], None), **links)))

    outcome = collect(name, answer)
    assert outcome.trapped == 0
    if link == "the cursor that was sent":
        assert isinstance(outcome.error, ResponseError), outcome
    else:
        assert outcome.error is None or isinstance(outcome.error, ResponseError), outcome
    assert outcome.requests <= 3
    assert str(outcome.error or "").isprintable()
