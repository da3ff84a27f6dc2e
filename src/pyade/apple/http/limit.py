"""When a call must be over: at its deadline, and soon after the program was asked to stop.

Rules of this file:

1. The deadline is for the whole call: waiting for a session, every try, and the last byte of its answer.
2. A stop is heard before a request is sent and while something is waited for. An answer that is under way has
   some seconds to come, so that what Apple did becomes known.
3. Blocking reads end at both, however slowly bytes come, where pyade made the connection. With a transport of
   the caller's they end at its own timeout.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextvars import ContextVar
from typing import Any, NoReturn

import attrs
import httpcore
import httpx

STOP_SECONDS = 4.0
"""How long an answer that is under way may still take once a stop was asked for."""

_SLICE_SECONDS = 0.5

_stop: ContextVar[threading.Event | None] = ContextVar("pyade_stop", default=None)
_limit: ContextVar[Limit | None] = ContextVar("pyade_limit", default=None)


class StopWorkError(BaseException):
    """Ends a piece of work that was asked to stop, between two steps."""


@contextlib.contextmanager
def heeding(stop: threading.Event) -> Iterator[None]:
    """End the calls of this thread in ``StopWorkError`` once *stop* is set, while the block runs."""
    before = _stop.set(stop)
    try:
        yield
    finally:
        _stop.reset(before)


def pause(seconds: float) -> None:
    """Wait, and no longer than until a stop is asked for.

    Raises:
        StopWorkError: A stop was asked for.
    """
    stop = _stop.get()
    if stop is None:
        time.sleep(seconds)
    elif stop.wait(seconds):
        raise StopWorkError


def hear_stop() -> None:
    """Raise ``StopWorkError`` if a stop was asked for."""
    stop = _stop.get()
    if stop is not None and stop.is_set():
        raise StopWorkError


@attrs.define
class Limit:
    """Until when a call may take.

    Attributes:
        seconds: From its start.
        clock: Returns seconds that only grow.
    """

    seconds: float
    clock: Callable[[], float] = time.monotonic
    _ends_at: float = attrs.field(init=False)
    _stops_at: float | None = attrs.field(init=False, default=None)

    def __attrs_post_init__(self) -> None:
        self._ends_at = self.clock() + self.seconds

    @property
    def remaining(self) -> float:
        """Seconds that are left; 0 or less if there are none."""
        now, stop = self.clock(), _stop.get()
        if stop is not None and stop.is_set() and self._stops_at is None:
            self._stops_at = now + STOP_SECONDS
        return (self._ends_at if self._stops_at is None else min(self._ends_at, self._stops_at)) - now

    @property
    def is_stopped(self) -> bool:
        """True once a stop was asked for and there is no time left."""
        return self.remaining <= 0 and self._stops_at is not None

    def within(self, timeout: float | None) -> float:
        """Return *timeout*, or what is left if that is less; never less than a moment."""
        left = max(self.remaining, 0.001)
        return left if timeout is None else min(timeout, left)

    @contextlib.contextmanager
    def watched(self) -> Iterator[None]:
        """Let the connections of ``watch`` keep this limit while the block runs in this thread."""
        before = _limit.set(self)
        try:
            yield
        finally:
            _limit.reset(before)


def watch(http: httpx.Client) -> None:
    """Let every connection that *http* makes keep the limit of the call that uses it.

    httpx hands a timeout to each single read, so that a byte now and then outlives any of them, and offers no
    place for this: its pools are asked by their private name.
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
        limit = _limit.get()
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
    limit = _limit.get()
    return timeout if limit is None else limit.within(timeout)


def _timed_out() -> NoReturn:
    raise httpcore.ReadTimeout
