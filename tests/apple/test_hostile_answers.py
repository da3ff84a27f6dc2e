"""A server that sends responses no server should send: the result is a typed error, without a secret."""

from __future__ import annotations

import contextlib
import gzip
import logging
import pickle
import socket
import struct
import threading
import traceback
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import anyio
import httpx
import pytest

from pyade import errors
from pyade.apple import AsyncClient, Client
from pyade.core.token import Token
from pyade.testing.clock import FrozenClock

if TYPE_CHECKING:
    from tests.apple.conftest import Driver, ScriptedApple

PAGE = b'{"devices": [{"serial_number": "A"}], "cursor": "c", "more_to_follow": false}'
SESSION = b"SESSION-top-secret-1"
RESET = b"reset"


def answer(body: bytes = b"", *fields: bytes, status: int = 200, length: int | None = None) -> bytes:
    declared = len(body) if length is None else length
    head = (b"HTTP/1.1 %d X" % status, b"Connection: close", b"Content-Length: %d" % declared)
    return b"\r\n".join((*head, *fields, b"", body))


def chunked(body: bytes) -> bytes:
    return b"HTTP/1.1 200 OK\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n" + body


READABLE = {
    "single bytes as chunks": chunked(b"".join(b"1\r\n%c\r\n" % byte for byte in PAGE) + b"0\r\n\r\n"),
    "gzip": answer(gzip.compress(PAGE), b"Content-Encoding: gzip"),
    "gzip by its older name": answer(gzip.compress(PAGE), b"Content-Encoding: X-GZip"),
    "gzip in several members": answer(
        b"".join(gzip.compress(PAGE[n : n + 20]) for n in range(0, len(PAGE), 20)) + b"\0" * 9,
        b"Content-Encoding: gzip",
    ),
    "no encoding, by its name": answer(PAGE, b"Content-Encoding: identity"),
    "a wrong media type": answer(PAGE, b"Content-Type: image/png"),
    "a charset that does not exist": answer(PAGE, b"Content-Type: application/json; charset=nonsense"),
    "interim answers": b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\n\r\n" + answer(PAGE),
    "until the end of the connection": b"HTTP/1.0 200 OK\r\n\r\n" + PAGE,
    "a session that cannot be used": answer(PAGE, b"X-ADM-Auth-Session: a b", b"X-ADM-Auth-Session: \xff"),
}
LOST = {
    "nothing": b"",
    "a reset": RESET,
    "a reset inside the body": answer(PAGE[:9], length=500) + RESET,
    "a truncated body": answer(PAGE[:9], length=500),
    "truncated chunks": chunked(b"5\r\n{"),
    "broken chunks": chunked(SESSION + b"\r\n"),
    "a status line that is none": b"garbage " + SESSION + b"\r\n\r\n",
    "a header that is none": answer(PAGE, b"X-ADM-Auth-Session " + SESSION),
    "a session with a forbidden byte": answer(PAGE, b"X-ADM-Auth-Session: " + SESSION + b"\x00"),
    "an endless header": b"HTTP/1.1 200 OK\r\nX: " + b"a" * 300_000,
    "a change of the protocol": b"HTTP/1.1 101 X\r\nUpgrade: x\r\n\r\n",
    "two lengths": answer(PAGE, b"Content-Length: 5"),
    "a redirect to nowhere": answer(b"", b"Location: http://[::1", status=302),
    "gzip that is none": answer(PAGE, b"Content-Encoding: gzip"),
    "gzip without its end": answer(gzip.compress(PAGE)[:-40], b"Content-Encoding: gzip"),
    "gzip with a tail": answer(gzip.compress(PAGE) + b"x", b"Content-Encoding: gzip"),
}
UNREADABLE = {
    "a page": answer(b"<html>sign in</html>", b"Content-Type: text/html"),
    "an encoding that does not exist": answer(PAGE, b"Content-Encoding: snappy"),
    "gzip inside gzip": answer(gzip.compress(gzip.compress(PAGE)), b"Content-Encoding: gzip, gzip"),
    "another charset": answer(PAGE.decode().encode("utf-16")),
    "an empty body": answer(),
}
BOUND = 1024**2
BLANKS = b" " * BOUND
ENDLESS = {
    "plain": answer(PAGE + BLANKS),
    "in chunks": chunked((b"%x\r\n" % 2**16 + b" " * 2**16 + b"\r\n") * 17 + b"0\r\n\r\n"),
    "packed": answer(gzip.compress(PAGE + BLANKS), b"Content-Encoding: GZIP"),
    "packed in members": answer(gzip.compress(PAGE) + gzip.compress(BLANKS) * 2, b"Content-Encoding: gzip"),
    "packed in empty members": answer(gzip.compress(b"") * 1100, b"Content-Encoding: gzip"),
}
LONG = {
    "plain": answer(PAGE + BLANKS[len(PAGE) :]),
    "packed": answer(gzip.compress(PAGE + BLANKS[len(PAGE) :]), b"Content-Encoding: gzip"),
}
REFUSED = {
    "a redirect": answer(b"", b"Location: http://elsewhere.example/", status=302),
    "a status that does not exist": answer(status=999),
    "a refusal that quotes the session": answer(b"unknown session " + SESSION, status=401),
    "one that replaces what it quotes": answer(b"bad " + SESSION, b"X-ADM-Auth-Session: NEW", status=400),
    "one that quotes the token": answer(b"for AT-top-secret", status=400),
    "one that is longer than anything": answer(BLANKS * 2, status=500),
    "one that unpacks to more than anything": answer(
        gzip.compress(BLANKS * 99), b"Content-Encoding: gzip", status=503
    ),
    "one that says it is packed and is not": answer(PAGE, b"Content-Encoding: gzip", status=403),
    "one in an encoding that does not exist": answer(PAGE, b"Content-Encoding: br", status=403),
    "one of a gateway": answer(b"<html>" + SESSION + b"</html>", status=403),
}


