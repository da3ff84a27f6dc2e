"""Apple's records that cannot be read are counted, and never taken for released devices."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

from pyade.core.fleet.records import SyncPhase
from pyade.core.fleet.sync_policy import SyncAction, SyncPolicy
from pyade.sync import SyncOutcome
from pyade.testing import Fault

if TYPE_CHECKING:
    from tests.worlds import World

FETCH, SYNC = "POST /server/devices", "POST /devices/sync"
BROKEN = (
    rb'{"serial_number": "%s", "model": "\ud800"}',
    rb'{"serial_number": "%s", "model": 1e999}',
    rb'{"model": "%s"}',
    rb'{"serial_number": "", "model": "%s"}',
)


def page(*records: bytes, cursor: bytes = b"next", more: bytes = b"false") -> Fault:
    body = b'{"devices": [%s], "cursor": "%s", "more_to_follow": %s}' % (b",".join(records), cursor, more)
    return Fault.answered(body=body)


def record(serial: str) -> bytes:
    return b'{"serial_number": "%s", "profile_status": "empty"}' % serial.encode()


def start_full_list_with(world: World, devices: int = 3) -> list[str]:
    """Add devices and let a full list be due; changes come from a cursor that the fake does not know."""
    serials = list(world.apple.add_devices(devices, server="hq"))
    assert world.sync().is_complete
    world.later(days=7)
    world.apple.script(SYNC, page(cursor=b"after"))
    return serials


@pytest.mark.parametrize("broken", BROKEN)
def test_device_with_an_unreadable_record_is_not_released(world: World, broken: bytes) -> None:
    first, second, third = start_full_list_with(world)
    world.apple.script(FETCH, page(record(first), broken % second.encode(), record(third)))
    report = world.sync(full=True)
    assert (report.action, report.outcome) == (SyncAction.FULL, SyncOutcome.CAUGHT_UP)
    assert (report.unreadable, report.held_back, report.changes.released) == (1, 1, 0)
    assert world.listed().keys() == {first, second, third}
    assert report.notes == (
        "1 device may be among the records of Apple's list that could not be read: none was released",
        "1 record could not be read: left out",
    )
    # The changes are read immediately, and the position in the list is not kept.
    assert world.requests(SYNC) > 0
    assert (world.state.phase, world.state.cursor) == (SyncPhase.SYNC, "after")
    assert (world.state.listing_since, world.state.unreadable) == (None, 0)


def test_next_readable_list_releases(world: World) -> None:
    first, second, third = start_full_list_with(world)
    world.apple.script(FETCH, page(record(first), BROKEN[0] % second.encode()))
    assert world.sync(full=True).held_back == 2
    world.later(days=7)
    world.apple.script(FETCH, page(record(first), record(second)))
    world.apple.script(SYNC, page(cursor=b"last"))
    report = world.sync(full=True)
    assert (report.unreadable, report.held_back, report.changes.released) == (0, 0, 1)
    assert world.listed().keys() == {first, second}
    assert world.record(third).is_released


def test_administrator_may_force_the_release(world: World) -> None:
    first, second, third = start_full_list_with(world)
    world.apple.script(FETCH, page(record(first), BROKEN[0] % b"?", record(second)))
    report = world.sync(full=True, force=True)
    assert (report.unreadable, report.changes.released) == (1, 1)
    assert world.record(third).is_released


def test_continued_list_remembers_unreadable_records(world: World) -> None:
    """The broken record was on a page of an earlier run, perhaps of another worker."""
    first, second, _ = start_full_list_with(world)
    world.policy = SyncPolicy(max_pages_per_run=1)
    world.apple.script(FETCH, page(BROKEN[0] % b"?", record(first), cursor=b"p2", more=b"true"))
    assert world.sync(full=True).outcome is SyncOutcome.PAGE_LIMIT
    assert world.state.unreadable == 1
    world.apple.script(FETCH, page(record(second), cursor=b"p3"))
    report = world.later(minutes=15).sync()
    assert (report.action, report.held_back, report.changes.released) == (SyncAction.RESUME_FULL, 1, 0)
    assert len(world.listed()) == 3


def test_many_missing_devices_do_not_stop_the_changes(world: World) -> None:
    """More than a list may release unforced: otherwise one broken record would stop every run."""
    serials = start_full_list_with(world, devices=100)
    world.apple.script(FETCH, page(BROKEN[0] % b"?", *map(record, serials[:50])))
    report = world.sync(full=True)
    assert (report.outcome, report.held_back, report.changes.released) == (SyncOutcome.CAUGHT_UP, 50, 0)
    assert len(world.listed()) == 100


def test_new_list_resets_the_count(new_world: Callable[[], World]) -> None:
    world = new_world()
    first, *_ = start_full_list_with(world)
    world.policy = SyncPolicy(max_pages_per_run=1)
    world.apple.script(FETCH, page(BROKEN[0] % b"?", cursor=b"p2", more=b"true"))
    world.sync(full=True)
    world.apple.script(FETCH, Fault.refused("EXPIRED_CURSOR"), page(record(first)))
    world.policy = SyncPolicy()
    report = world.later(days=7).sync()
    assert (report.action, report.unreadable, report.held_back) == (SyncAction.FULL, 0, 0)
    assert report.changes.released == 2


def test_unreadable_change_is_counted_and_releases_nothing(world: World) -> None:
    serials = set(world.apple.add_devices(2, server="hq"))
    world.sync()
    world.apple.script(SYNC, page(BROKEN[0] % b"?", cursor=b"after"))
    report = world.later(minutes=15).sync()
    assert (report.unreadable, report.is_complete) == (1, True)
    assert world.listed().keys() == serials
    assert world.state.unreadable == 0
