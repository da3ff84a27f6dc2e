"""A hand-written client without code from pyade.apple, so that the fake has an independent counterpart."""

from __future__ import annotations

import hmac
from base64 import b64encode
from collections.abc import Callable, Iterator
from itertools import count
from typing import Any
from urllib.parse import quote

import httpx
import pytest

from pyade.core.token import Token
from pyade.testing import FakeApple, FrozenClock, Server

BASE = "https://mdmenrollment.apple.com"
JSON_TYPE = "application/json;charset=UTF8"
_nonces = count(1)


@pytest.fixture(autouse=True)
def _without_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let plain clients reach loopback on a machine whose environment names proxies."""
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.fixture
def clock() -> FrozenClock:
    return FrozenClock()


@pytest.fixture
def apple(clock: FrozenClock) -> FakeApple:
    return FakeApple(clock=clock)


@pytest.fixture
def server(apple: FakeApple) -> Server:
    return apple.add_server("hq")


@pytest.fixture
def sign(apple: FakeApple) -> Callable[..., str]:
    """Return an Authorization header; a keyword replaces a parameter, None leaves it out."""

    def authorization(
        token: Token,
        *,
        url: str = BASE + "/session",
        realm: str | None = "ADM",
        consumer_secret: str | None = None,
        reverse: bool = False,
        **changes: str | None,
    ) -> str:
        wanted: dict[str, str | None] = {
            "oauth_consumer_key": token.consumer_key,
            "oauth_token": token.access_token.reveal(),
            "oauth_signature_method": "HMAC-SHA1",
            "oauth_timestamp": str(int(apple.clock().timestamp())),
            "oauth_nonce": f"nonce {next(_nonces)}",
            "oauth_version": "1.0",
            **changes,
        }
        parameters = {name: value for name, value in wanted.items() if value is not None}
        normalised = "&".join(
            f"{name}={quote(value, safe='-._~')}" for name, value in sorted(parameters.items())
        )
        base = f"GET&{quote(url, safe='')}&{quote(normalised, safe='-._~')}"
        secrets = (consumer_secret or token.consumer_secret.reveal(), token.access_secret.reveal())
        key = "&".join(quote(secret, safe="") for secret in secrets)
        if "oauth_signature" not in changes:
            parameters["oauth_signature"] = b64encode(
                hmac.digest(key.encode(), base.encode(), "sha1")
            ).decode()
        order = sorted(parameters, reverse=reverse)
        listed = [f'{name}="{quote(parameters[name], safe="-._~")}"' for name in order]
        return "OAuth " + ", ".join([f'realm="{realm}"', *listed] if realm is not None else listed)

    return authorization


@pytest.fixture
def http(apple: FakeApple) -> Iterator[httpx.Client]:
    """A plain client in the same process."""
    with httpx.Client(
        transport=apple.transport(), base_url=BASE, headers={"User-Agent": "example-mdm/1.0"}
    ) as client:
        yield client


@pytest.fixture
def get_session(http: httpx.Client, sign: Callable[..., str]) -> Callable[..., httpx.Response]:
    """Ask for a session; keywords change the OAuth request."""

    def get(token: Token, *, headers: dict[str, str] | None = None, **changes: Any) -> httpx.Response:
        fields = {"Authorization": sign(token, **changes), "Content-Type": JSON_TYPE, **(headers or {})}
        return http.get("/session", headers=fields)

    return get


@pytest.fixture
def open_session(apple: FakeApple, get_session: Callable[..., httpx.Response]) -> Callable[..., str]:
    """Return a new session value of a server."""

    def new_session(server: Server | str | None = None) -> str:
        answer = get_session(apple.token(server))
        assert answer.status_code == 200, answer.text
        value = answer.json()["auth_session_token"]
        assert isinstance(value, str)
        return value

    return new_session


@pytest.fixture
def call(http: httpx.Client, open_session: Callable[..., str]) -> Callable[..., httpx.Response]:
    """Send one request: with a session of its own unless one is given, with JSON unless it is None."""

    def send(
        method: str,
        path: str,
        json: Any = None,
        *,
        server: Server | str | None = None,
        session: str | None = None,
        version: int | None = 10,
        headers: dict[str, str] | None = None,
        content: bytes | None = None,
        params: dict[str, str] | None = None,
    ) -> httpx.Response:
        fields = {"X-ADM-Auth-Session": session if session is not None else open_session(server)}
        if version is not None:
            fields["X-Server-Protocol-Version"] = str(version)
        fields |= headers or {}
        return http.request(method, path, json=json, content=content, headers=fields, params=params)

    return send


@pytest.fixture
def pages(call: Callable[..., httpx.Response]) -> Callable[..., list[dict[str, Any]]]:
    """Return all pages of a fetch, or of a sync if *path* says so."""

    def collect(
        path: str = "/server/devices", cursor: str | None = None, **keys: Any
    ) -> list[dict[str, Any]]:
        collected: list[dict[str, Any]] = []
        while not collected or collected[-1]["more_to_follow"]:
            body = {key: keys[key] for key in ("limit",) if key in keys}
            if cursor is not None:
                body["cursor"] = cursor
            answer = call("POST", path, body, **{key: keys[key] for key in keys if key != "limit"})
            assert answer.status_code == 200, answer.text
            collected.append(answer.json())
            cursor = collected[-1]["cursor"]
        return collected

    return collect


@pytest.fixture
def define(call: Callable[..., httpx.Response]) -> Callable[..., str]:
    """Define a profile and return its id."""

    def new_profile(server: Server | str | None = None, **keys: Any) -> str:
        profile = {"profile_name": "Standard", "url": "https://mdm.example/enroll", **keys}
        answer = call("POST", "/profile", profile, server=server)
        assert answer.status_code == 200, answer.text
        value = answer.json()["profile_uuid"]
        assert isinstance(value, str)
        return value

    return new_profile
