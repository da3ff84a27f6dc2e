"""Lists that are too short to be trusted, and devices that were released long ago."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from pyade.core.fleet.sync_policy import SyncAction, SyncPolicy
from pyade.sync import SyncOutcome
from pyade.testing import Fault

if TYPE_CHECKING:
    from tests.worlds import World

FETCH, SYNC = "POST /server/devices", "POST /devices/sync"


def shrink(world: World, fleet: int, gone: int) -> list[str]:
    """Bring *fleet* devices in, and let Apple silently list *gone* fewer a week later."""
    serials = list(world.apple.add_devices(fleet, server="hq"))
    assert world.sync().is_complete
    world.later(days=7)
    world.apple.unassign(serials[:gone], announce=False)
    return serials[:gone]


@pytest.mark.parametrize(("fleet", "gone", "held"), [(200, 20, False), (190, 20, True), (19, 19, False)])
def test_release_is_held_back_only_above_both_bounds(world: World, fleet: int, gone: int, held: bool) -> None:
    """More than 10 % of the fleet, and at least 20 devices."""
    shrink(world, fleet, gone)
    report = world.sync(full=True)
    assert (report.outcome is SyncOutcome.RELEASE_HELD) is held
    assert report.changes.released == (0 if held else gone)


def test_held_back_release_stays_pending_until_it_is_forced(world: World) -> None:
    gone = shrink(world, 100, 40)
    world.apple.clear_requests()
    report = world.sync(full=True)
    assert (report.action, report.outcome) == (SyncAction.FULL, SyncOutcome.RELEASE_HELD)
    assert (report.held_back, report.is_complete, report.continues) == (40, False, False)
    assert "40 of 100 devices are not in Apple's list: none was released" in str(report)
    assert "force=True" in str(report)
    assert "force=True" in world.state.last_error
    assert len(world.listed()) == 100
    assert (world.requests(SYNC), world.state.succeeded_at) == (1, world.clock())
    again = world.later(minutes=15).sync(automatic=False)
    assert (again.action, again.outcome, again.held_back) == (SyncAction.DELTA, SyncOutcome.RELEASE_HELD, 40)
    assert world.sync(force=True).action is SyncAction.WAIT
    forced = world.later(minutes=15).sync(force=True)
    assert (forced.action, forced.changes.released, forced.is_complete) == (SyncAction.DELTA, 40, True)
    assert (forced.held_back, world.requests(FETCH), world.state.held_back) == (0, 1, 0)
    assert world.record(gone[0]).is_released
    assert world.listed() == world.at_apple()


def test_held_back_list_is_fetched_again_when_a_full_sync_is_due(world: World) -> None:
    """A later complete list corrects a short one."""
    shrink(world, 100, 40)
    full_sync_at = world.clock()
    page = {"devices": [], "cursor": "x", "more_to_follow": False}
    world.apple.script(FETCH, Fault.answered(json=page))
    world.apple.script(SYNC, Fault.answered(json=page), Fault.answered(json=page))
    assert world.sync(full=True).held_back == 100
    world.policy = SyncPolicy(max_release_share=0.4)
    report = world.later(days=6).sync(automatic=True)
    assert (report.outcome, report.held_back) == (SyncOutcome.RELEASE_HELD, 100)
    assert world.state.full_sync_at == full_sync_at
    report = world.later(days=1).sync(automatic=True)
    assert (report.action, report.is_complete, report.changes.released) == (SyncAction.FULL, True, 40)
    assert world.listed() == world.at_apple()


def test_changes_are_read_while_a_release_is_held_back(world: World) -> None:
    """New Macs are added, announced deletions count, and the rest is released once it is small."""
    gone = shrink(world, 100, 40)
    assert world.sync(automatic=True).outcome is SyncOutcome.RELEASE_HELD
    world.later(days=1)
    bought = world.apple.add_devices(3, server="hq")
    report = world.sync(automatic=True)
    assert (report.action, report.outcome, report.changes.added) == (
        SyncAction.DELTA,
        SyncOutcome.RELEASE_HELD,
        3,
    )
    assert set(bought) <= world.listed().keys()
    world.later(days=1)
    for serial in gone[:25]:
        world.apple.announce(serial, server="hq", op_type="deleted", op_date=world.clock())
    report = world.sync(automatic=True)
    assert (report.is_complete, report.changes.released, report.held_back) == (True, 40, 0)
    assert world.listed() == world.at_apple()
    assert (world.state.held_back, world.state.last_error) == (0, "")


def test_held_back_release_is_in_every_report_until_the_next_list(world: World) -> None:
    """Also if a run ends early or does not begin."""
    gone = shrink(world, 100, 40)
    assert world.sync().held_back == 40
    assert world.sync().held_back == 40
    world.policy = SyncPolicy(max_pages_per_run=1)
    world.page_size(1)
    world.later(hours=1)
    world.apple.add_devices(3, server="hq")
    report = world.sync()
    assert (report.outcome, report.held_back) == (SyncOutcome.PAGE_LIMIT, 40)
    world.policy = SyncPolicy()
    world.apple.assign("hq", gone)
    world.apple.faults.expire_cursors("hq")
    report = world.later(hours=1).sync()
    assert (report.action, report.held_back, report.is_complete) == (SyncAction.RECOVERY, 0, True)
    assert world.listed() == world.at_apple()


def test_device_restored_after_the_list_survives_a_forced_release(world: World) -> None:
    """Its details are newer than the list."""
    gone = shrink(world, 100, 40)
    world.sync()
    world.apple.faults.hide_from_sync(gone, "hq")
    world.apple.assign("hq", gone[:1])
    assert world.restore(gone[0]) is not None
    report = world.later(minutes=15).sync(force=True)
    assert report.changes.released == 39
    assert world.listed() == world.at_apple()


def test_device_returned_after_the_list_survives_a_forced_release(world: World) -> None:
    gone = shrink(world, 100, 40)
    assert world.sync(full=True).outcome is SyncOutcome.RELEASE_HELD
    world.later(minutes=15)
    world.apple.assign("hq", gone[:10])
    report = world.sync(force=True)
    assert (report.changes.released, report.changes.modified) == (30, 10)
    assert world.listed() == world.at_apple()


def test_force_overrides_no_other_limit(world: World) -> None:
    world.sync()
    assert world.sync(force=True).action is SyncAction.WAIT
    assert world.later(days=1).sync(full=True, force=True).action is SyncAction.WAIT


def test_policy_sets_the_bounds(world: World) -> None:
    world.policy = SyncPolicy(max_release_share=0.5, min_release_count=1)
    shrink(world, 4, 2)
    assert world.sync(full=True).changes.released == 2
    world.policy = SyncPolicy(max_release_share=0, min_release_count=1)
    world.later(days=7)
    world.apple.unassign(list(world.at_apple())[:1], announce=False)
    assert world.sync(full=True).held_back == 1


def test_released_devices_are_purged_after_thirty_days(world: World) -> None:
    kept, gone = world.apple.add_devices(2, server="hq")
    world.sync()
    world.apple.unassign([gone])
    world.later(hours=1).sync()
    released_at = world.record(gone).released_at
    assert released_at is not None
    assert world.later(days=29).sync().purged == 0
    assert world.record(gone).is_released
    report = world.later(days=1).sync()
    assert (world.clock() - released_at, report.purged) == (timedelta(days=30), 1)
    assert "1 device released 30 days ago or earlier: purged" in str(report)
    assert world.store.device("hq", gone) is None
    assert world.listed().keys() == {kept}
