"""What a "Sync" button shows: whether a run is under way, and when the next one is allowed."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import attrs
import pytest

from pyade.core.fleet.sync_policy import SyncAction
from pyade.operations import TokenOverview, assign_token, overview
from pyade.storage import MemoryStore
from pyade.testing import FrozenClock

if TYPE_CHECKING:
    from tests.worlds import World

MINUTES_15 = timedelta(minutes=15)


def look(world: World) -> TokenOverview:
    (one,) = overview(world.store, now=world.clock(), policy=world.policy)
    return one


@pytest.mark.twins
def test_a_run_under_way_is_shown_with_its_start(world: World) -> None:
    """From within a run: the other worker is this one."""
    world.apple.add_devices(1, server="hq")
    seen: list[TokenOverview] = []
    world.on_page = lambda: seen.append(look(world))
    started = world.clock()
    world.sync()
    assert [one.running_since for one in seen] == [started, started]
    assert all(one.holder and one.next_request_at == started + timedelta(seconds=60) for one in seen)
    assert ("Sync running", f"since 2025-01-01 00:00:00 UTC, by {seen[0].holder}") in seen[0].rows()
    assert (look(world).running_since, look(world).holder) == (None, "")
    assert look(world).next_request_at == started + MINUTES_15


def test_the_overview_says_what_a_sync_would_answer(world: World) -> None:
    """While another worker holds the token, after it died, within the cooldown, and after it."""
    world.sync()
    world.later(hours=1)
    began = world.clock()
    lease = world.store.acquire_lease("hq", "another worker", seconds=60)
    running = attrs.evolve(world.state, running_since=began, run_at=began)
    world.store.save_sync_state("hq", running, lease=lease)
    world.later(seconds=20)
    one, report = look(world), world.sync()
    assert (one.running_since, one.holder) == (began, "another worker")
    assert (report.action, report.running_since, report.holder) == (SyncAction.RUNNING, began, one.holder)
    assert one.next_request_at == report.allowed_at == report.next_allowed_at == began + timedelta(minutes=1)
    assert report.next_automatic_at == one.next_automatic_at
    world.later(seconds=40)
    one = look(world)
    assert (one.running_since, one.next_request_at) == (None, world.clock())
    assert world.sync().action is SyncAction.DELTA
    one, report = look(world), world.sync()
    assert one.next_request_at == report.allowed_at == report.next_allowed_at == began + MINUTES_15
    world.later(minutes=15)
    assert look(world).next_request_at == world.clock()


def test_other_work_on_a_token_is_shown_too(world: World) -> None:
    """An assignment holds the token as well: a sync would answer that it is busy."""
    world.sync()
    world.later(hours=1)
    world.store.acquire_lease("hq", "an assigner", seconds=60)
    one, report = look(world), world.sync()
    assert (one.running_since, one.holder, one.next_request_at) == (None, "an assigner", report.allowed_at)
    assert "Other work running" in str(one)


def test_the_time_of_a_running_report_is_of_the_clock_that_was_given(world: World) -> None:
    """Whatever the store's own clock shows: a simulation in another year, or a clock that is wrong."""
    store_clock = FrozenClock(datetime(2030, 6, 1, tzinfo=UTC))
    with MemoryStore(clock=store_clock) as store:
        store.add_token(world.token)
        world.store, real = store, world.store
        lease = store.acquire_lease("hq", "another worker", seconds=60)
        store_clock.advance(20)
        report = world.sync()
        assert report.action is SyncAction.RUNNING
        assert report.allowed_at == report.next_allowed_at == world.clock() + timedelta(seconds=40)
        assert report.started_at == world.clock()
        assert look(world).next_request_at == world.clock() + timedelta(seconds=40)
        assert world.run().next_due_at == world.clock() + timedelta(seconds=40)
        again_at = assign_token(store, lambda _: world.client(), "hq", clock=world.clock)
        assert again_at is not None
        assert again_at - world.clock() < timedelta(minutes=20)
        store.release_lease(lease)
        world.store = real
