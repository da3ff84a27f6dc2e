"""What a "Sync" button shows: whether a run is in progress, and when the next one is allowed."""

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


def overview_of_token(world: World) -> TokenOverview:
    (one,) = overview(world.store, now=world.clock(), policy=world.policy)
    return one


@pytest.mark.twins
def test_overview_shows_the_start_of_a_run_in_progress(world: World) -> None:
    """From within a run: the other worker is this one."""
    world.apple.add_devices(1, server="hq")
    seen: list[TokenOverview] = []
    world.on_page = lambda: seen.append(overview_of_token(world))
    started = world.clock()
    world.sync()
    assert [one.running_since for one in seen] == [started, started]
    assert all(one.holder and one.next_request_at == started + timedelta(seconds=60) for one in seen)
    assert ("Sync running", f"since 2025-01-01 00:00:00 UTC, by {seen[0].holder}") in seen[0].rows()
    assert (overview_of_token(world).running_since, overview_of_token(world).holder) == (None, "")
    assert overview_of_token(world).next_request_at == started + MINUTES_15


def test_overview_agrees_with_the_report_of_a_sync(world: World) -> None:
    """While another worker holds the token, after it died, within the cooldown, and after it."""
    world.sync()
    world.later(hours=1)
    began = world.clock()
    lease = world.store.acquire_lease("hq", "another worker", seconds=60)
    running = attrs.evolve(world.state, running_since=began, run_at=began)
    world.store.save_sync_state("hq", running, lease=lease)
    world.later(seconds=20)
    one, report = overview_of_token(world), world.sync()
    assert (one.running_since, one.holder) == (began, "another worker")
    assert (report.action, report.running_since, report.holder) == (SyncAction.RUNNING, began, one.holder)
    assert one.next_request_at == report.allowed_at == report.next_allowed_at == began + timedelta(minutes=1)
    assert report.next_automatic_at == one.next_automatic_at
    world.later(seconds=40)
    one = overview_of_token(world)
    assert (one.running_since, one.next_request_at) == (None, world.clock())
    assert world.sync().action is SyncAction.DELTA
    one, report = overview_of_token(world), world.sync()
    assert one.next_request_at == report.allowed_at == report.next_allowed_at == began + MINUTES_15
    world.later(minutes=15)
    assert overview_of_token(world).next_request_at == world.clock()


def test_overview_shows_other_work_on_a_token(world: World) -> None:
    """An assignment holds the token as well: a sync would report that it is busy."""
    world.sync()
    world.later(hours=1)
    world.store.acquire_lease("hq", "an assigner", seconds=60)
    one, report = overview_of_token(world), world.sync()
    assert (one.running_since, one.holder, one.next_request_at) == (None, "an assigner", report.allowed_at)
    assert "Other work running" in str(one)


def test_times_of_a_running_report_use_the_given_clock(world: World) -> None:
    """Whatever the store's own clock shows: a simulation in another year, or a wrong clock."""
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
        assert overview_of_token(world).next_request_at == world.clock() + timedelta(seconds=40)
        assert world.run().next_due_at == world.clock() + timedelta(seconds=40)
        again_at = assign_token(store, lambda _: world.client(), "hq", clock=world.clock)
        assert again_at is not None
        assert again_at - world.clock() < timedelta(minutes=20)
        store.release_lease(lease)
        world.store = real
