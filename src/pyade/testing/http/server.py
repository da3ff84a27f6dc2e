"""Connect clients to a fake: an httpx transport in the same process, and an HTTP server on loopback."""

from __future__ import annotations

import contextlib
import functools
import http.server
import socket
import ssl
import sys
import threading
from collections.abc import Callable
from http import HTTPStatus
from types import TracebackType
from typing import Any, Self

import httpx

from pyade.core.arguments import check_arguments
from pyade.testing.clock import FrozenClock
from pyade.testing.http.wire import ServedResponse, WireRequest, WireResponse, join_headers, reason


@check_arguments
class FakeTransport(httpx.BaseTransport, httpx.AsyncBaseTransport):
    """An httpx transport that passes requests to a fake, for ``Client`` and ``AsyncClient``.

    A slow response moves a ``FrozenClock`` and, if it is slower than the read timeout of the request, raises
    ``httpx.ReadTimeout`` after the request was carried out. It never waits for real time.

    Args:
        handle: The function that answers requests, such as ``FakeApple.handle``.
        clock: The clock of the fake.
    """

    def __init__(self, handle: Callable[[WireRequest], ServedResponse], clock: Callable[[], object]) -> None:
        self._handle = handle
        self._clock = clock

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Answer a request of ``httpx.Client``."""
        return self._answer(request, request.read())

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Answer a request of ``httpx.AsyncClient``."""
        return self._answer(request, await request.aread())

    def _answer(self, request: httpx.Request, body: bytes) -> httpx.Response:
        served = self._handle(
            WireRequest(
                method=request.method,
                scheme=request.url.scheme,
                host=request.headers.get("host", request.url.netloc.decode()),
                target=request.url.raw_path.decode(),
                headers=join_headers(request.headers.multi_items()),
                body=body,
            )
        )
        if not served.reached:
            raise httpx.ConnectError("connection refused", request=request)
        self._wait(request, served.delay_seconds)
        if served.response is None:
            raise httpx.RemoteProtocolError(
                "Server disconnected without sending a response.", request=request
            )
        return httpx.Response(
            served.response.status,
            headers=dict(served.response.headers),
            content=served.response.body,
            request=request,
        )

    def _wait(self, request: httpx.Request, seconds: float) -> None:
        if not seconds:
            return
        timeout: float | None = request.extensions.get("timeout", {}).get("read")
        too_slow = timeout is not None and seconds > timeout
        if isinstance(self._clock, FrozenClock):
            self._clock.advance(timeout if timeout is not None and too_slow else seconds)
        if too_slow:
            raise httpx.ReadTimeout("the response did not come in time", request=request)


_LARGEST_BODY = 16 * 1024 * 1024


