"""A clock for tests, which moves only when a test moves it."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta
from typing import Any

from pyade.core.arguments import check_arguments


@check_arguments
class FrozenClock:
    """A clock for tests: call it to read the time, advance it, or pass its ``sleep`` to code that waits.

    Thread-safe.

    Args:
        start: The initial time, timezone-aware; converted to UTC.

    Attributes:
        sleeps: The seconds of every ``sleep`` and ``sleep_async`` so far, in order.
    """

    def __init__(self, start: datetime = datetime(2025, 1, 1, tzinfo=UTC)) -> None:
        self._lock = threading.Lock()
        self._now = start.astimezone(UTC)
        self.sleeps: list[float] = []

    def __call__(self) -> datetime:
        """Return the current time, UTC."""
        with self._lock:
            return self._now

    def advance(
        self,
        by: timedelta | float = 0,
        *,
        seconds: float = 0,
        minutes: float = 0,
        hours: float = 0,
        days: float = 0,
    ) -> datetime:
        """Move the clock forward, or back by a negative span, and return the new time, UTC.

        Args:
            by: A span, or a number of seconds.
            seconds: Added to *by*, as are the others.
            minutes: Likewise.
            hours: Likewise.
            days: Of 24 hours.
        """
        span = by if isinstance(by, timedelta) else timedelta(seconds=by)
        with self._lock:
            self._now += span + timedelta(seconds=seconds, minutes=minutes, hours=hours, days=days)
            return self._now

    def sleep(self, seconds: float) -> None:
        """Advance by *seconds* instead of waiting, and append it to ``sleeps``."""
        self.advance(seconds)
        self.sleeps.append(seconds)

    async def sleep_async(self, seconds: float) -> None:
        """Do what ``sleep`` does, for asynchronous code."""
        self.sleep(seconds)

    def __getstate__(self) -> dict[str, Any]:
        # A copy has the time and the sleeps of the original, and moves by itself.
        with self._lock:
            return {"_now": self._now, "sleeps": list(self.sleeps)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self._lock = threading.Lock()
        self.__dict__.update(state)

    def __repr__(self) -> str:
        return f"FrozenClock({self().isoformat()})"