class HostileServer:
    """Answers ``/session`` properly and any other request with the bytes under test, as long as there are."""

    def __init__(self) -> None:
        self.reply: bytes | None = None
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.base_url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            with connection, connection.makefile("rb") as file:
                head = list(iter(file.readline, b"\r\n"))
                file.read(sum(int(line[15:]) for line in head if line.lower().startswith(b"content-length:")))
                reply = answer(PAGE) if self.reply is None else self.reply
                if b" /session " in head[0]:
                    reply = answer(b'{"auth_session_token": "%s"}' % SESSION)
                # A client that has read enough of a refusal hangs up.
                with contextlib.suppress(OSError):
                    connection.sendall(reply.removesuffix(RESET))
                if reply.endswith(RESET):
                    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def server() -> Iterator[HostileServer]:
    running = HostileServer()
    yield running
    running.close()


@pytest.fixture(params=["sync", "asyncio", "trio"])
def fetch(
    request: pytest.FixtureRequest, server: HostileServer, token: Token, clock: FrozenClock
) -> Callable[[bytes], Any]:
    """Return a function that fetches a page which is answered with some bytes, and then another page."""
    options: dict[str, Any] = {
        "base_url": server.base_url,
        "clock": clock,
        "retries": 1,
        "random": lambda: 0.0,
    }

    def blocking(reply: bytes) -> Any:
        with Client(token, sleep=clock.sleep, **options) as client:
            server.reply = reply
            try:
                return client.fetch_devices()
            finally:
                server.reply = None
                assert client.fetch_devices().cursor == "c"

    async def waiting(reply: bytes) -> Any:
        async with AsyncClient(token, sleep=clock.sleep_async, **options) as client:
            server.reply = reply
            try:
                return await client.fetch_devices()
            finally:
                server.reply = None
                assert (await client.fetch_devices()).cursor == "c"

    def looping(reply: bytes) -> Any:
        return anyio.run(waiting, reply, backend=request.param)

    return blocking if request.param == "sync" else looping


