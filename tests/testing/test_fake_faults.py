"""Faults of single requests, and the log."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import attrs
import httpx
import pytest

from pyade.testing import FakeApple, Fault, FrozenClock, PortalError, Server

Send = Callable[..., httpx.Response]


@pytest.mark.parametrize(
    ("fault", "status", "text", "retry_after"),
    [
        (Fault.rate_limited(), 429, "TOO_MANY_REQUESTS", None),
        (Fault.rate_limited(30), 429, "TOO_MANY_REQUESTS", "30"),
        (Fault.rate_limited(2_592_000), 429, "TOO_MANY_REQUESTS", "2592000"),
        (Fault.rate_limited(1.5), 429, "TOO_MANY_REQUESTS", "1.5"),
        (
            Fault.rate_limited(datetime(2025, 1, 1, 0, 5, tzinfo=UTC)),
            429,
            "TOO_MANY_REQUESTS",
            "Wed, 01 Jan 2025 00:05:00 GMT",
        ),
        (Fault.server_error(), 500, "Internal Server Error", None),
        (Fault.server_error(503, retry_after=5), 503, "Service Unavailable", "5"),
        (Fault.server_error(599), 599, "", None),
        (Fault.empty(), 200, "", None),
        (Fault.empty(400), 400, "", None),
        (Fault.refused("T_C_NOT_SIGNED"), 403, "T_C_NOT_SIGNED", None),
        (Fault.refused("NEW_CODE"), 400, "NEW_CODE", None),
        (Fault.refused("NOT_FOUND", 200), 200, "NOT_FOUND", None),
        (Fault.answered(200, json={"devices": []}), 200, '{"devices":[]}', None),
        (
            Fault.answered(403, body=b'"FORBIDDEN" \n', headers={"Retry-After": "1"}),
            403,
            '"FORBIDDEN" \n',
            "1",
        ),
    ],
)
def test_response_can_be_replaced_for_one_request(
    apple: FakeApple,
    server: Server,
    call: Send,
    fault: Fault,
    status: int,
    text: str,
    retry_after: str | None,
) -> None:
    apple.script("POST /profile", fault)
    profile = {"profile_name": "x", "url": "https://x.example"}
    answer = call("POST", "/profile", profile)
    assert (answer.status_code, answer.text, answer.headers.get("Retry-After")) == (status, text, retry_after)
    assert not server.profiles
    assert call("POST", "/profile", profile).json()["profile_uuid"]


def test_gateway_can_answer_with_an_html_page(apple: FakeApple, server: Server, call: Send) -> None:
    apple.script("GET /account", Fault.html())
    answer = call("GET", "/account")
    assert (answer.status_code, answer.headers["Content-Type"]) == (502, "text/html")
    assert "<html>" in answer.text


@pytest.mark.parametrize(
    ("fault", "happened"),
    [
        (Fault.dropped(effect=False), False),
        (Fault.dropped(effect=True), True),
        (Fault.unreachable(), False),
        (Fault.server_error(effect=True), True),
        (Fault.html(effect=True), True),
        (Fault.empty(effect=True), True),
        (Fault.refused("FORBIDDEN", effect=True), True),
    ],
)
def test_the_effect_of_a_failed_request_may_or_may_not_take_place(
    apple: FakeApple, server: Server, call: Send, fault: Fault, happened: bool
) -> None:
    apple.script("POST /profile", fault)
    profile = {"profile_name": "x", "url": "https://x.example"}
    if fault.drop:
        with pytest.raises(httpx.RemoteProtocolError if fault.reach else httpx.ConnectError):
            call("POST", "/profile", profile)
    else:
        call("POST", "/profile", profile)
    assert bool(server.profiles) == happened
    assert apple.counts["POST /profile"] == (1 if fault.reach else 0)
    assert not fault.drop or not fault.reach or apple.requests[-1].status is None


def test_a_slow_answer_moves_the_clock(
    apple: FakeApple, server: Server, call: Send, clock: FrozenClock
) -> None:
    before = clock()
    apple.script("GET /account", Fault.slow(3))
    assert call("GET", "/account").status_code == 200
    assert (clock() - before).total_seconds() == 3


def test_an_answer_that_is_slower_than_the_timeout_is_lost_after_the_effect(
    apple: FakeApple, server: Server, call: Send, clock: FrozenClock
) -> None:
    before = clock()
    apple.script("POST /profile", Fault.slow(60))
    with pytest.raises(httpx.ReadTimeout):
        call("POST", "/profile", {"profile_name": "x", "url": "https://x.example"})
    assert len(server.profiles) == 1
    assert (clock() - before).total_seconds() == 5, "httpx waits for 5 seconds by default"


def test_a_slow_answer_does_not_need_a_frozen_clock() -> None:
    apple = FakeApple()
    apple.script("*", Fault.slow(60), Fault.slow(1))
    with httpx.Client(transport=apple.transport()) as http:
        with pytest.raises(httpx.ReadTimeout):
            http.get("https://x.example/session")
        assert http.get("https://x.example/session").status_code == 400


def test_script_runs_in_order_and_its_last_fault_can_repeat(
    apple: FakeApple, server: Server, call: Send
) -> None:
    apple.script("GET /account", Fault.server_error(), None, Fault.rate_limited())
    assert [call("GET", "/account").status_code for _ in range(4)] == [500, 200, 429, 200]
    apple.script("GET /account", None, Fault.server_error(503), forever=True)
    assert [call("GET", "/account").status_code for _ in range(4)] == [200, 503, 503, 503]
    apple.script("GET /account")
    assert call("GET", "/account").status_code == 200


def test_script_of_the_endpoint_takes_precedence_over_the_general_one(
    apple: FakeApple, server: Server, call: Send, open_session: Callable[..., str]
) -> None:
    session = open_session()
    apple.script("*", Fault.server_error(500))
    apple.script("GET /account", Fault.server_error(503))
    assert [call("GET", "/account", session=session).status_code for _ in range(3)] == [503, 500, 200]


def test_endpoints_that_the_fake_lacks_can_be_scripted(apple: FakeApple, server: Server, call: Send) -> None:
    apple.script("GET /profile/tvprovider", Fault.answered(json={"name": "TV"}))
    assert call("GET", "/profile/tvprovider").json() == {"name": "TV"}
    assert call("GET", "/profile/tvprovider").status_code == 404


@pytest.mark.parametrize(
    "endpoint", ["/session", "GET session", "get /session", "GET /profile?profile_uuid=1", ""]
)
def test_unknown_endpoint_in_a_script_is_an_error(apple: FakeApple, endpoint: str) -> None:
    with pytest.raises(PortalError, match=r"POST /devices/sync"):
        apple.script(endpoint, Fault.server_error())


def test_every_request_is_recorded(
    apple: FakeApple, server: Server, call: Send, open_session: Callable[..., str], clock: FrozenClock
) -> None:
    first, second = open_session(), open_session()
    clock.advance(1)
    call("POST", "/server/devices", {"limit": 5}, session=second)
    call("GET", "/profile", params={"profile_uuid": "0"}, session=first)
    call("POST", "/devices/sync", content=b"\xffno json", session=first)
    call("GET", "/account", session="never issued")
    records = apple.requests
    assert [record.number for record in records] == [1, 2, 3, 4, 5, 6]
    assert [record.session for record in records] == [None, None, 2, 1, 1, None]
    assert [record.server for record in records] == ["", "", "hq", "hq", "hq", ""]
    assert [record.status for record in records] == [200, 200, 200, 400, 400, 403]
    assert [record.code for record in records[2:]] == ["", "NOT_FOUND", "MALFORMED_REQUEST_BODY", "FORBIDDEN"]
    assert [record.body for record in records[2:5]] == [{"limit": 5}, None, "\ufffdno json"]
    assert records[3].query == {"profile_uuid": "0"}
    assert records[2].at == clock()
    assert records[2].headers["user-agent"] == "example-mdm/1.0"
    assert apple.counts == Counter(
        {
            "GET /session": 2,
            "POST /server/devices": 1,
            "GET /profile": 1,
            "POST /devices/sync": 1,
            "GET /account": 1,
        }
    )
    assert apple.counts["DELETE /profile/devices"] == 0


def test_log_contains_no_secret_and_is_immutable(
    apple: FakeApple, server: Server, call: Send, open_session: Callable[..., str]
) -> None:
    session, token = open_session(), apple.token()
    call("POST", "/device/activationlock", {"device": "X", "escrow_key": "a" * 64}, session=session)
    call("GET", "/account", params={"access_token": token.access_token.reveal()}, session=session)
    call("POST", "/devices/sync", content=b'["list"]', session=session)
    shown = repr(apple.requests)
    secrets = (session, "a" * 64, token.access_token.reveal(), token.consumer_key)
    assert not any(secret in shown for secret in secrets)
    assert apple.requests[1].headers["x-adm-auth-session"] == "(redacted)"
    assert apple.requests[-1].body == ["list"]
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        apple.requests[0].status = 500  # type: ignore[misc]


def test_header_fields_of_one_name_are_joined(apple: FakeApple, server: Server, http: httpx.Client) -> None:
    http.get("/account", headers=[("X-Note", "a"), ("x-note", "b")])
    assert apple.requests[-1].headers["x-note"] == "a, b"


def test_the_log_can_be_cleared(apple: FakeApple, server: Server, call: Send) -> None:
    call("GET", "/account")
    apple.clear_requests()
    assert (apple.requests, apple.counts) == ((), Counter())
    call("GET", "/account")
    assert apple.requests[0].number == 3


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio", "trio"])
async def test_the_transport_serves_asynchronous_clients(apple: FakeApple, server: Server, sign: Any) -> None:
    async def parts() -> Any:
        yield b'{"limit":'
        yield b"1}"

    apple.add_devices(2, server=server)
    async with httpx.AsyncClient(
        transport=apple.transport(), base_url="https://mdmenrollment.apple.com"
    ) as http:
        session = await http.get("/session", headers={"Authorization": sign(apple.token())})
        fields = {"X-ADM-Auth-Session": session.json()["auth_session_token"], "User-Agent": "example/1"}
        answer = await http.post("/server/devices", content=parts(), headers=fields)
        assert len(answer.json()["devices"]) == 1
        apple.script("*", Fault.dropped(effect=False))
        with pytest.raises(httpx.RemoteProtocolError):
            await http.post("/server/devices", json={}, headers=fields)
