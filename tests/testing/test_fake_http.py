"""The fake over real HTTP: several connections, keep-alive, other clients' variants, and odd requests."""

from __future__ import annotations

import http.client
import json
import shutil
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.network import Authority

from pyade.testing import FakeApple, Fault, FrozenClock, LoopbackServer, Server

Sign = Callable[..., str]


@pytest.fixture
def web(apple: FakeApple, server: Server) -> Iterator[LoopbackServer]:
    with apple.serve() as running:
        yield running


@pytest.fixture
def connect(web: LoopbackServer) -> Iterator[Callable[[], http.client.HTTPConnection]]:
    opened: list[http.client.HTTPConnection] = []

    def one() -> http.client.HTTPConnection:
        opened.append(
            http.client.HTTPConnection("127.0.0.1", int(web.base_url.rpartition(":")[2]), timeout=5)
        )
        return opened[-1]

    yield one
    for connection in opened:
        connection.close()


@pytest.fixture
def fields(apple: FakeApple, web: LoopbackServer, sign: Sign) -> Callable[[], dict[str, str]]:
    """Return the headers of an ordinary call, with a new session."""

    def get() -> dict[str, str]:
        url = web.base_url + "/session"
        answer = httpx.get(url, headers={"Authorization": sign(apple.token(), url=url, realm=None)})
        assert answer.status_code == 200, answer.text
        return {"X-ADM-Auth-Session": answer.json()["auth_session_token"], "User-Agent": "example-mdm/1.0"}

    return get


def raw(web: LoopbackServer, request: bytes) -> bytes:
    """Send *request* and return everything until the server closes."""
    with socket.create_connection(
        ("127.0.0.1", int(web.base_url.rpartition(":")[2])), timeout=5
    ) as connection:
        connection.sendall(request)
        connection.shutdown(socket.SHUT_WR)
        received = b""
        while part := connection.recv(65536):
            received += part
    return received


def test_one_connection_serves_many_requests(
    connect: Callable[[], http.client.HTTPConnection], fields: Callable[[], dict[str, str]]
) -> None:
    connection, headers = connect(), fields()
    connection.connect()
    local = connection.sock.getsockname()
    for method, path, body in (
        ("GET", "/account", None),
        ("POST", "/server/devices", "{}"),
        ("GET", "/nowhere", None),
    ):
        connection.request(method, path, body, headers)
        answer = connection.getresponse()
        assert answer.version == 11
        assert len(answer.read()) == int(answer.headers["Content-Length"])
        assert connection.sock.getsockname() == local


def test_response_is_sent_in_one_write(web: LoopbackServer, fields: Callable[[], dict[str, str]]) -> None:
    lines = "".join(f"{name}: {value}\r\n" for name, value in fields().items())
    with socket.create_connection(
        ("127.0.0.1", int(web.base_url.rpartition(":")[2])), timeout=5
    ) as connection:
        connection.sendall(f"GET /account HTTP/1.1\r\nHost: x\r\n{lines}\r\n".encode())
        head, _, body = connection.recv(65536).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 OK\r\n")
    assert json.loads(body)["server_name"] == "hq"


def test_a_session_works_on_several_connections(
    apple: FakeApple, web: LoopbackServer, fields: Callable[[], dict[str, str]]
) -> None:
    headers = fields()
    with ThreadPoolExecutor(10) as pool:
        statuses = list(
            pool.map(lambda _: httpx.get(web.base_url + "/account", headers=headers).status_code, range(20))
        )
    assert set(statuses) == {200}
    assert apple.counts == {"GET /session": 1, "GET /account": 20}
    assert {record.session for record in apple.requests[1:]} == {1}
    assert sorted(record.number for record in apple.requests) == list(range(1, 22))


def test_request_variants_of_other_clients_are_accepted(
    apple: FakeApple, server: Server, web: LoopbackServer, sign: Sign
) -> None:
    """No realm, Content-Type on /session, cursor null or left out, PUT to assign, DELETE with a body."""
    serials = apple.add_devices(3, server=server)
    with httpx.Client(
        base_url=web.base_url, headers={"User-Agent": "example/1", "X-Server-Protocol-Version": "3"}
    ) as client:
        authorization = sign(apple.token(), url=web.base_url + "/session", realm=None, oauth_version=None)
        fields = {"Authorization": authorization, "Content-Type": "application/json;charset=UTF8"}
        session = client.get("/session", headers=fields).json()["auth_session_token"]
        client.headers["x-adm-auth-session"] = session
        assert client.post("/server/devices", json={"limit": 2}).json()["more_to_follow"] is True
        fetched = client.post("/server/devices", json={"cursor": None, "limit": 100}).json()
        assert len(fetched["devices"]) == 3
        on_stored = client.post("/server/devices", json={"cursor": fetched["cursor"], "limit": 100})
        assert (on_stored.status_code, on_stored.text) == (400, "EXHAUSTED_CURSOR")
        profile = client.post(
            "/profile", json={"profile_name": "x", "url": "https://x.example", "devices": []}
        ).json()
        body = {"profile_uuid": profile["profile_uuid"], "devices": serials}
        assert set(client.put("/profile/devices", json=body).json()["devices"].values()) == {"SUCCESS"}
        removed = client.request("DELETE", "/profile/devices", json={"devices": serials[:1]})
        assert removed.json() == {"devices": {serials[0]: "SUCCESS"}}
        synced = client.post("/devices/sync", json={"cursor": fetched["cursor"], "limit": 100}).json()
        assert [device["profile_status"] for device in synced["devices"]] == ["assigned"] * 3 + ["removed"]


