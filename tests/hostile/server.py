"""A server on a real socket that sends any bytes: device assignment, the Business API and its authorization.

1. The address decides the response: ``/<kind>/<attacked>/...``, where *attacked* is ``session``, ``call`` or
   ``page``. Requests that are not attacked get a valid response. So one server serves any number of clients
   at a time.
2. A kind that acts before any request has its own port.
3. No response takes longer than ``LONGEST_S``, so that a client that never gives up fails and does not hang.
"""

from __future__ import annotations

import asyncio
import contextlib
import enum
import json
import socket
import struct
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Self, TypeAlias

import attrs

LONGEST_S = 4.0
SESSION = "SESSION-top-secret"
ACCESS = "top-secret-access"
SESSIONS: Mapping[str, Any] = {
    "/session": {"auth_session_token": SESSION},
    "/token": {"access_token": ACCESS, "token_type": "Bearer", "expires_in": 3600},
}
"""The valid response to a request for a session or an access token."""

TRAP = "/trap"
"""A path that is requested only if a client followed a response."""


class End(enum.Enum):
    """What the server does with the connection after it sent its data; without one of these it closes it."""

    KEEP = "wait for the next request"
    HOLD = "send nothing more, and wait until the client closes"
    HALF = "close its own direction, and wait until the client closes"
    RESET = "close with RST"


Piece: TypeAlias = bytes | float | End
"""Bytes to send, seconds to wait, or the end of the connection."""


@attrs.frozen(kw_only=True)
class Request:
    """A received request.

    Attributes:
        method: In upper case.
        path: Without the part that selects the kind.
        query: Unchanged.
        headers: With names in lower case.
        body: The complete body.
        good: The body of a valid response.
    """

    method: str = "GET"
    path: str = "/"
    query: str = ""
    headers: Mapping[str, str] = attrs.field(factory=dict)
    body: bytes = b""
    good: bytes = b"{}"

    @property
    def is_session(self) -> bool:
        """True if it asks for a session or an access token."""
        return self.path in SESSIONS


Answerer: TypeAlias = Callable[[Request], Iterable[Piece]]


@attrs.frozen
class Connecting:
    """A kind that acts as soon as a client connects; None refuses connections."""

    pieces: Callable[[], Iterable[Piece]] | None


class HostileServer:
    """Runs in its own thread until it is closed.

    Args:
        kinds: The responses, by name.
        good: The bodies of valid responses, by method and path.

    Attributes:
        counts: The number of requests, by kind.
        errors: The errors of the server itself.
        cookies: The number of requests with a cookie.
        trapped: The number of requests to an address from a response.
    """

    def __init__(
        self, kinds: Mapping[str, Answerer | Connecting], good: Mapping[tuple[str, str], bytes]
    ) -> None:
        self.counts: Counter[str] = Counter()
        self.errors: list[Exception] = []
        self.cookies = 0
        self.trapped = 0
        self._kinds = kinds
        self._good = good
        self._ports: dict[str, int] = {}
        self._idle: list[socket.socket] = []
        self._listeners: list[asyncio.Server] = []
        self._tasks: set[asyncio.Task[Any]] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._listen(), self._loop).result()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        asyncio.run_coroutine_threadsafe(self._end(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
        for idle in self._idle:
            idle.close()

    @property
    def ports(self) -> Mapping[str, int]:
        """Return the ports by kind; "" is the port of all other kinds."""
        return dict(self._ports)

    async def _listen(self) -> None:
        self._ports[""] = await self._open(self._serve)
        for name, kind in self._kinds.items():
            if isinstance(kind, Connecting) and kind.pieces is None:
                self._idle.append(socket.socket())
                self._idle[-1].bind(("127.0.0.1", 0))
                self._ports[name] = self._idle[-1].getsockname()[1]
            elif isinstance(kind, Connecting):
                self._ports[name] = await self._open(self._respond_on_connect(kind))

    async def _open(self, serve: Callable[..., Any]) -> int:
        async def served(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.current_task()
            assert task is not None
            self._tasks.add(task)
            try:
                with contextlib.suppress(OSError, TimeoutError, asyncio.IncompleteReadError):
                    await serve(reader, writer)
            except Exception as error:  # noqa: BLE001 - raised when the server ends
                self.errors.append(error)
            finally:
                self._tasks.discard(task)
                writer.close()

        listener = await asyncio.start_server(served, "127.0.0.1", 0, backlog=1000)
        self._listeners.append(listener)
        port: int = listener.sockets[0].getsockname()[1]
        return port

    async def _end(self) -> None:
        for listener in self._listeners:
            listener.close()
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.sleep(0)  # closed connections end a moment later

    def _respond_on_connect(self, kind: Connecting) -> Callable[..., Any]:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            assert kind.pieces is not None
            await _play(kind.pieces(), reader, writer)

        return serve

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            if TRAP.encode() in head.partition(b"\r\n")[0]:
                self.trapped += 1
                return
            name, request, is_attacked = self._read(head.decode("latin-1"))
            length = int(request.headers.get("content-length", 0))
            request = attrs.evolve(request, body=await reader.readexactly(length))
            self.counts[name] += 1
            self.cookies += "cookie" in request.headers
            kind = self._kinds.get(name)
            answerer = kind if is_attacked and callable(kind) else good_answer
            if await _play(answerer(request), reader, writer) is not End.KEEP:
                return

    def _read(self, head: str) -> tuple[str, Request, bool]:
        first, *lines = head.split("\r\n")
        method, target, _ = first.split(" ")
        _, name, attacked, path = target.split("/", 3)
        path, _, query = f"/{path}".partition("?")
        fields = (line.partition(":") for line in lines if line)
        body = SESSIONS.get(path)
        request = Request(
            method=method,
            path=path,
            query=query,
            headers={key.lower(): value.strip() for key, _, value in fields},
            good=self._good.get((method, path), b"{}") if body is None else json.dumps(body).encode(),
        )
        is_attacked = {"session": request.is_session, "page": path == "/server/devices"}
        return name, request, is_attacked.get(attacked, not request.is_session)


def good_answer(request: Request) -> Iterable[Piece]:
    """Answer as Apple does, on a connection that stays open."""
    length = b"Content-Length: %d" % len(request.good)
    yield b"\r\n".join([b"HTTP/1.1 200 OK", b"Content-Type: application/json", length, b"", request.good])
    yield End.KEEP


async def _play(
    pieces: Iterable[Piece], reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> End | None:
    end: End | None = None
    async with asyncio.timeout(LONGEST_S):
        for piece in pieces:
            if isinstance(piece, End):
                end = piece
                break
            if isinstance(piece, float):
                await asyncio.sleep(piece)
                continue
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(0)  # a large write must not block the other connections
        if end is End.RESET:
            # So that the client has read the data: a reset discards unread data.
            await asyncio.sleep(0.02)
            linger = struct.pack("ii", 1, 0)
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            writer.transport.abort()
        if end is End.HALF:
            writer.write_eof()
        if end in (End.HOLD, End.HALF):
            await reader.read()
    return end
