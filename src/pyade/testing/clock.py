"""A clock that moves only when it is told to."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta

from pyade.core.arguments import check_arguments
from pyade.errors import ArgumentError


@check_arguments(but=("start",))
class FrozenClock:
    """A clock for tests: call it for the time, advance it, or hand its ``sleep`` to what wants to wait.

    Safe for several threads.

    Args:
        start: The first time it shows, timezone-aware; converted to UTC.

    Attributes:
        sleeps: The seconds of every ``sleep`` and ``sleep_async`` so far, in order.
    """

    def __init__(self, start: datetime = datetime(2025, 1, 1, tzinfo=UTC)) -> None:
        if not isinstance(start, datetime):
            raise ArgumentError("FrozenClock", "start", type(start).__name__, "a datetime")
        if start.tzinfo is None:
            msg = f"start {start.isoformat()}: a time with a time zone is needed, such as tzinfo=UTC"
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
        """Advance by *seconds* at once instead of waiting, and note it in ``sleeps``."""
        self.advance(seconds)
        self.sleeps.append(seconds)

    async def sleep_async(self, seconds: float) -> None:
        """Do what ``sleep`` does, for asynchronous code."""
        self.sleep(seconds)

    def __repr__(self) -> str:
        return f"FrozenClock({self().isoformat()})"
