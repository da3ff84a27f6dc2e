"""The two clients as such: equal methods, checked arguments, and real HTTP."""

from __future__ import annotations

import inspect
import json
import logging
import socket
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from typing import TYPE_CHECKING, Any, get_args, get_origin

import anyio
import httpx
import pytest
from tests.cases import each

from pyade import errors
from pyade.apple import AsyncClient, Client, SessionCache, calls
from pyade.apple.http.calls import SendCall
from pyade.apple.http.connection import default_user_agent
from pyade.core.arguments import hints_of
from pyade.core.fleet.device import Device, DeviceResult
from pyade.core.token import Token
from pyade.testing import FakeApple, Fault, FrozenClock

if TYPE_CHECKING:
    from tests.apple.conftest import Driver, ScriptedApple

TWINS = {"close": "aclose", "__enter__": "__aenter__", "__exit__": "__aexit__"}


class TestTwins:
    def test_both_have_the_same_public_methods(self) -> None:
        def names(cls: type) -> set[str]:
            return {name for name in vars(cls) if not name.startswith("_")}

        assert {TWINS.get(name, name) for name in names(Client)} == names(AsyncClient)

    @each("name", [name for name in vars(Client) if inspect.isfunction(vars(Client)[name])])
    def test_each_pair_has_the_same_signature(self, name: str) -> None:
        blocking, waiting = getattr(Client, name), getattr(AsyncClient, TWINS.get(name, name))
        ours, theirs = inspect.signature(blocking).parameters, inspect.signature(waiting).parameters
        assert [(p.name, p.kind) for p in ours.values()] == [(p.name, p.kind) for p in theirs.values()]
        assert not {key for key in ours if ours[key].default is not theirs[key].default}
        mine, other = hints_of(blocking), hints_of(waiting)
        assert mine.keys() == other.keys()
        for key, hint in mine.items():
            assert _as_sync(other[key]) == hint, key
        if name != "_open":
            assert inspect.iscoroutinefunction(waiting) or inspect.isasyncgenfunction(waiting)
        if not name.startswith("_"):
            assert blocking.__doc__.splitlines()[0].rstrip(".") in waiting.__doc__


def _as_sync(hint: Any) -> Any:
    """Return what an asynchronous annotation would be in the synchronous client."""
    names: dict[Any, Any] = {httpx.AsyncBaseTransport | None: httpx.BaseTransport | None}
    if hint in names:
        return names[hint]
    if get_origin(hint) is AsyncIterator:
        return Iterator[get_args(hint)]  # type: ignore[misc]
    return hint


