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
from collections.abc import Callable, Iterator
from contextvars import ContextVar

import attrs

STOP_SECONDS = 4.0
"""How long an answer that is under way may still take once a stop was asked for."""

_stop: ContextVar[threading.Event | None] = ContextVar("pyade_stop", default=None)
current_limit: ContextVar[Limit | None] = ContextVar("pyade_limit", default=None)
"""The limit of the call that is under way in this thread, for the connections that keep it."""


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
        before = current_limit.set(self)
        try:
            yield
        finally:
            current_limit.reset(before)
