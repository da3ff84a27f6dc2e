"""Connections that enforce the time limit of the call that uses them, on every read.

Not part of ``deadlines``, so that importing it does not load httpcore before a client is made.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from typing import Any, NoReturn

import httpcore
import httpx

from pyade.apple.http.deadlines import current_limit

_SLICE_SECONDS = 0.5


def watch(http: httpx.Client) -> None:
    """Make every connection of *http* enforce the limit of the call that uses it.

    httpx applies a timeout to each single read, so a slow trickle of bytes never times out. It has no public
    hook for this, so its connection pools are reached through private attributes.
    """
    for transport in (http._transport, *http._mounts.values()):  # noqa: SLF001
        pool = getattr(transport, "_pool", None)
        if pool is not None:
            pool._network_backend = _Backend(pool._network_backend)  # noqa: SLF001


class _Backend(httpcore.NetworkBackend):
    def __init__(self, backend: httpcore.NetworkBackend) -> None:
        self._backend = backend

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        stream = self._backend.connect_tcp(host, port, _within(timeout), local_address, socket_options)
        return _Stream(stream)

    def connect_unix_socket(
        self, path: str, timeout: float | None = None, socket_options: Iterable[Any] | None = None
    ) -> httpcore.NetworkStream:
        return _Stream(self._backend.connect_unix_socket(path, _within(timeout), socket_options))

    def sleep(self, seconds: float) -> None:
        self._backend.sleep(seconds)


class _Stream(httpcore.NetworkStream):
    def __init__(self, stream: httpcore.NetworkStream) -> None:
        self._stream = stream

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        limit = current_limit.get()
        if limit is None:
            return self._stream.read(max_bytes, timeout)
        ends_at = None if timeout is None else limit.clock() + timeout
        while True:
            left = limit.remaining if ends_at is None else min(limit.remaining, ends_at - limit.clock())
            if left <= 0:
                _timed_out()
            with contextlib.suppress(httpcore.ReadTimeout):
                return self._stream.read(max_bytes, min(left, _SLICE_SECONDS))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._stream.write(buffer, _within(timeout))

    def close(self) -> None:
        self._stream.close()

    def start_tls(
        self, ssl_context: Any, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        return _Stream(self._stream.start_tls(ssl_context, server_hostname, _within(timeout)))

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)


def _within(timeout: float | None) -> float | None:
    limit = current_limit.get()
    return timeout if limit is None else limit.within(timeout)


def _timed_out() -> NoReturn:
    raise httpcore.ReadTimeout
