"""A fake of the API, and both clients driven in one way."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
from tests.apple.conftest import Driver

from pyade.business import ApiAccount, AsyncBusinessClient, BusinessClient
from pyade.testing import FakeApple, FakeBusiness, FrozenClock, Server

NOW = datetime(2026, 9, 1, 12, 0, tzinfo=UTC)
START = "POST /v1/orgDeviceActivities"
TOKEN = "POST /auth/oauth2/token"


@pytest.fixture(params=["sync", "asyncio", "trio"])
def backend(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def clock() -> FrozenClock:
    return FrozenClock(NOW)


@pytest.fixture
def apple(clock: FrozenClock) -> FakeApple:
    return FakeApple(clock=clock)


@pytest.fixture
def server(apple: FakeApple) -> Server:
    return apple.add_server("hq")


@pytest.fixture
def business(apple: FakeApple, server: Server) -> FakeBusiness:
    fake = FakeBusiness(apple)
    fake.settings.single_use_assertions = True
    return fake


@pytest.fixture
def account(business: FakeBusiness) -> ApiAccount:
    return business.add_account()


@pytest.fixture
def make_client(
    business: FakeBusiness, account: ApiAccount, clock: FrozenClock, backend: str
) -> Callable[..., Driver]:
    """Return a function that makes a client of the kind under test, without waiting or jitter."""

    def make(**changes: Any) -> Driver:
        options: dict[str, Any] = {
            "account": account,
            "transport": business.transport(),
            "clock": clock,
            "random": lambda: 0.5,
            **changes,
        }
        if backend == "sync":
            client: Any = BusinessClient(**{"sleep": clock.sleep, **options})
        else:
            client = AsyncBusinessClient(**{"sleep": clock.sleep_async, **options})
        return Driver(client, backend)

    return make


@pytest.fixture
def client(make_client: Callable[..., Driver]) -> Driver:
    return make_client()


def answering(*answers: httpx.Response | Exception) -> httpx.MockTransport:
    """Return a transport that gives out an access token, and then *answers* in turn."""
    waiting = list(answers)

    def answer(request: httpx.Request) -> httpx.Response:
        if request.url.host == "account.apple.com":
            return httpx.Response(200, json={"access_token": "top-secret-access", "expires_in": 3600})
        given = waiting.pop(0)
        if isinstance(given, Exception):
            raise given
        # Unread as from a real connection.
        stream = httpx.ByteStream(given.read()) if given.is_stream_consumed else given.stream
        return httpx.Response(given.status_code, headers=given.headers, stream=stream)

    return httpx.MockTransport(answer)
