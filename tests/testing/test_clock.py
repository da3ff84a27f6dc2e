"""The frozen clock."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest

from pyade.testing import FrozenClock


def test_frozen_clock_changes_only_when_advanced() -> None:
    clock = FrozenClock(datetime(2025, 6, 1, 12, tzinfo=timezone(timedelta(hours=2))))
    assert clock() == clock() == datetime(2025, 6, 1, 10, tzinfo=UTC)
    assert clock().tzinfo is UTC
    assert (
        clock.advance(1, minutes=1, hours=1, days=1) == datetime(2025, 6, 2, 11, 1, 1, tzinfo=UTC) == clock()
    )
    assert repr(clock) == "FrozenClock(2025-06-02T11:01:01+00:00)"


@pytest.mark.anyio
async def test_sleep_advances_the_clock_immediately_and_is_recorded() -> None:
    clock = FrozenClock()
    clock.sleep(90)
    await clock.sleep_async(0.5)
    assert clock() == datetime(2025, 1, 1, 0, 1, 30, 500000, tzinfo=UTC)
    assert clock.sleeps == [90, 0.5]


def test_start_without_time_zone_is_refused() -> None:
    with pytest.raises(ValueError, match="time zone"):
        FrozenClock(datetime(2025, 1, 1))  # noqa: DTZ001
