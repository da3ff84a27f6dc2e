"""A minimal stand-in for Apple's service in its own process: HTTP/1.1 over loopback with cached responses.

It must be much faster than the measured code, so each response is built once and cached, and requests are
parsed only as far as needed to select one. ``FakeApple`` checks Apple's rules, which takes longer.

``http://127.0.0.1:<port>/<name of a fleet>`` is the address of a service with those Macs. The process ends
when its standard input is closed.
"""

from __future__ import annotations

import asyncio
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache

import msgspec

from fleet import PROFILE_UUID, Fleet, account, record

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_READ = '"response_status":"SUCCESS"'
_HEAD = "HTTP/1.1 {} \r\nContent-Type: application/json;charset=UTF8\r\nContent-Length: {}\r\n\r\n"


class _Body(msgspec.Struct):
    cursor: str = ""
    devices: tuple[str, ...] = ()


_read = msgspec.json.Decoder(_Body).decode


@contextmanager
def serving() -> Iterator[str]:
    """Start the process, and yield its address; append the name of a fleet."""
    with subprocess.Popen(
        [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            yield f"http://127.0.0.1:{int(process.stdout.readline())}/"
        finally:
            process.stdin.close()


class _Connection(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport, self._received = transport, b""

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, ended, rest = self._received.partition(b"\r\n\r\n")
        found = _LENGTH.search(head)
        if ended and len(rest) >= (length := int(found[1]) if found else 0):
            method, target, _ = head.split(b" ", 2)
            self._transport.write(_answer(method.decode(), target.decode(), rest[:length]))
            self._received = rest[length:]


def _answer(method: str, target: str, content: bytes) -> bytes:
    name, _, path = target.lstrip("/").partition("/")
    if path in ("session", "account"):
        return _plain(path)
    body = _read(content)
    if path in ("server/devices", "devices/sync"):
        return _page(name, body.cursor or "f0")
    if method == "POST" and path in ("devices", "profile/devices"):
        return _devices(path, body.devices)
    if method == "POST" and path == "profile":
        return _whole(f'{{"profile_uuid":"{PROFILE_UUID}","devices":{{}}}}'.encode())
    return _whole(b'"NOT_FOUND"', "404")


@lru_cache(maxsize=400)
def _page(name: str, cursor: str) -> bytes:
    fleet, number = Fleet.named(name), int(cursor[1:])
    if cursor.startswith("f"):
        return _whole(fleet.page(number))
    if name.startswith("assigned"):
        return _whole(fleet.changes(number))
    return _whole(fleet.changes(0, 0).replace(b'"s1"', f'"{cursor}"'.encode()))


@lru_cache(maxsize=400)
def _devices(path: str, serials: tuple[str, ...]) -> bytes:
    if path == "profile/devices":
        shown = ",".join(f'"{one}":"SUCCESS"' for one in serials)
    else:
        shown = ",".join(f'"{one}":{record(one, True, _READ)}' for one in serials)
    return _whole(f'{{"profile_uuid":"{PROFILE_UUID}","devices":{{{shown}}}}}'.encode())


def _plain(path: str) -> bytes:
    return _whole(account() if path == "account" else b'{"auth_session_token":"benchmark-session"}')


def _whole(content: bytes, status: str = "200") -> bytes:
    return _HEAD.format(status, len(content)).encode() + content


async def _serve() -> None:
    loop, ended = asyncio.get_running_loop(), asyncio.Event()

    def wait() -> None:
        sys.stdin.read()
        loop.call_soon_threadsafe(ended.set)

    threading.Thread(target=wait, daemon=True).start()
    server = await loop.create_server(_Connection, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await ended.wait()
    server.close()


if __name__ == "__main__":
    asyncio.run(_serve())
