"""Lists: read lazily, without losing a cursor, and never from another host."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import httpx
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.business.conftest import answering

from pyade import errors
from pyade.apple.http.calls import Call
from pyade.business import ApiAccount, BusinessClient
from pyade.business.paging import Page, PageReader, read_page
from pyade.business.resources import read_identifier
from pyade.testing import FakeApple, FakeBusiness, Fault, FrozenClock

if TYPE_CHECKING:
    from tests.apple.conftest import Driver

LIST = "GET /v1/orgDevices"


def collection(*ids: str, **more: Any) -> httpx.Response:
    data = [{"type": "orgDevices", "id": one} for one in ids]
    return httpx.Response(200, json={"data": data, **more})


def test_every_page_is_asked_with_its_cursor_and_the_same_limit(
    client: Driver, apple: FakeApple, business: FakeBusiness
) -> None:
    serials = apple.add_devices(7)
    assert [device.id for device in client.iter_devices(limit=3)] == list(serials)
    asked = [record.query for record in business.requests if record.endpoint == LIST]
    assert asked == [
        {"limit": "3"},
        {"limit": "3", "cursor": "c3"},
        {"limit": "3", "cursor": "c6"},
    ]


def test_pages_are_fetched_when_they_are_needed(
    account: ApiAccount, apple: FakeApple, business: FakeBusiness, clock: FrozenClock
) -> None:
    apple.add_devices(4)
    with BusinessClient(account, transport=business.transport(), clock=clock) as client:
        walk = client.iter_devices(limit=2)
        assert not business.requests
        next(walk)
        next(walk)
        assert business.counts[LIST] == 1
        next(walk)
        assert business.counts[LIST] == 2


@pytest.mark.parametrize("limit", [0, -1, 1001])
def test_a_limit_that_apple_refuses_is_not_sent(client: Driver, business: FakeBusiness, limit: int) -> None:
    with pytest.raises(errors.InvalidRequestError, match="1 to 1000"):
        client.list_devices(limit=limit)
    assert not business.requests


def test_a_stored_cursor_goes_on(client: Driver, apple: FakeApple) -> None:
    serials = apple.add_devices(5)
    first = client.list_devices(limit=2)
    rest = client.list_devices(first.next_cursor)
    assert [device.id for device in (*first.items, *rest.items)] == list(serials)
    assert rest.next_cursor is None


@pytest.mark.parametrize("origin", ["https://evil.example", "http://api-business.apple.com", "ftp://x:1"])
def test_a_next_page_at_a_foreign_host_is_asked_for_at_our_own_with_a_warning(
    client: Driver, apple: FakeApple, business: FakeBusiness, origin: str, caplog: pytest.LogCaptureFixture
) -> None:
    serials = apple.add_devices(3)
    business.settings.next_link_origin = origin
    assert [device.id for device in client.iter_devices(limit=2)] == list(serials)
    assert f"the response names '{origin}" in caplog.text
    assert {record.headers["host"] for record in business.requests} == {
        "account.apple.com",
        "api-business.apple.com",
    }


def test_a_proxy_may_pass_apples_own_address_on(
    make_client: Callable[..., Driver], apple: FakeApple, business: FakeBusiness
) -> None:
    apple.add_devices(3)
    business.settings.next_link_origin = "https://api-business.apple.com"
    client = make_client(base_url="http://proxy.contoso.example:8080")
    assert len(client.iter_devices(limit=2)) == 3
    assert business.requests[-1].headers["host"] == "proxy.contoso.example:8080"


def test_the_usual_port_does_not_make_a_host_foreign(
    client: Driver, apple: FakeApple, business: FakeBusiness
) -> None:
    apple.add_devices(3)
    business.settings.next_link_origin = "https://API-business.apple.com:443"
    assert len(client.iter_devices(limit=2)) == 3


def test_a_proxy_with_a_path_keeps_it(make_client: Callable[..., Driver]) -> None:
    seen: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        if "auth" in request.url.path:
            return httpx.Response(200, json={"access_token": "a", "expires_in": 60})
        seen.append(str(request.url))
        return collection("C1")

    client = make_client(base_url="https://proxy/apple/", transport=httpx.MockTransport(answer))
    client.iter_devices(fields=["status"])
    assert seen == ["https://proxy/apple/v1/orgDevices?limit=1000&fields%5BorgDevices%5D=status"]


def test_the_cursor_is_taken_from_the_address_where_the_paging_lacks_it(
    make_client: Callable[..., Driver],
) -> None:
    link = {"next": "https://api-business.apple.com/v1/orgDevices?cursor=a%2Bb"}
    pages = (
        collection("C1", links=link),
        collection("C2", links={"next": None}, meta={"paging": {"limit": 1}}),
    )
    client = make_client(transport=answering(*pages))
    assert [device.id for device in client.iter_devices()] == ["C1", "C2"]
    assert read_page(pages[0].content, read_identifier).next_cursor == "a+b"


def test_a_repeated_cursor_ends_the_walk_with_an_error(make_client: Callable[..., Driver]) -> None:
    pages = [collection(f"C{n}", meta={"paging": {"limit": 1, "nextCursor": "same"}}) for n in range(3)]
    client = make_client(transport=answering(*pages))
    with pytest.raises(errors.ResponseError, match="a cursor that was used before"):
        client.iter_devices()


def test_cursors_in_a_circle_end_the_walk_with_an_error(make_client: Callable[..., Driver]) -> None:
    def circle() -> list[httpx.Response]:
        return [
            collection(f"C{n}", meta={"paging": {"limit": 1, "nextCursor": f"c{n % 3}"}}) for n in range(9)
        ]

    for method, *args in (["iter_devices"], ["iter_services"], ["iter_service_serials", "1"]):
        client = make_client(transport=answering(*circle()))
        with pytest.raises(errors.ResponseError, match="a cursor that was used before"):
            getattr(client, method)(*args)


def test_a_walk_over_pages_that_bring_nothing_new_ends(make_client: Callable[..., Driver]) -> None:
    """Neither empty pages nor pages of known devices go on for ever under new cursors."""
    for names in ([], ["C1"]):
        pages = [
            collection(*names, meta={"paging": {"limit": 1, "nextCursor": f"c{n}"}}) for n in range(1002)
        ]
        client = make_client(transport=answering(*pages))
        with pytest.raises(errors.ResponseError, match="1000 empty pages in a row"):
            client.iter_devices()


def test_a_device_that_moved_to_a_later_page_comes_once(make_client: Callable[..., Driver]) -> None:
    pages = (
        collection("C1", "C2", meta={"paging": {"limit": 2, "nextCursor": "n"}}),
        collection("C2", "C3"),
    )
    client = make_client(transport=answering(*pages))
    assert [device.id for device in client.iter_devices()] == ["C1", "C2", "C3"]


@pytest.mark.parametrize("link", ["https://[/x", "https://api-business.apple.com/v1/orgDevices?page=2"])
def test_an_address_without_a_cursor_cannot_be_read(make_client: Callable[..., Driver], link: str) -> None:
    client = make_client(transport=answering(collection("C1", links={"next": link})))
    with pytest.raises(errors.ResponseError, match="the next page"):
        client.iter_devices()


def test_a_page_is_fetched_again_after_a_failure(
    client: Driver, apple: FakeApple, business: FakeBusiness, clock: FrozenClock
) -> None:
    serials = apple.add_devices(3)
    business.script(LIST, None, Fault.server_error(503, retry_after=9), Fault.dropped(effect=True))
    assert [device.id for device in client.iter_devices(limit=2)] == list(serials)
    assert clock.sleeps[0] == 9.0


@given(st.lists(st.lists(st.text("ABC", min_size=1, max_size=2), max_size=5), min_size=1, max_size=6))
def test_any_walk_yields_each_id_once_in_order(pages: list[list[str]]) -> None:
    def decode(content: bytes) -> Page[str]:
        return read_page(content, read_identifier)

    walk = PageReader(Call(operation="list", method="GET", path="/", decode=decode, repeatable=True))
    got: list[str] = []
    for number, ids in enumerate(pages):
        assert walk.call is not None
        assert walk.call.params.get("cursor") == (f"c{number}" if number else None)
        paging = {"nextCursor": f"c{number + 1}"} if number + 1 < len(pages) else {}
        body = {"data": [{"id": one} for one in ids], "meta": {"paging": paging}}
        got.extend(walk.take(decode(msgspec.json.encode(body))))
    assert walk.call is None
    assert got == list(dict.fromkeys(one for ids in pages for one in ids))


def test_a_record_without_an_id_costs_no_other_and_is_counted() -> None:
    content = msgspec.json.encode({"data": [{"id": "A"}, {"type": "x"}, {"id": " "}, {"id": 5}, {"id": "B"}]})
    page = read_page(content, read_identifier)
    assert (page.items, page.unreadable) == (("A", "B"), 3)
