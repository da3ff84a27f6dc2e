"""A clock for tests, which moves only when a test moves it."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta

from pyade.core.arguments import check_arguments
from pyade.errors import ArgumentError


@check_arguments(but=("start",))
class FrozenClock:
    """A clock for tests: call it to read the time, advance it, or pass its ``sleep`` to code that waits.

    Thread-safe.

    Args:
        start: The initial time, timezone-aware; converted to UTC.

    Attributes:
        sleeps: The seconds of every ``sleep`` and ``sleep_async`` so far, in order.
    """

    def __init__(self, start: datetime = datetime(2025, 1, 1, tzinfo=UTC)) -> None:
        if not isinstance(start, datetime):
            raise ArgumentError("FrozenClock", "start", type(start).__name__, "a datetime")
        if start.tzinfo is None:
            msg = f"start {start.isoformat()} has no time zone: give one, such as tzinfo=UTC"
            raise ValueError(msg)
        self._lock = threading.Lock()
        self._now = start.astimezone(UTC)
        self.sleeps: list[float] = []

    def __call__(self) -> datetime:
        """Return the current time, UTC."""
        with self._lock:
            return self._now

    def advance(
        self, seconds: float = 0, *, minutes: float = 0, hours: float = 0, days: float = 0
    ) -> datetime:
        """Move the clock forward, or back with negative numbers, and return the new time."""
        with self._lock:
            self._now += timedelta(seconds=seconds, minutes=minutes, hours=hours, days=days)
            return self._now

    def sleep(self, seconds: float) -> None:
        """Advance by *seconds* instead of waiting, and append it to ``sleeps``."""
        self.advance(seconds)
        self.sleeps.append(seconds)

    async def sleep_async(self, seconds: float) -> None:
        """Do what ``sleep`` does, for asynchronous code."""
        self.sleep(seconds)

    def __repr__(self) -> str:
        return f"FrozenClock({self().isoformat()})"
