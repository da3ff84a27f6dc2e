"""A scripted Apple, and one way to drive both clients."""

from __future__ import annotations

import inspect
import itertools
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from functools import partial
from typing import Any, TypeAlias

import anyio
import attrs
import httpx
import pytest

from pyade.apple import AsyncClient, Client
from pyade.core.token import Token
from pyade.testing.clock import FrozenClock

WireResponse: TypeAlias = httpx.Response | Exception | Callable[[httpx.Request], httpx.Response]

SECRETS = ("CS-top-secret", "AT-top-secret", "AS-top-secret", "SESSION-top-secret")


def session_answer(session: str) -> httpx.Response:
    return httpx.Response(200, json={"auth_session_token": session})


class ScriptedApple:
    """Answers from a script; ``/session`` has one of its own and gives out numbered sessions after it."""

    def __init__(self) -> None:
        self.script: list[WireResponse] = []
        self.session_script: list[WireResponse] = []
        self.requests: list[httpx.Request] = []
        self._numbers = itertools.count(1)

    def __call__(self, request: httpx.Request) -> httpx.Response:
        # A copy, since a replay is the same request with another session.
        copy = httpx.Request(
            request.method,
            request.url,
            headers=request.headers.copy(),
            content=request.content,
            extensions=request.extensions,
        )
        self.requests.append(copy)
        if request.url.path.endswith("/session"):
            if not self.session_script:
                number = next(self._numbers)
                self.session_script = [session_answer(f"SESSION-top-secret-{number}")]
            answer = self.session_script.pop(0)
        else:
            assert self.script, f"nothing is scripted for {request.method} {request.url.path}"
            answer = self.script.pop(0)
        if isinstance(answer, Exception):
            raise answer
        if not isinstance(answer, httpx.Response):
            answer = answer(request)
        # Anew each time, and unread as from a real connection, which httpx's own mock is not.
        stream = httpx.ByteStream(answer.read())
        return httpx.Response(answer.status_code, headers=answer.headers, stream=stream)

    def transport(self) -> httpx.MockTransport:
        return httpx.MockTransport(self)

    @property
    def sessions(self) -> int:
        return sum(request.url.path.endswith("/session") for request in self.requests)

    @property
    def calls(self) -> list[httpx.Request]:
        return [request for request in self.requests if not request.url.path.endswith("/session")]

    @property
    def sent(self) -> list[str]:
        return [f"{request.method} {request.url.path}" for request in self.calls]

    @property
    def used_sessions(self) -> list[str]:
        return [request.headers["X-ADM-Auth-Session"] for request in self.calls]


class Driver:
    """A client whose methods are called in one way, whichever client it is."""

    def __init__(self, client: Client | AsyncClient, backend: str) -> None:
        self.client = client
        self.backend = backend

    def __getattr__(self, name: str) -> Any:
        attribute = getattr(self.client, name)
        return partial(self._run, attribute) if callable(attribute) else attribute

    def _run(self, method: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        if self.backend == "sync":
            result = method(*args, **kwargs)
            return list(result) if inspect.isgenerator(result) else result

        async def run() -> Any:
            result = method(*args, **kwargs)
            if isinstance(result, AsyncIterator):
                return [item async for item in result]
            return await result

        return anyio.run(run, backend=self.backend)


@pytest.fixture
def clock() -> FrozenClock:
    return FrozenClock(datetime(2026, 3, 1, 12, 0, tzinfo=UTC))


@pytest.fixture
def token() -> Token:
    return Token(
        name="hq",
        consumer_key="CK_1",
        consumer_secret=SECRETS[0],
        access_token=SECRETS[1],
        access_secret=SECRETS[2],
        access_token_expiry=datetime(2026, 12, 1, tzinfo=UTC),
        apple_id="it@contoso.com",
        consented_at=datetime(2025, 12, 1, tzinfo=UTC),
        org_name="Contoso",
    )


@pytest.fixture
def apple() -> ScriptedApple:
    return ScriptedApple()


@pytest.fixture(params=["sync", "asyncio"])
def backend(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def make_client(
    apple: ScriptedApple, token: Token, clock: FrozenClock, backend: str
) -> Callable[..., Driver]:
    """Return a function that makes a client of the kind under test, without waiting or jitter."""

    def make(**changes: Any) -> Driver:
        options: dict[str, Any] = {
            "token": token,
            "transport": apple.transport(),
            "clock": clock,
            "random": lambda: 0.5,
            **changes,
        }
        used = options.pop("token")
        if backend == "sync":
            return Driver(Client(used, sleep=clock.sleep, **options), backend)
        return Driver(AsyncClient(used, sleep=clock.sleep_async, **options), backend)

    return make


@pytest.fixture
def client(make_client: Callable[..., Driver]) -> Driver:
    return make_client()


@pytest.fixture
def no_secret() -> Callable[[object], None]:
    """Return a check that no secret of the tests shows in the text, repr or arguments of an object."""

    def check(value: object) -> None:
        for shown in (str(value), repr(value), repr(getattr(value, "args", ""))):
            assert not [secret for secret in SECRETS if secret in shown]

    return check


@pytest.fixture
def page() -> Callable[..., httpx.Response]:
    """Return a function that makes the answer of a fetch or a sync."""

    def make(*serials: str, cursor: str = "c1", more: bool = False, **extra: Any) -> httpx.Response:
        devices = [{"serial_number": serial, "model": "MacBook Pro"} for serial in serials]
        body = {"devices": devices, "cursor": cursor, "more_to_follow": more, **extra}
        return httpx.Response(200, json=body)

    return make


@pytest.fixture
def expired_token(token: Token) -> Token:
    """Return a token that is past its expiry at the time of the clock."""
    return attrs.evolve(token, access_token_expiry=datetime(2026, 2, 1, tzinfo=UTC))