@pytest.fixture
def low_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lower the bound for answers, so that fewer bytes have to be sent."""
    monkeypatch.setattr("pyade.apple.http.calls.RECORD_BYTES", 0)


@pytest.fixture(autouse=True)
def log(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    caplog.set_level(logging.INFO)
    yield
    assert "top-secret" not in caplog.text


def failure(fetch: Callable[[bytes], Any], reply: bytes) -> errors.PyadeError:
    """Return the error of a fetch; neither it, nor its traceback, nor its pickle shows a secret."""
    with pytest.raises(errors.PyadeError) as caught:
        fetch(reply)
    error = caught.value
    for shown in (repr(error), repr(pickle.dumps(error)), "".join(traceback.format_exception(error))):
        assert "top-secret" not in shown
    return error


@pytest.mark.parametrize("name", READABLE)
def test_an_odd_answer_is_read(name: str, fetch: Callable[[bytes], Any]) -> None:
    assert [device.serial_number for device in fetch(READABLE[name]).devices] == ["A"]


@pytest.mark.parametrize("name", LOST)
def test_a_broken_answer_is_no_answer(name: str, fetch: Callable[[bytes], Any]) -> None:
    error = failure(fetch, LOST[name])
    assert isinstance(error, errors.TransportError)
    assert error.effect_unknown
    assert error.operation == "fetch devices"


@pytest.mark.parametrize("name", UNREADABLE)
def test_a_success_that_cannot_be_read_is_said_so(name: str, fetch: Callable[[bytes], Any]) -> None:
    assert isinstance(failure(fetch, UNREADABLE[name]), errors.ResponseError)


@pytest.mark.parametrize("name", ENDLESS)
def test_an_answer_is_read_up_to_a_bound(name: str, low_bound: None, fetch: Callable[[bytes], Any]) -> None:
    error = failure(fetch, ENDLESS[name])
    assert isinstance(error, errors.ResponseError)
    assert (error.status, error.operation) == (200, "fetch devices")
    assert "the response is longer than 1,024 KiB" in str(error)


@pytest.mark.parametrize("name", LONG)
def test_an_answer_may_be_as_long_as_the_bound(
    name: str, low_bound: None, fetch: Callable[[bytes], Any]
) -> None:
    assert fetch(LONG[name]).cursor == "c"


@pytest.mark.parametrize("name", REFUSED)
def test_a_refusal_shows_no_session_that_it_quotes(name: str, fetch: Callable[[bytes], Any]) -> None:
    assert isinstance(failure(fetch, REFUSED[name]), errors.AppleError)


def test_a_session_is_read_up_to_a_bound(client: Driver, apple: ScriptedApple) -> None:
    """The next call asks anew."""
    apple.session_script = [httpx.Response(200, content=BLANKS[: 2**16 + 1])]
    with pytest.raises(errors.ResponseError, match=r"open a session.*longer than 64 KiB"):
        client.account()
    apple.script = [httpx.Response(200, json={"server_name": "dev"})]
    assert client.account().server_name == "dev"


class TestValues:
    @pytest.mark.parametrize(
        ("method", "args"),
        [
            ("device_details", (["\ud800"],)),
            ("profile", ("\ud800",)),
            ("profile", ("a" * 70_000,)),
            ("define_profile", ({"profile_name": object()},)),
        ],
    )
    def test_what_cannot_be_sent_is_refused_before_it_is_sent(
        self, client: Driver, apple: ScriptedApple, method: str, args: tuple[Any, ...]
    ) -> None:
        with pytest.raises(errors.InvalidRequestError, match="a value cannot be sent") as caught:
            getattr(client, method)(*args)
        assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)
        assert not apple.requests

    def test_a_profile_may_name_no_devices_with_null(self, client: Driver, apple: ScriptedApple) -> None:
        apple.script = [httpx.Response(200, json={"profile_uuid": "P"})]
        assert dict(client.define_profile({"devices": None}).results.results) == {}