@check_arguments
class LoopbackServer:
    """An HTTP/1.1 server on 127.0.0.1, with keep-alive and a thread per connection.

    Args:
        handle: The function that answers requests, such as ``FakeApple.handle``.
        clock: The clock of the fake.
        real_delays: True waits for real before a slow response is sent.
        port: Its port; 0 for a free one.
        tls: A server's context with a certificate, to speak HTTPS; None for plain HTTP.
    """

    def __init__(
        self,
        handle: Callable[[WireRequest], ServedResponse],
        clock: Callable[[], object],
        *,
        real_delays: bool,
        port: int = 0,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._handle = handle
        self._clock = clock
        self._port = port
        self._real_delays = real_delays
        self._tls = tls
        self._stopping = threading.Event()
        self._server: _Server | None = None
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        self._stopping.clear()
        self._server = _Server(("127.0.0.1", self._port), self._serve, self._tls)
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.01,), name="pyade fake", daemon=True
        )
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Stop the server and close every connection."""
        server, thread = self._server, self._thread
        self._server = self._thread = None
        self._stopping.set()
        if server is not None and thread is not None:
            server.shutdown()
            thread.join()
            server.close_connections()
            server.server_close()

    @property
    def base_url(self) -> str:
        """Such as ``http://127.0.0.1:49152``, without a slash at the end.

        Raises:
            RuntimeError: The server is not running.
        """
        if self._server is None:
            msg = "the server is not running: use it in a with statement"
            raise RuntimeError(msg)
        scheme = "http" if self._tls is None else "https"
        return f"{scheme}://127.0.0.1:{self._server.server_address[1]}"

    def _serve(self, request: WireRequest) -> WireResponse | None:
        served = self._handle(request)
        if served.delay_seconds:
            if self._real_delays:
                if self._stopping.wait(served.delay_seconds):
                    return None
            elif isinstance(self._clock, FrozenClock):
                self._clock.advance(served.delay_seconds)
        return served.response


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = False
    request_queue_size = 128

    def __init__(
        self,
        address: tuple[str, int],
        answer: Callable[[WireRequest], WireResponse | None],
        tls: ssl.SSLContext | None,
    ) -> None:
        self._tls = tls
        self._connections: set[socket.socket] = set()
        self._connections_lock = threading.Lock()
        super().__init__(address, functools.partial(_Handler, answer))

    def server_bind(self) -> None:
        # The base class looks its own name up in DNS, which can take seconds.
        super(http.server.HTTPServer, self).server_bind()

    def get_request(self) -> tuple[socket.socket, Any]:
        connection, address = super().get_request()
        if self._tls is not None:
            # The handshake comes with the first read, in the thread of the connection.
            connection = self._tls.wrap_socket(connection, server_side=True, do_handshake_on_connect=False)
        return connection, address

    def process_request(self, request: Any, client_address: Any) -> None:
        with self._connections_lock:
            self._connections.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        with self._connections_lock:
            self._connections.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignore a client that disconnects, which is normal in tests; print any other error."""
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)

    def close_connections(self) -> None:
        with self._connections_lock:
            for connection in self._connections:
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def __init__(self, answer: Callable[[WireRequest], WireResponse | None], *connection: Any) -> None:
        self._answer = answer
        super().__init__(*connection)

    def __getattr__(self, name: str) -> Callable[[], None]:
        # The base class looks for do_GET and so on; the fake itself refuses unknown methods.
        if name.startswith("do_"):
            return self._serve
        raise AttributeError(name)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name of the base class
        """Print nothing: the fake has its own request log."""

    def _serve(self) -> None:
        try:
            body = self._body()
        except ValueError:
            self._send(WireResponse(status=400, body=b"Bad Request"), keep=False)
            return
        response = self._answer(
            WireRequest(
                method=self.command,
                scheme="https" if isinstance(self.connection, ssl.SSLSocket) else "http",
                host=self.headers.get("Host", ""),
                target=self.path,
                headers=join_headers(self.headers.items()),
                body=body,
            )
        )
        if response is None:
            self.close_connection = True
            return
        self._send(response, keep=not self.close_connection)

    def _body(self) -> bytes:
        """Return the body of the request.

        Raises:
            ValueError: Its length is malformed, wrong or too large.
        """
        if "chunked" in self.headers.get("Transfer-Encoding", "").lower():
            return self._chunks()
        return self._read(int(self.headers.get("Content-Length") or 0))

    def _chunks(self) -> bytes:
        body = b""
        while size := int(self.rfile.readline(64).split(b";")[0], 16):
            body += self._read(size)
            self.rfile.readline(8)
            if len(body) > _LARGEST_BODY:
                raise ValueError(len(body))
        while self.rfile.readline(1024).strip():
            pass
        return body

    def _read(self, size: int) -> bytes:
        if not 0 <= size <= _LARGEST_BODY:
            raise ValueError(size)
        data = self.rfile.read(size)
        if len(data) != size:
            raise ValueError(size)
        return data

    def _send(self, response: WireResponse, *, keep: bool) -> None:
        """Send *response* in one write: a second one would wait for the acknowledgement of the first."""
        headers = dict(response.headers)
        if response.status != HTTPStatus.NO_CONTENT:
            headers["Content-Length"] = str(len(response.body))
        if not keep:
            self.close_connection = True
            headers["Connection"] = "close"
        elif self.request_version == "HTTP/1.0":
            # Without this header an HTTP/1.0 client waits until the connection closes.
            headers["Connection"] = "keep-alive"
        head = f"HTTP/1.1 {response.status} {reason(response.status)}\r\n" + "".join(
            f"{name}: {value}\r\n" for name, value in headers.items()
        )
        body = b"" if self.command == "HEAD" else response.body
        self.wfile.write(head.encode("latin-1") + b"\r\n" + body)
