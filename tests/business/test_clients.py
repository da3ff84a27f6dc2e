"""The two clients: equal methods, real HTTP, and use together with device assignment."""

from __future__ import annotations

import inspect
import logging
from collections.abc import AsyncIterator, Iterator
from typing import Any, get_args, get_origin, get_type_hints

import anyio
import httpx
import pytest
from tests.cases import each

from pyade import Client, Syncer
from pyade.business import ApiAccount, AsyncBusinessClient, BusinessClient
from pyade.storage import MemoryStore
from pyade.testing import FakeApple, FakeBusiness, Fault, FrozenClock, Server

TWINS = {"close": "aclose", "__enter__": "__aenter__", "__exit__": "__aexit__"}


class TestTwins:
    def test_both_have_the_same_public_methods(self) -> None:
        def names(cls: type) -> set[str]:
            return {name for name in vars(cls) if not name.startswith("_")}

        assert {TWINS.get(name, name) for name in names(BusinessClient)} == names(AsyncBusinessClient)

    @each("name", [name for name in vars(BusinessClient) if inspect.isfunction(vars(BusinessClient)[name])])
    def test_each_pair_has_the_same_signature(self, name: str) -> None:
        blocking = getattr(BusinessClient, name)
        waiting = getattr(AsyncBusinessClient, TWINS.get(name, name))
        ours, theirs = inspect.signature(blocking).parameters, inspect.signature(waiting).parameters
        assert [(p.name, p.kind) for p in ours.values()] == [(p.name, p.kind) for p in theirs.values()]
        assert not {key for key in ours if ours[key].default != theirs[key].default}
        mine, other = get_type_hints(blocking), get_type_hints(waiting)
        # As text, since each module has a type variable of its own.
        assert {key: str(_as_sync(hint)) for key, hint in other.items()} == {
            k: str(v) for k, v in mine.items()
        }
        if not name.startswith("_"):
            assert inspect.iscoroutinefunction(waiting) or get_origin(other["return"]) is AsyncIterator
            assert blocking.__doc__.splitlines()[0].rstrip(".") in waiting.__doc__


def _as_sync(hint: Any) -> Any:
    """Return what an asynchronous annotation would be in the synchronous client."""
    if hint == httpx.AsyncBaseTransport | None:
        return httpx.BaseTransport | None
    if get_origin(hint) is AsyncIterator:
        return Iterator[get_args(hint)]  # type: ignore[misc]
    return hint


class TestRealHttp:
    def test_a_client_over_loopback(
        self,
        business: FakeBusiness,
        account: ApiAccount,
        apple: FakeApple,
        server: Server,
        clock: FrozenClock,
    ) -> None:
        serials = apple.add_devices(3)
        business.device_issue(serials[:1])
        with business.serve() as served:
            token_url = f"{served.base_url}/auth/oauth2/token"
            with BusinessClient(
                account, base_url=served.base_url, token_url=token_url, clock=clock, sleep=clock.sleep
            ) as client:
                assert len(list(client.iter_devices(limit=1))) == 3
                outcome = client.assign_devices(server.server_uuid, serials)
        assert outcome.succeeded == serials[1:]
        assert outcome.devices[serials[0]].sub_status == "INVALID_INPUT"

    @pytest.mark.parametrize("loop", ["asyncio", "trio"])
    def test_an_asynchronous_client_over_loopback(
        self,
        business: FakeBusiness,
        account: ApiAccount,
        apple: FakeApple,
        server: Server,
        clock: FrozenClock,
        loop: str,
    ) -> None:
        serials = apple.add_devices(3)

        async def run(base_url: str) -> bool:
            client = AsyncBusinessClient(
                lambda: account,
                base_url=base_url,
                token_url=f"{base_url}/auth/oauth2/token",
                clock=clock,
                sleep=clock.sleep_async,
            )
            async with client:
                found = [device.id async for device in client.iter_devices(limit=2)]
                assert found == list(serials)
                return (await client.assign_devices(server.server_uuid, serials)).is_complete

        with business.serve() as served:
            assert anyio.run(run, served.base_url, backend=loop)

    def test_a_failed_attempt_leaves_a_connection_that_works(
        self, business: FakeBusiness, account: ApiAccount, clock: FrozenClock
    ) -> None:
        business.script("GET /v1/orgDevices", Fault.answered(500, body=b"x" * 300_000))
        with business.serve() as served:
            token_url = f"{served.base_url}/auth/oauth2/token"
            with BusinessClient(
                account, base_url=served.base_url, token_url=token_url, clock=clock, sleep=clock.sleep
            ) as client:
                assert list(client.iter_devices()) == []


def test_an_assigned_device_comes_with_the_next_sync(
    business: FakeBusiness, account: ApiAccount, apple: FakeApple, server: Server, clock: FrozenClock
) -> None:
    (serial,) = apple.add_devices(1)
    token = apple.token(server, name="hq")
    store = MemoryStore()
    store.add_token(token)
    with (
        BusinessClient(account, transport=business.transport(), clock=clock, sleep=clock.sleep) as portal,
        Client(token, transport=apple.transport(), clock=clock, sleep=clock.sleep) as mdm,
    ):
        syncer = Syncer(mdm, store, clock=clock)
        assert syncer.sync().changes.added == 0
        clock.advance(minutes=16)
        service = portal.find_service("hq")
        assert portal.assign_devices(service.id, [serial]).is_complete
        assert syncer.sync().changes.added == 1
        assert store.device("hq", serial) is not None
        assert portal.assigned_service_id(serial) == service.id
        clock.advance(minutes=16)
        assert portal.unassign_devices(service.id, [serial]).is_complete
        assert syncer.sync().changes.released == 1


def test_what_the_portal_does_shows_in_the_api(
    business: FakeBusiness, account: ApiAccount, apple: FakeApple, server: Server, clock: FrozenClock
) -> None:
    (serial,) = apple.add_devices(1, server=server)
    with BusinessClient(account, transport=business.transport(), clock=clock) as client:
        assert list(client.iter_service_serials(server.server_uuid)) == [serial]
        apple.unassign([serial])
        assert client.assigned_service_id(serial) is None


def test_nothing_secret_is_logged(
    business: FakeBusiness,
    account: ApiAccount,
    apple: FakeApple,
    server: Server,
    clock: FrozenClock,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG, "pyade")
    business.script("GET /v1/orgDevices", Fault.server_error(503))
    with BusinessClient(account, transport=business.transport(), clock=clock, sleep=clock.sleep) as client:
        list(client.iter_devices())
        client.assign_devices(server.server_uuid, apple.add_devices(1))
        shown = caplog.text + repr(client) + repr(business.requests)
    assert "trying again" in caplog.text
    assert "Bearer" not in shown
    assert "eyJ" not in shown
