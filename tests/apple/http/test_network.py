"""Clients behind proxies, private authorities and client certificates, all of them real and on loopback."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import httpx
import pytest
from tests.network import Authority, Proxy, StandIn, TlsFront

from pyade import errors
from pyade.apple import AsyncClient, Client
from pyade.business import ApiAccount, AsyncBusinessClient, BusinessClient
from pyade.core.token import Token
from pyade.operations import AsyncScheduler, AsyncTokenService, Scheduler, TokenService
from pyade.operations.workers import sync_token
from pyade.storage import MemoryStore
from pyade.testing import FakeApple, FakeBusiness

PROXY_VARIABLES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY")
KINDS = pytest.mark.parametrize("kind", ["sync", "asyncio", "sync business", "asyncio business"])
Ask = Callable[..., object]


@pytest.fixture(autouse=True)
def _plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*PROXY_VARIABLES, "SSL_CERT_FILE", "SSL_CERT_DIR"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


@pytest.fixture
def fake() -> FakeApple:
    fake = FakeApple()
    fake.add_server("hq")
    return fake


@pytest.fixture
def real_token(fake: FakeApple) -> Token:
    return fake.token()


@pytest.fixture
def port(fake: FakeApple) -> Iterator[int]:
    """Return the port at which the device assignment of the fake is served."""
    with fake.serve() as server:
        yield int(server.base_url.rpartition(":")[2])


@pytest.fixture
def api(fake: FakeApple) -> FakeBusiness:
    return FakeBusiness(fake)


@pytest.fixture
def account(api: FakeBusiness) -> ApiAccount:
    return api.add_account()


@pytest.fixture
def ask(real_token: Token, account: ApiAccount) -> Ask:
    """Return a function that asks Apple something with the client of some kind."""

    def asked(kind: str, base_url: str, **options: Any) -> object:
        options = {"retries": 0, **options, "base_url": base_url}
        if kind.endswith("business"):
            options["token_url"] = f"{base_url}/auth/oauth2/token"
        if kind == "sync":
            with Client(real_token, **options) as client:
                return client.account()
        if kind == "sync business":
            with BusinessClient(account, **options) as business:
                return business.list_devices()

        async def run() -> object:
            if kind == "asyncio":
                async with AsyncClient(real_token, **options) as client:
                    return await client.account()
            async with AsyncBusinessClient(account, **options) as business:
                return await business.list_devices()

        return anyio.run(run)

    return asked


@pytest.fixture
def place(fake: FakeApple, api: FakeBusiness, request: pytest.FixtureRequest) -> Iterator[int]:
    """Return the port of the service that the kind under test asks."""
    service: Any = api if request.getfixturevalue("kind").endswith("business") else fake
    with service.serve() as server:
        yield int(server.base_url.rpartition(":")[2])


@KINDS
def test_a_given_proxy_is_used(kind: str, place: int, ask: Ask) -> None:
    with Proxy(place) as proxy:
        ask(kind, "http://mdmenrollment.example", proxy=proxy.url)
        assert len(proxy.asked) == 2, "for the session and for the call"
        assert all("http://mdmenrollment.example/" in asked for asked in proxy.asked)


@KINDS
def test_a_proxy_of_the_environment_is_used_except_for_this_machine(
    kind: str, place: int, ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Proxy(place) as proxy:
        monkeypatch.setenv("HTTP_PROXY", proxy.url)
        ask(kind, f"http://127.0.0.1:{place}")
        ask(kind, f"http://localhost:{place}")
        assert not proxy.asked
        ask(kind, "http://mdmenrollment.example")
        assert len(proxy.asked) == 2
        monkeypatch.setenv("NO_PROXY", "mdmenrollment.example")
        with pytest.raises(errors.TransportError, match="ConnectError"):
            ask(kind, "http://mdmenrollment.example")
        assert len(proxy.asked) == 2


@pytest.fixture
def stand_in() -> Iterator[StandIn]:
    """Return a server that does not check the address which a client signs: TLS ends before it."""
    with StandIn() as server:
        yield server


@KINDS
def test_https_goes_through_a_proxy_in_a_tunnel(
    kind: str, stand_in: StandIn, ask: Ask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority = Authority(tmp_path)
    with TlsFront(stand_in.port, authority.server_context()) as front, Proxy(front.port) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", proxy.url)
        ask(kind, "https://mdm.contoso.example", verify=authority.file)
        assert set(proxy.asked) == {"CONNECT mdm.contoso.example:443"}


@KINDS
def test_a_private_authority_is_trusted_where_it_is_named(
    kind: str, stand_in: StandIn, ask: Ask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority = Authority(tmp_path)
    with TlsFront(stand_in.port, authority.server_context()) as front:
        with pytest.raises(errors.CertificateError, match="CERTIFICATE_VERIFY_FAILED") as caught:
            ask(kind, front.url, retries=3, sleep=_must_not_wait)
        assert not caught.value.effect_unknown
        ask(kind, front.url, verify=authority.file)
        ask(kind, front.url, verify=str(authority.file))
        monkeypatch.setenv("SSL_CERT_FILE", str(authority.file))
        ask(kind, front.url)


def _must_not_wait(_seconds: float) -> None:
    pytest.fail("a certificate that is not trusted is asked for once")


CHECK = "check base_url, {}, and the proxy: proxy=, HTTPS_PROXY and NO_PROXY"
CHECK_CERTIFICATE = (
    "check base_url and the clock; if a proxy inspects the connections, or a server of your own answers, pass"
    " the certificate of its authority as verify= or in SSL_CERT_FILE"
)


@KINDS
def test_a_connection_that_cannot_be_made_says_what_to_check(kind: str, ask: Ask, tmp_path: Path) -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as closed,
        StandIn() as server,
        TlsFront(server.port, Authority(tmp_path).server_context()) as front,
    ):
        port = closed.getsockname()[1]
        closed.close()
        cases: list[tuple[str, dict[str, Any], str]] = [
            (f"http://127.0.0.1:{port}", {}, CHECK.format("the firewall")),
            ("https://mdm.contoso.invalid", {}, CHECK.format("the DNS of this machine")),
            (front.url, {}, CHECK_CERTIFICATE),
            ("https://a.example", {"proxy": f"http://127.0.0.1:{port}"}, CHECK.format("the firewall")),
        ]
        for base_url, options, next_step in cases:
            with pytest.raises(errors.TransportError) as caught:
                ask(kind, base_url, **options)
            assert caught.value.next_step == next_step
            assert str(caught.value).endswith(f"; {caught.value.next_step}")
            assert "\n" not in str(caught.value)


@KINDS
def test_a_client_certificate_is_shown_where_it_is_wanted(
    kind: str, stand_in: StandIn, ask: Ask, tmp_path: Path
) -> None:
    authority = Authority(tmp_path)
    with TlsFront(stand_in.port, authority.server_context(wants_client=True)) as front:
        with pytest.raises(errors.TransportError):
            ask(kind, front.url, verify=authority.file)
        context = ssl.create_default_context(cafile=str(authority.file))
        context.load_cert_chain(authority.issue("pyade-client"))
        ask(kind, front.url, verify=context)


def test_certificates_in_a_folder_are_trusted(real_token: Token, tmp_path: Path) -> None:
    with Client(real_token, verify=tmp_path) as client:
        assert "Client" in repr(client)


MAKERS: dict[str, Callable[..., Callable[..., Any]]] = {
    "Client": lambda token, account: lambda **options: Client(token, **options),
    "AsyncClient": lambda token, account: lambda **options: AsyncClient(token, **options),
    "BusinessClient": lambda token, account: lambda **options: BusinessClient(account, **options),
    "AsyncBusinessClient": lambda token, account: lambda **options: AsyncBusinessClient(account, **options),
}


@pytest.fixture(params=MAKERS)
def make(request: pytest.FixtureRequest, real_token: Token, account: ApiAccount) -> Callable[..., Any]:
    made: Callable[..., Any] = MAKERS[request.param](real_token, account)
    return made


@pytest.mark.parametrize("name", [*PROXY_VARIABLES, "http_proxy", "https_proxy", "all_proxy", "no_proxy"])
def test_a_variable_that_cannot_be_used_is_named_by_the_constructor(
    make: Callable[..., Any], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    is_list = name.lower() == "no_proxy"
    for value in (
        ["fe80::/10", "example.com, fe80::/10"] if is_list else ["http://[::1", "ftp://x", "http://"]
    ):
        monkeypatch.setenv(name, value)
        with pytest.raises(errors.InvalidRequestError, match=name) as caught:
            make()
        assert value in str(caught.value)


@pytest.mark.parametrize("name", ["HTTPS_PROXY", "all_proxy"])
def test_a_socks_proxy_without_its_library_is_named(
    make: Callable[..., Any], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, "socks5://127.0.0.1:1080")
    with pytest.raises(errors.InvalidRequestError, match=rf"{name} names a SOCKS proxy.*httpx\[socks\]"):
        make()
    monkeypatch.delenv(name)
    with pytest.raises(errors.InvalidRequestError, match=r"proxy= names a SOCKS proxy"):
        make(proxy="socks5h://127.0.0.1:1080")


@pytest.mark.parametrize("name", ["SSL_CERT_FILE", "SSL_CERT_DIR"])
def test_certificates_that_are_missing_are_named(
    make: Callable[..., Any], name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "no-pem").write_text("hello")
    for path in ("/nowhere/ca.pem", str(tmp_path / "no-pem")):
        monkeypatch.setenv(name, path)
        with pytest.raises(errors.InvalidRequestError, match=f"{name} '{path}' cannot be read"):
            make()
        monkeypatch.delenv(name)
        with pytest.raises(errors.InvalidRequestError, match=f"verify= '{path}' cannot be read"):
            make(verify=path)


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"proxy": "ftp://x"}, "proxy="),
        ({"proxy": 5}, "proxy="),
        ({"proxy": "http://user:top-secret@[::1"}, r"proxy= \(not shown\)"),
        ({"verify": False}, "verify=False"),
        ({"verify": 5}, "verify=5"),
        ({"http2": True}, r"http2=True, for which the package h2 is missing.*httpx\[http2\]"),
        ({"limits": 5}, "limits=5"),
        ({"timeout": "soon"}, "timeout='soon'"),
        ({"timeout": 0}, "timeout=0"),
        ({"retries": -1}, "retries=-1"),
        ({"retries": "3"}, "retries='3'"),
        ({"deadline_s": 0}, "deadline_s=0"),
        ({"deadline_s": float("nan")}, "deadline_s=nan"),
        ({"deadline_s": "60"}, "deadline_s='60'"),
    ],
)
def test_an_argument_that_cannot_be_used_is_named(
    make: Callable[..., Any], options: dict[str, Any], word: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pyade.apple.http.network.find_spec", lambda name: None)
    with pytest.raises(errors.InvalidRequestError, match=word) as caught:
        make(**options)
    assert "top-secret" not in str(caught.value)


def test_a_transport_excludes_settings_of_connections(make: Callable[..., Any]) -> None:
    transport = httpx.MockTransport(lambda request: httpx.Response(200))
    wishes = {"proxy": "http://x", "verify": "ca.pem", "limits": httpx.Limits(), "http2": True}
    for name, value in wishes.items():
        with pytest.raises(errors.InvalidRequestError, match=f"{name}= is given together with transport="):
            make(transport=transport, **{name: value})
    make(transport=transport)


def test_limits_are_those_of_the_connections(real_token: Token) -> None:
    limits = httpx.Limits(max_connections=7)
    with Client(real_token, limits=limits) as client:
        assert client._http._transport._pool._max_connections == 7  # type: ignore[attr-defined]


def test_schedulers_workers_and_the_token_service_hand_it_on(fake: FakeApple, real_token: Token) -> None:
    given: list[dict[str, Any]] = []

    def client_for(token: Token, **network: Any) -> Any:
        given.append(network)
        raise errors.TokenError("seen")

    def plain(token: Token) -> Any:
        raise errors.TokenError(f"{token.name} needs a client")

    store = MemoryStore()
    store.add_token(real_token)
    wishes: dict[str, Any] = {"proxy": "http://proxy.example", "verify": "ca.pem"}
    sync_token(store, client_for, real_token.name, **wishes)
    for kind in (Scheduler, AsyncScheduler, TokenService, AsyncTokenService):
        made: Any = kind(store, client_for, **wishes)
        with pytest.raises(errors.TokenError, match="seen"):
            made._client_for(real_token)
        with pytest.raises(errors.PolicyError, match=r"client_for does not take proxy=, verify=:"):
            kind(store, plain, **wishes)
    assert given == [wishes] * 5


def test_nothing_that_a_server_sets_is_sent_back(real_token: Token) -> None:
    sent: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        sent.append(request.headers.get("Cookie", ""))
        body = {"auth_session_token": "S"} if request.url.path.endswith("/session") else {}
        return httpx.Response(200, json=body, headers={"Set-Cookie": f"a{len(sent)}={'x' * 4000}; Path=/"})

    with Client(real_token, transport=httpx.MockTransport(answer)) as client:
        for _ in range(3):
            client.account()
    assert sent == [""] * 4


class TestState:
    def test_a_client_that_was_closed_says_so(self, real_token: Token, account: ApiAccount) -> None:
        client, business = Client(real_token), BusinessClient(account)
        client.close()
        business.close()
        for ask in (client.account, business.list_devices):
            with pytest.raises(errors.ClientError, match="is closed: make a new one"):
                ask()

        async def run() -> None:
            one, other = AsyncClient(real_token), AsyncBusinessClient(account)
            await one.aclose()
            await other.aclose()
            for ask in (one.account, other.list_devices):
                with pytest.raises(errors.ClientError, match="is closed: make a new one"):
                    await ask()

        anyio.run(run)

    @pytest.mark.parametrize("backend", ["asyncio", "trio"])
    def test_a_client_in_a_second_event_loop_says_so(
        self, real_token: Token, account: ApiAccount, fake: FakeApple, api: FakeBusiness, backend: str
    ) -> None:
        def elsewhere(ask: Callable[[], Awaitable[object]]) -> None:
            with pytest.raises(errors.ClientError, match="in another event loop: make one for each"):
                anyio.run(ask, backend=backend)

        async def main(url: str, business_url: str) -> None:
            token_url = f"{business_url}/auth/oauth2/token"
            business = AsyncBusinessClient(account, base_url=business_url, token_url=token_url)
            async with AsyncClient(real_token, base_url=url) as client, business:
                for ask in (client.account, business.list_devices):
                    await ask()
                    await anyio.to_thread.run_sync(elsewhere, ask)
                    await ask()

        with fake.serve() as server, api.serve() as other:
            anyio.run(main, server.base_url, other.base_url)
