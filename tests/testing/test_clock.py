"""The frozen clock."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone

import pytest

from pyade.errors import ArgumentError
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
    with pytest.raises(ArgumentError, match=r"start is .*a time with a time zone"):
        FrozenClock(datetime(2025, 1, 1))  # noqa: DTZ001


def test_clock_advances_by_a_span_by_seconds_and_by_units() -> None:
    clock = FrozenClock()
    start = clock()
    assert clock.advance(timedelta(hours=2)) == start + timedelta(hours=2)
    assert clock.advance(timedelta(minutes=1), seconds=30) == start + timedelta(hours=2, seconds=90)
    assert clock.advance(-90) == start + timedelta(hours=2)
    assert clock.advance(seconds=1, days=1) == start + timedelta(days=1, hours=2, seconds=1)


@pytest.mark.parametrize(
    "copied", [copy.copy, copy.deepcopy, lambda clock: pickle.loads(pickle.dumps(clock))]
)
def test_copy_of_a_clock_moves_by_itself(copied: Callable[[FrozenClock], FrozenClock]) -> None:
    clock = FrozenClock()
    clock.sleep(5)
    other = copied(clock)
    assert (other(), other.sleeps) == (clock(), [5])
    other.sleep(60)
    assert other() == clock() + timedelta(minutes=1)
    assert (clock.sleeps, other.sleeps) == ([5], [5, 60])
