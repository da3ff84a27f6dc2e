"""The time limit of a call: its deadline, and a requested stop of the program.

The rules of this file:

1. The deadline covers the whole call: waiting for a session, every try, and the last byte of its response.
2. A requested stop takes effect before a request is sent and during waits. A response that is under way has
   ``STOP_SECONDS`` left, so that the outcome at Apple becomes known.
3. Both end blocking reads, however slowly bytes arrive, on connections that pyade made. With a transport of
   the caller's, reads end at that transport's own timeout.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from contextvars import ContextVar

import attrs

STOP_SECONDS = 4.0
"""Seconds that a response under way may still take after a stop was requested."""

_stop: ContextVar[threading.Event | None] = ContextVar("pyade_stop", default=None)
current_limit: ContextVar[Limit | None] = ContextVar("pyade_limit", default=None)
"""The limit of the call under way in this thread; ``watched`` connections enforce it."""


class StopWorkError(BaseException):
    """Ends work that was asked to stop, between two steps."""


@contextlib.contextmanager
def stop_when_set(stop: threading.Event) -> Iterator[None]:
    """Make the calls of this thread raise ``StopWorkError`` once *stop* is set, while the block runs."""
    before = _stop.set(stop)
    try:
        yield
    finally:
        _stop.reset(before)


def pause(seconds: float) -> None:
    """Wait for *seconds*, or until a stop is requested.

    Raises:
        StopWorkError: A stop was requested.
    """
    stop = _stop.get()
    if stop is None:
        time.sleep(seconds)
    elif stop.wait(seconds):  # rule 2
        raise StopWorkError


def check_stop() -> None:
    """Raise ``StopWorkError`` if a stop was requested."""
    stop = _stop.get()
    if stop is not None and stop.is_set():
        raise StopWorkError


@attrs.define
class Limit:
    """The time limit of one call (rule 1).

    Attributes:
        seconds: Time for the call, from the creation of this object.
        clock: A monotonic clock, in seconds.
    """

    seconds: float
    clock: Callable[[], float] = time.monotonic
    _ends_at: float = attrs.field(init=False)
    _stops_at: float | None = attrs.field(init=False, default=None)

    def __attrs_post_init__(self) -> None:
        self._ends_at = self.clock() + self.seconds

    @property
    def remaining(self) -> float:
        """Seconds that are left; 0 or less if the time is over."""
        now, stop = self.clock(), _stop.get()
        if stop is not None and stop.is_set() and self._stops_at is None:
            self._stops_at = now + STOP_SECONDS  # rule 2
        return (self._ends_at if self._stops_at is None else min(self._ends_at, self._stops_at)) - now

    @property
    def is_stopped(self) -> bool:
        """True if a stop was requested and no time is left."""
        return self.remaining <= 0 and self._stops_at is not None

    def within(self, timeout: float | None) -> float:
        """Return *timeout*, or the seconds that are left if these are fewer; never less than 0.001."""
        left = max(self.remaining, 0.001)  # rule 1
        return left if timeout is None else min(timeout, left)

    @contextlib.contextmanager
    def watched(self) -> Iterator[None]:
        """Make ``watched`` connections enforce this limit while the block runs in this thread."""
        before = current_limit.set(self)  # rule 3
        try:
            yield
        finally:
            current_limit.reset(before)
