"""No error, no traceback with local variables and no log shows a secret of a session."""

from __future__ import annotations

import logging
import pickle
import ssl
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest
from tests.cases import each

import pyade
from pyade import errors
from pyade.apple import AsyncClient, Client
from pyade.business import ApiAccount, AsyncBusinessClient, BusinessClient
from pyade.core.token import Token
from pyade.testing import FakeApple, FakeBusiness, FrozenClock

PACKAGE = str(Path(pyade.__file__).parent)
SESSION, ACCESS = "SESSION-top-secret", "ACCESS-top-secret"
SIGNED = "https://logs.example/top-secret-path?signature=top-secret"


def chain(error: BaseException) -> Iterator[BaseException]:
    """Yield *error* and everything that it drags along."""
    seen: set[int] = set()
    waiting: list[BaseException | None] = [error]
    while waiting:
        found = waiting.pop()
        if found is not None and id(found) not in seen:
            seen.add(id(found))
            yield found
            waiting += [found.__cause__, found.__context__]


def shown(error: BaseException) -> str:
    """Return all that a log, a debugger with local variables or a pickle shows of *error*."""
    parts: list[str] = []
    for found in chain(error):
        assert isinstance(found, errors.PyadeError), f"{type(found)} is in the chain"
        parts += [str(found), repr(found), repr(vars(found)), repr(pickle.dumps(found))]
        for frame, _ in traceback.walk_tb(found.__traceback__):
            if frame.f_code.co_filename.startswith(PACKAGE):
                parts += [f"{name}={value!r}" for name, value in frame.f_locals.items()]
    return "\n".join(parts)


def _raise(error: Exception) -> Callable[[httpx.Request], httpx.Response]:
    def answer(request: httpx.Request) -> httpx.Response:
        if isinstance(error, httpx.RequestError):
            error.request = request
        raise error

    return answer


def _quoting(status: int) -> Callable[[httpx.Request], httpx.Response]:
    """Quote everything that the request says."""

    def answer(request: httpx.Request) -> httpx.Response:
        words = " ".join(f"{name}: {value}" for name, value in request.headers.items())
        return httpx.Response(status, text=f"{words} {request.url} {request.content!r}")

    return answer


ENDINGS: dict[str, Callable[[httpx.Request], httpx.Response]] = {
    "refused": _raise(httpx.ConnectError("refused")),
    "timed out": _raise(httpx.ReadTimeout("slow")),
    "broken": _raise(httpx.RemoteProtocolError(f"illegal header line: bytearray(b'X: {SESSION}')")),
    "an error of TLS": _raise(ssl.SSLError(1, "alert")),
    "400 that quotes": _quoting(400),
    "401 that quotes": _quoting(401),
    "403 that quotes": _quoting(403),
    "404 that quotes": _quoting(404),
    "429 that quotes": _quoting(429),
    "503 that quotes": _quoting(503),
    "a success that quotes": _quoting(200),
    "a redirect that quotes": lambda request: httpx.Response(302, headers={"Location": str(request.url)}),
}


class Place:
    """Gives out a session and an access token, then lets a chosen request end in some way."""

    def __init__(self, ending: str, at: str) -> None:
        self._ending, self._at = ENDINGS[ending], at

    def __call__(self, request: httpx.Request) -> httpx.Response:
        is_session = request.url.path.endswith(("/session", "/token"))
        if is_session == (self._at == "session"):
            return self._ending(request)
        return httpx.Response(
            200, json={"auth_session_token": SESSION, "access_token": ACCESS, "expires_in": 900}
        )


@pytest.fixture
def account() -> ApiAccount:
    return FakeBusiness(FakeApple()).add_account()


@pytest.mark.parametrize("kind", ["sync", "asyncio", "trio"])
@pytest.mark.parametrize("at", ["session", "call"])
@each("ending", ENDINGS)
def test_neither_an_error_nor_its_frames_nor_the_log_show_a_secret(
    kind: str,
    at: str,
    ending: str,
    token: Token,
    account: ApiAccount,
    clock: FrozenClock,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG, "pyade")
    options: dict[str, Any] = {
        "transport": httpx.MockTransport(Place(ending, at)),
        "clock": clock,
        "retries": 1,
        "sleep": clock.sleep if kind == "sync" else clock.sleep_async,
    }
    for error in failures(kind, token, account, options):
        text = shown(error) + caplog.text
        assert "top-secret" not in text
        assert "eyJ" not in text, "how a signed client assertion begins"
        assert "oauth_signature" not in text


def failures(
    kind: str, token: Token, account: ApiAccount, options: dict[str, Any]
) -> list[errors.PyadeError]:
    """Return what a call of each service, and a download of the Business API, ends in."""
    caught: list[errors.PyadeError] = []
    if kind == "sync":
        with Client(token, **options) as client, BusinessClient(account, **options) as business:
            for ask in (
                lambda: client.define_profile({"profile_name": "x"}),
                lambda: business.device("C1"),
                lambda: business.drive(download()),
            ):
                try:
                    ask()
                except errors.PyadeError as error:
                    caught.append(error)
        return caught

    async def run() -> None:
        async with AsyncClient(token, **options) as client, AsyncBusinessClient(account, **options) as api:
            for ask in (
                lambda: client.define_profile({"profile_name": "x"}),
                lambda: api.device("C1"),
                lambda: api.drive(download()),
            ):
                try:
                    await ask()
                except errors.PyadeError as error:
                    caught.append(error)

    anyio.run(run, backend=kind)
    return caught


def download() -> Any:
    from pyade.business.activities import Download
    from pyade.core.secret import Secret
    from pyade.flow import ask

    return ask(Download(Secret(SIGNED)))


def test_a_secret_in_a_local_variable_of_a_frame_would_be_found() -> None:
    source = "def leak(session):\n    raise TokenError('x')\n"
    names: dict[str, Any] = {"TokenError": errors.TokenError}
    exec(compile(source, f"{PACKAGE}/apple/invented.py", "exec"), names)
    with pytest.raises(errors.TokenError) as caught:
        names["leak"](SESSION)
    assert SESSION in shown(caught.value)