def test_a_chunked_body_is_read(web: LoopbackServer, fields: Callable[[], dict[str, str]]) -> None:
    def parts() -> Iterator[bytes]:
        yield b'{"limit"'
        yield b": 10}"

    assert httpx.post(web.base_url + "/server/devices", content=parts(), headers=fields()).status_code == 200


def test_the_end_of_a_chunked_body_may_have_fields(web: LoopbackServer) -> None:
    head = b"POST /devices HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    assert raw(web, head + b"2;note=x\r\n{}\r\n0\r\nX-Trailer: 1\r\n\r\n").startswith(b"HTTP/1.1 401 ")


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"POST /devices HTTP/1.1\r\nHost: x\r\nContent-Length: many\r\n\r\n",
        b"POST /devices HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
        b"POST /devices HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999\r\n\r\n",
        b"POST /devices HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n{}",
        b"POST /devices HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n",
        b"POST /devices HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nffffffff\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
    ],
)
def test_broken_request_gets_400_and_the_server_continues(web: LoopbackServer, request_bytes: bytes) -> None:
    assert b"400" in raw(web, request_bytes)
    assert httpx.get(web.base_url + "/account").status_code == 401


def test_many_chunks_are_too_large_together(web: LoopbackServer) -> None:
    chunk = b"800000\r\n" + b" " * 0x800000 + b"\r\n"
    request = (
        b"POST /devices HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
        + chunk * 2
        + b"1\r\n{\r\n0\r\n\r\n"
    )
    assert raw(web, request).startswith(b"HTTP/1.1 400 ")


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (b"HEAD /account HTTP/1.1\r\nHost: x\r\n\r\n", b"405 Method Not Allowed"),
        (b"HEAD /nowhere HTTP/1.1\r\nHost: x\r\n\r\n", b"404 Not Found"),
        (b"BREW /coffee HTTP/1.1\r\nHost: x\r\n\r\n", b"404 Not Found"),
        (b"OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n", b"404 Not Found"),
        (b"GET http://other.example/account HTTP/1.1\r\nHost: other.example\r\n\r\n", b"401 Unauthorized"),
        (b"GET /account HTTP/1.0\r\n\r\n", b"401 Unauthorized"),
    ],
)
def test_odd_requests_are_answered(web: LoopbackServer, request_bytes: bytes, status: bytes) -> None:
    head, _, body = raw(web, request_bytes).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 " + status)
    assert not request_bytes.startswith(b"HEAD") or body == b""


@pytest.mark.parametrize(
    ("version", "asked", "answered"),
    [("1.0", "keep-alive", "keep-alive"), ("1.0", "", "close"), ("1.1", "", ""), ("1.1", "close", "close")],
)
def test_both_sides_agree_whether_the_connection_is_kept(
    web: LoopbackServer, version: str, asked: str, answered: str
) -> None:
    field = f"connection: {asked}\r\n" if asked else ""
    head = raw(web, f"GET /account HTTP/{version}\r\nhost: x\r\n{field}\r\n".encode()).decode().lower()
    assert ("connection: " + answered in head) if answered else ("connection:" not in head)


def test_pipelined_requests_are_answered_in_order(web: LoopbackServer) -> None:
    request = b"POST /account HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n\r\n{}"
    requests = b"GET /account HTTP/1.1\r\nhost: x\r\n\r\n" + request + b"GET / HTTP/1.1\r\nhost: x\r\n\r\n"
    statuses = [part[:3] for part in raw(web, requests).split(b"HTTP/1.1 ")[1:]]
    assert statuses == [b"401", b"405", b"404"]


def test_client_that_disconnects_does_not_affect_the_server(web: LoopbackServer) -> None:
    for _ in range(3):
        with socket.create_connection(("127.0.0.1", int(web.base_url.rpartition(":")[2]))) as connection:
            connection.sendall(b"GET /account HTTP/1.1\r\n")
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
    assert httpx.get(web.base_url + "/account").status_code == 401