class TestSettings:
    @pytest.mark.parametrize("agent", ["", "  ", "contoso\n", "contoso\r\nX: y", "contös"])
    def test_a_user_agent_that_cannot_be_sent_is_refused(
        self, make_client: Callable[..., Driver], agent: str
    ) -> None:
        if agent == "contoso\n":
            make_client(user_agent=agent)
            return
        with pytest.raises(errors.UserAgentError, match="printable ASCII"):
            make_client(user_agent=agent)

    def test_the_user_agent_is_our_own_or_the_callers_everywhere(
        self, make_client: Callable[..., Driver], apple: ScriptedApple
    ) -> None:
        apple.script = [httpx.Response(200, json={})] * 2
        make_client().account()
        make_client(user_agent="contoso-mdm/2.1").account()
        agents = [request.headers["User-Agent"] for request in apple.requests]
        assert agents == [default_user_agent()] * 2 + ["contoso-mdm/2.1"] * 2
        assert default_user_agent().startswith("pyade/")

    def test_the_user_agent_has_a_version_even_if_nothing_is_installed(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from importlib import metadata

        def missing(_name: str) -> str:
            raise metadata.PackageNotFoundError

        monkeypatch.setattr(metadata, "version", missing)
        assert default_user_agent.__wrapped__() == "pyade/0"

    def test_a_lower_protocol_version_is_sent_everywhere(
        self, make_client: Callable[..., Driver], apple: ScriptedApple
    ) -> None:
        apple.script = [httpx.Response(200, json={})]
        make_client(protocol_version=3).account()
        assert [request.headers["X-Server-Protocol-Version"] for request in apple.requests] == ["3", "3"]

    @pytest.mark.parametrize(
        "change",
        [
            {"protocol_version": 0},
            {"base_url": ""},
            {"base_url": "mdmenrollment.apple.com"},
            {"base_url": "ftp://x"},
            {"base_url": "https://x?a=b"},
            {"base_url": "https://x#a"},
            {"base_url": "https://x:99999"},
            {"base_url": "https://x\x00y"},
            {"base_url": "https://xn--a"},
            {"base_url": "https://x..y"},
            {"base_url": "https://" + "a" * 64},
            {"base_url": "https://user:top-secret@x"},
        ],
    )
    def test_what_cannot_work_is_refused_at_once(
        self, make_client: Callable[..., Driver], change: dict[str, Any]
    ) -> None:
        with pytest.raises(errors.InvalidRequestError, match=r"is known|is allowed") as caught:
            make_client(**change)
        assert "top-secret" not in str(caught.value)

    def test_redirects_are_not_followed(self, client: Driver, apple: ScriptedApple) -> None:
        apple.script = [httpx.Response(302, headers={"Location": "https://elsewhere.example/"})]
        with pytest.raises(errors.AppleError, match="a redirect, which is never followed"):
            client.account()
        assert {request.url.host for request in apple.requests} == {"mdmenrollment.apple.com"}

    def test_nothing_secret_is_logged_or_shown(
        self,
        client: Driver,
        apple: ScriptedApple,
        caplog: pytest.LogCaptureFixture,
        no_secret: Callable[[object], None],
    ) -> None:
        caplog.set_level(logging.DEBUG)
        rotated = {"X-ADM-Auth-Session": "SESSION-top-secret-new"}
        apple.script = [httpx.Response(500, headers=rotated), httpx.Response(200, json={}, headers=rotated)]
        client.account()
        assert caplog.records
        for record in caplog.records:
            no_secret(record.getMessage())
        assert repr(client.client).endswith("Client(base_url='https://mdmenrollment.apple.com/')")


class TestPages:
    def test_the_limit_follows_the_account_once_it_was_read(
        self, client: Driver, apple: ScriptedApple, page: Callable[..., httpx.Response]
    ) -> None:
        urls = [
            {"uri": "/server/devices", "http_method": ["POST"], "limit": {"default": 2000, "maximum": 5000}}
        ]
        apple.script = [
            page(),
            page(),
            httpx.Response(200, json={"urls": urls}),
            page(),
            page(),
            page(),
            page(),
        ]
        client.fetch_devices()
        client.fetch_devices(limit=5000)
        client.account()
        client.fetch_devices()
        client.fetch_devices(limit=5000)
        client.fetch_devices(limit=9000)
        client.sync_devices("c", limit=9000)
        limits = [_limit(request) for request in apple.calls if request.content]
        assert limits == [1000, 1000, 2000, 5000, 5000, 1000]

    def test_a_call_of_the_sync_engine_gets_the_same_limit(
        self, client: Driver, apple: ScriptedApple, page: Callable[..., httpx.Response]
    ) -> None:
        def flow() -> Any:
            return (yield SendCall(calls.fetch_devices()))

        apple.script = [page("A")]
        assert client.drive(flow()).devices == (Device(serial_number="A", model="MacBook Pro"),)
        assert _limit(apple.calls[0]) == 1000

    def test_devices_are_iterated_over_pages(
        self, client: Driver, apple: ScriptedApple, page: Callable[..., httpx.Response]
    ) -> None:
        apple.script = [
            page("A", "B", cursor="c1", more=True),
            page(cursor="c2", more=True),
            page("C", cursor="c3"),
        ]
        assert [device.serial_number for device in client.iter_devices(2)] == ["A", "B", "C"]
        assert [_body(request).get("cursor") for request in apple.calls] == [None, "c1", "c2"]

    def test_iteration_asks_for_no_page_before_it_is_needed(
        self, apple: ScriptedApple, token: Token, clock: FrozenClock, page: Callable[..., httpx.Response]
    ) -> None:
        apple.script = [page("A", "B", more=True)]
        with Client(token, transport=apple.transport(), clock=clock) as client:
            devices = client.iter_devices()
            assert [next(devices).serial_number, next(devices).serial_number] == ["A", "B"]
        assert len(apple.calls) == 1

    @pytest.mark.parametrize("method", ["iter_devices", "iter_changes"])
    def test_an_exhausted_cursor_ends_the_iteration(
        self, client: Driver, apple: ScriptedApple, page: Callable[..., httpx.Response], method: str
    ) -> None:
        apple.script = [page("A", more=True), httpx.Response(400, text="EXHAUSTED_CURSOR")]
        args = () if method == "iter_devices" else ("c0",)
        assert len(getattr(client, method)(*args)) == 1

    def test_changes_come_as_pages_with_their_cursors(
        self, client: Driver, apple: ScriptedApple, page: Callable[..., httpx.Response]
    ) -> None:
        apple.script = [
            page("A", cursor="c1", more=True),
            page("A", cursor="c2", more=True),
            page(cursor="c3"),
        ]
        assert [found.cursor for found in client.iter_changes("c0")] == ["c1", "c2", "c3"]

    def test_a_cursor_that_expired_needs_a_decision(self, client: Driver, apple: ScriptedApple) -> None:
        apple.script = [httpx.Response(400, text="EXPIRED_CURSOR")]
        with pytest.raises(errors.ExpiredCursorError, match="fetch the full list"):
            client.iter_changes("c0")

    def test_a_repeated_cursor_ends_the_iteration_after_its_page(
        self, apple: ScriptedApple, token: Token, clock: FrozenClock, page: Callable[..., httpx.Response]
    ) -> None:
        apple.script = [page("A", cursor="same", more=True), page("B", cursor="same", more=True)]
        seen: list[str] = []
        with Client(token, transport=apple.transport(), clock=clock) as client:
            with pytest.raises(errors.ResponseError, match="keep the pages so far"):
                seen.extend(device.serial_number for device in client.iter_devices())
            apple.script = [page("C", cursor="c", more=True)]
            pages = client.iter_changes("c")
            assert next(pages).devices[0].serial_number == "C"
            with pytest.raises(errors.ResponseError, match="keep the pages so far"):
                next(pages)
        assert len(apple.calls) == 3

    def test_a_repeated_cursor_ends_the_asynchronous_iteration_too(
        self, make_client: Callable[..., Driver], apple: ScriptedApple, page: Callable[..., httpx.Response]
    ) -> None:
        for method, args in (("iter_devices", ()), ("iter_changes", ("same",))):
            apple.script = [page("A", cursor="same", more=True), page("B", cursor="same", more=True)]
            with pytest.raises(errors.ResponseError, match="keep the pages so far"):
                getattr(make_client(), method)(*args)


def _body(request: httpx.Request) -> dict[str, Any]:
    found: dict[str, Any] = httpx.Response(200, content=request.content).json()
    return found


def _limit(request: httpx.Request) -> object:
    return _body(request)["limit"]


class Cutter:
    """A real server that cuts the connection at a chosen place; ``/session`` always works."""

    def __init__(self, replies: list[bytes]) -> None:
        self.replies = replies
        self.seen: list[str] = []
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.base_url = f"http://127.0.0.1:{self._socket.getsockname()[1]}/dep"
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            with connection, connection.makefile("rb") as file:
                head = list(iter(file.readline, b"\r\n"))
                length = next(
                    (int(line[15:]) for line in head if line.lower().startswith(b"content-length:")), 0
                )
                file.read(length)
                self.seen.append(head[0].split()[1].decode())
                body = b'{"auth_session_token": "S"}' if b"/session" in head[0] else self.replies.pop(0)
                if body:
                    declared = len(body) + (100 if body == b"short" else 0)
                    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n" % declared)
                    connection.sendall(b"Connection: close\r\n\r\n" + body)

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def cutter() -> Iterator[Callable[..., Cutter]]:
    servers: list[Cutter] = []

    def make(*replies: bytes) -> Cutter:
        servers.append(Cutter(list(replies)))
        return servers[-1]

    yield make
    for server in servers:
        server.close()


class TestOverHTTP:
    @pytest.mark.parametrize("lost", [b"", b"short"])
    def test_a_read_survives_a_connection_that_breaks(
        self, token: Token, clock: FrozenClock, cutter: Callable[..., Cutter], lost: bytes
    ) -> None:
        server = cutter(lost, b'{"server_name": "dev"}')
        with Client(token, base_url=server.base_url, clock=clock, sleep=clock.sleep) as client:
            assert client.account().server_name == "dev"
        assert server.seen == ["/dep/session", "/dep/account", "/dep/account"]

    @pytest.mark.parametrize("backend_name", ["asyncio", "trio"])
    def test_a_lost_assignment_is_read_back(
        self, token: Token, clock: FrozenClock, cutter: Callable[..., Cutter], backend_name: str
    ) -> None:
        details = b'{"devices": {"A": {"profile_status": "assigned", "profile_uuid": "P"}}}'
        server = cutter(b"", details)

        async def main() -> None:
            async with AsyncClient(
                token, base_url=server.base_url, clock=clock, sleep=clock.sleep_async
            ) as client:
                results = await client.assign_profile("P", ["A"])
                assert dict(results.results) == {"A": DeviceResult.SUCCESS}

        anyio.run(main, backend=backend_name)
        assert server.seen == ["/dep/session", "/dep/profile/devices", "/dep/devices"]

    def test_a_closed_port_is_no_lost_answer(
        self, token: Token, clock: FrozenClock, cutter: Callable[..., Cutter]
    ) -> None:
        server = cutter()
        server.close()
        with (
            Client(token, base_url=server.base_url, clock=clock, sleep=clock.sleep) as client,
            pytest.raises(errors.TransportError) as caught,
        ):
            client.assign_profile("P", ["A"])
        assert not caught.value.effect_unknown
        assert len(clock.sleeps) == 3


@pytest.fixture
def fake(clock: FrozenClock) -> FakeApple:
    apple = FakeApple(clock=clock)
    apple.add_devices(25, server=apple.add_server("hq"))
    return apple


class TestWithTheFake:
    def test_the_main_calls_work_through_both_clients(
        self, make_client: Callable[..., Driver], fake: FakeApple
    ) -> None:
        client = make_client(token=fake.token(), transport=fake.transport())
        assert client.account().server_name == "hq"
        serials = [device.serial_number for device in client.iter_devices(limit=10)]
        assert len(serials) == 25
        body = {"profile_name": "Standard", "url": "https://mdm.contoso.com/enroll", "org_magic": "x"}
        uuid = client.define_profile(body).profile_uuid
        assert client.profile(uuid)["profile_name"] == "Standard"
        assert client.assign_profile(uuid, serials).is_complete
        found = client.device_details([*serials[:1], "STRANGER"])
        assert found[serials[0]].profile_uuid == uuid
        assert found["STRANGER"].response_status is DeviceResult.NOT_ACCESSIBLE
        assert client.remove_profile(serials[:2]).is_complete
        fake.unassign(serials[:1])
        assert client.assign_profile(uuid, serials[:1]).results[serials[0]] is DeviceResult.NOT_ACCESSIBLE
        with pytest.raises(errors.NotFoundError):
            client.profile("0" * 32)

    def test_a_simulators_habits_are_met(self, make_client: Callable[..., Driver], fake: FakeApple) -> None:
        client = make_client(token=fake.token(), transport=fake.transport())
        serials = [device.serial_number for device in client.iter_devices()]
        body = {"profile_name": "Standard", "url": "https://mdm.contoso.com/enroll", "org_magic": "x"}
        uuid = client.define_profile(body).profile_uuid
        put_only = Fault.answered(405, headers={"Allow": "DELETE, PUT", "Date": "2025-01-01T00:00:00+00:00"})
        fake.script("POST /profile/devices", put_only, forever=True)
        assert client.assign_profile(uuid, serials).is_complete
        quoted = b'"INVALID_CURSOR"\n'
        fake.script("POST /devices/sync", Fault.answered(400, body=quoted))
        with pytest.raises(errors.InvalidCursorError):
            client.sync_devices("nonsense")
        (session, *_) = fake.requests
        assert session.endpoint == "GET /session"
        assert session.headers["content-type"] == "application/json;charset=UTF8"

    @pytest.mark.parametrize("single", [False, True])
    def test_sessions_end_and_rotate_unnoticed(
        self, make_client: Callable[..., Driver], fake: FakeApple, clock: FrozenClock, single: bool
    ) -> None:
        fake.settings.single_session = single
        client = make_client(token=fake.token(), transport=fake.transport())
        for _ in range(4):
            assert client.account().server_name == "hq"
            clock.advance(minutes=5)

    @pytest.mark.parametrize("effect", [False, True])
    def test_a_lost_assignment_is_settled_whether_it_took_effect_or_not(
        self, make_client: Callable[..., Driver], fake: FakeApple, effect: bool
    ) -> None:
        client = make_client(token=fake.token(), transport=fake.transport())
        serials = [device.serial_number for device in client.iter_devices()]
        body = {"profile_name": "Standard", "url": "https://mdm.contoso.com/enroll", "org_magic": "x"}
        uuid = client.define_profile(body).profile_uuid
        fake.script("POST /profile/devices", Fault.dropped(effect=effect))
        assert client.assign_profile(uuid, serials).is_complete
        assert {device.profile_uuid for device in client.device_details(serials).values()} == {uuid}

    def test_a_renewed_token_reaches_a_running_client(
        self, make_client: Callable[..., Driver], fake: FakeApple, clock: FrozenClock
    ) -> None:
        current = [fake.token()]
        client = make_client(token=lambda: current[0], transport=fake.transport())
        client.account()
        fake.generate_token()
        clock.advance(minutes=10)
        with pytest.raises(errors.TokenSupersededError):
            client.account()
        current[0] = fake.token()
        assert client.account().server_name == "hq"

    def test_it_works_over_real_http(self, fake: FakeApple, clock: FrozenClock) -> None:
        cache = SessionCache()

        async def count() -> int:
            async with AsyncClient(
                fake.token(), base_url=server.base_url, clock=clock, sessions=cache
            ) as client:
                return len([device async for device in client.iter_devices(limit=10)])

        with fake.serve() as server:
            with Client(fake.token(), base_url=server.base_url, clock=clock, sessions=cache) as client:
                assert len(list(client.iter_devices(limit=10))) == 25
            assert anyio.run(count) == 25
        assert fake.counts["GET /session"] == 1


def test_no_more_devices_are_asked_for_than_a_page_can_hold_whatever_the_account_says(
    client: Driver, apple: ScriptedApple, page: Callable[..., httpx.Response]
) -> None:
    url = {"uri": "/server/devices", "http_method": ["POST"], "limit": {"default": 10**9, "maximum": 10**9}}
    apple.script = [httpx.Response(200, json={"urls": [url]}), page("A"), page("B")]
    client.account()
    client.fetch_devices()
    client.fetch_devices(limit=10**6)
    assert [json.loads(request.content)["limit"] for request in apple.calls[1:]] == [5000, 5000]