@pytest.mark.parametrize("effect", [False, True])
def test_a_connection_can_drop_before_and_after_the_effect(
    apple: FakeApple, server: Server, web: LoopbackServer, fields: Callable[[], dict[str, str]], effect: bool
) -> None:
    headers = fields()
    apple.script("POST /profile", Fault.dropped(effect=effect))
    with pytest.raises(httpx.RemoteProtocolError):
        httpx.post(
            web.base_url + "/profile", json={"profile_name": "x", "url": "https://x.example"}, headers=headers
        )
    assert len(server.profiles) == int(effect)


def test_any_status_can_be_sent(apple: FakeApple, web: LoopbackServer) -> None:
    apple.script("GET /account", Fault.empty(599))
    assert httpx.get(web.base_url + "/account").status_code == 599


def test_slow_response_advances_the_clock_and_waits_only_on_request(
    apple: FakeApple, server: Server, clock: FrozenClock
) -> None:
    before = clock()
    with apple.serve() as web:
        apple.script("GET /account", Fault.slow(600))
        assert httpx.get(web.base_url + "/account").status_code == 401
    assert (clock() - before).total_seconds() == 600
    with apple.serve(real_delays=True) as web:
        apple.script("GET /account", Fault.slow(0.05))
        start = time.monotonic()
        assert httpx.get(web.base_url + "/account").status_code == 401
        assert time.monotonic() - start >= 0.05
    assert (clock() - before).total_seconds() == 600


def test_slow_response_without_a_frozen_clock_does_not_wait() -> None:
    apple = FakeApple()
    apple.script("*", Fault.slow(600))
    with apple.serve() as web:
        assert httpx.get(web.base_url + "/account").status_code == 401


def test_stopping_ends_waiting_requests_and_idle_connections(apple: FakeApple) -> None:
    apple.script("GET /account", Fault.slow(600))
    with apple.serve(real_delays=True) as web, httpx.Client(base_url=web.base_url) as client:
        assert client.get("/session").status_code == 400
        lost: list[Exception] = []

        def wait() -> None:
            try:
                httpx.get(web.base_url + "/account")
            except httpx.HTTPError as error:
                lost.append(error)

        waiting = threading.Thread(target=wait)
        waiting.start()
        while not apple.counts["GET /account"]:
            waiting.join(0.001)
        web.close()
        waiting.join(5)
        assert len(lost) == 1
        with pytest.raises(RuntimeError, match="not running"):
            _ = web.base_url
        web.close()


def test_internal_error_of_the_fake_is_shown(
    web: LoopbackServer, capfd: pytest.CaptureFixture[str], apple: FakeApple
) -> None:
    apple._sessions.number = None  # type: ignore[assignment, method-assign]
    assert raw(web, b"GET /account HTTP/1.1\r\nHost: x\r\n\r\n") == b""
    assert "TypeError" in capfd.readouterr().err


def test_the_server_can_run_twice(apple: FakeApple) -> None:
    web = apple.serve()
    for _ in range(2):
        with web:
            assert httpx.get(web.base_url + "/account").status_code == 401


@pytest.mark.parametrize("wants_client", [False, True])
def test_the_server_speaks_https(
    apple: FakeApple, server: Server, tmp_path: Path, wants_client: bool
) -> None:
    authority = Authority(tmp_path)
    trusting = ssl.create_default_context(cafile=str(authority.file))
    identified = ssl.create_default_context(cafile=str(authority.file))
    identified.load_cert_chain(authority.issue("pyade-client"))
    apple.script("GET /account", Fault.answered(204), forever=True)
    with apple.serve(tls=authority.server_context(wants_client=wants_client)) as web:
        assert web.base_url.startswith("https://127.0.0.1:")
        assert httpx.get(web.base_url + "/account", verify=identified).status_code == 204
        with pytest.raises(httpx.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
            httpx.get(web.base_url + "/account")
        if wants_client:
            with pytest.raises(httpx.TransportError):
                httpx.get(web.base_url + "/account", verify=trusting)
        else:
            assert httpx.get(web.base_url + "/account", verify=trusting).status_code == 204
    assert apple.counts["GET /account"] == 2 - wants_client


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_curl_is_served(
    apple: FakeApple, server: Server, web: LoopbackServer, fields: Callable[[], dict[str, str]]
) -> None:
    """Bodies above 1 MiB make curl send ``Expect: 100-continue``."""
    apple.add_devices(1, server=server)
    options = [part for name, value in fields().items() for part in ("-H", f"{name}: {value}")]
    body: dict[str, Any] = {"devices": ["X" * 12] * 100_000}
    done = subprocess.run(
        ["curl", "-sS", "-m", "10", *options, "--data-binary", "@-", web.base_url + "/devices"],
        input=json.dumps(body).encode(),
        capture_output=True,
        check=True,
    )
    assert json.loads(done.stdout) == {"devices": {"X" * 12: {"response_status": "NOT_ACCESSIBLE"}}}
