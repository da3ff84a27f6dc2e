"""Repeated, late or wrongly dated records: the store ends in Apple's state."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest

from pyade.core.fleet import merging
from pyade.core.fleet.device import Device
from pyade.core.fleet.records import DeviceRecord
from pyade.core.problems import Severity
from pyade.operations import doctor, overview
from pyade.storage.rows import TokenRow
from pyade.testing import Fault

if TYPE_CHECKING:
    from tests.worlds import World

DETAILS = "POST /devices"
IN_2031 = datetime(2031, 1, 1, tzinfo=UTC)
IN_1970 = datetime(1970, 1, 1, tzinfo=UTC)


def tag(world: World, serial: str) -> str | None:
    return world.record(serial).device.asset_tag


def redate(world: World, op_date: str) -> None:
    """Replace the date of the newest operation."""
    operations = world.apple.server("hq").operations
    operations[-1] = operations[-1]._replace(op_date=op_date)


def test_list_wins_over_earlier_events(world: World) -> None:
    """An event that is repeated after the list is older, and causes no request."""
    gone, edited = world.apple.add_devices(2, server="hq")
    world.later(days=1)
    world.apple.unassign([gone])
    world.apple.edit_device(edited, asset_tag="OLD")
    before = world.clock()
    world.later(hours=1)
    world.apple.assign("hq", [gone])
    world.apple.edit_device(edited, asset_tag="NEW")
    world.later(days=1).sync()
    world.later(hours=1)
    world.apple.announce(gone, op_type="deleted", op_date=before)
    world.apple.announce(edited, op_type="modified", op_date=before, asset_tag="OLD")
    report = world.sync()
    assert (report.changes.stale, report.changes.released, report.changes.modified) == (2, 0, 0)
    assert world.listed() == world.at_apple()
    assert tag(world, edited) == "NEW"
    assert world.requests(DETAILS) == 0


def test_old_event_does_not_restore_a_device_that_a_list_released(world: World) -> None:
    kept, gone = world.apple.add_devices(2, server="hq")
    added = world.clock()
    world.sync()
    world.apple.unassign([gone], announce=False)
    world.later(days=7).sync()
    assert world.record(gone).is_released
    world.later(hours=1)
    for serial in (kept, gone):
        world.apple.announce(serial, op_type="added", op_date=added)
    report = world.sync()
    assert (report.changes.returned, world.requests(DETAILS)) == (0, 1)
    assert world.listed().keys() == {kept}


def test_device_removed_before_the_first_list_is_not_stored(world: World) -> None:
    (gone,) = world.apple.add_devices(1, server="hq")
    added = world.clock()
    world.later(days=1)
    world.apple.unassign([gone])
    world.later(days=1).sync()
    world.apple.announce(gone, op_type="added", op_date=added)
    world.later(hours=1).sync()
    assert world.listed() == {}


def test_clocks_of_apple_and_store_may_be_minutes_apart(world: World) -> None:
    """The local clock is ahead: an event after the list seems to be older than the list."""
    (serial,) = world.apple.add_devices(1, server="hq")
    world.later(minutes=3)
    world.sync()
    world.clock.advance(minutes=-2)
    world.apple.edit_device(serial, asset_tag="NEW")
    world.apple.unassign(world.apple.add_devices(1, server="hq"))
    world.later(hours=1).sync()
    assert tag(world, serial) == "NEW"
    assert world.requests(DETAILS) == 1


@pytest.mark.twins
def test_date_in_2031_does_not_block_later_changes(world: World) -> None:
    """The sync reports the date as a problem, and the doctor does until Apple sends another one."""
    (serial,) = world.apple.add_devices(1, server="hq")
    world.sync()
    world.later(hours=1)
    world.apple.edit_device(serial, asset_tag="1")
    redate(world, "2031-01-01T00:00:00Z")
    report = world.sync()
    (problem,) = report.problems
    assert (problem.setting, problem.value, problem.severity) == ("op_date", serial, Severity.WARNING)
    assert "2031-01-01" in str(problem)
    assert f"problem: {problem}" in str(report)
    assert (tag(world, serial), world.requests(DETAILS)) == ("1", 1)
    record = world.record(serial)
    assert record.op_date_sent == IN_2031
    assert record.op_date is not None
    assert record.op_date < world.later(minutes=6).clock()
    found = [one for one in doctor(world.store, clock=world.clock).problems if "2031" in str(one)]
    assert [one.setting for one in found] == ["token hq.op_date"]
    world.later(hours=1)
    world.apple.edit_device(serial, asset_tag="2")
    assert world.sync().problems == ()
    assert tag(world, serial) == "2"
    assert not [one for one in doctor(world.store, clock=world.clock).problems if "2031" in str(one)]


@pytest.mark.parametrize("date", ["2031-01-01T00:00:00Z", "1970-01-01T00:00:00Z", ""])
@pytest.mark.parametrize("is_last", [True, False])
def test_details_settle_a_change_with_a_wrong_date(world: World, date: str, is_last: bool) -> None:
    """Whether it is the newest change or an older one, and whatever the store holds."""
    edited, gone = world.apple.add_devices(2, server="hq")
    world.sync()
    world.later(hours=1)
    world.apple.edit_device(edited, asset_tag="1")
    world.sync()
    world.later(hours=1)
    world.apple.edit_device(edited, asset_tag="2")
    redate(world, date)
    world.apple.unassign([gone])
    redate(world, date)
    if not is_last:
        world.later(seconds=1)
        world.apple.edit_device(edited, asset_tag="3")
        world.apple.assign("hq", [gone])
        operations = world.apple.server("hq").operations
        operations[-4:] = [*operations[-2:], *operations[-4:-2]]
    report = world.sync()
    assert bool(report.problems) is bool(date)
    assert world.listed() == world.at_apple()
    assert tag(world, edited) == ("2" if is_last else "3")


def test_unsettled_tie_is_a_problem(world: World) -> None:
    (serial,) = world.apple.add_devices(1, server="hq")
    world.sync()
    world.later(hours=1)
    world.apple.edit_device(serial, asset_tag="1")
    redate(world, "1970-01-01T00:00:00Z")
    world.apple.script(DETAILS, *[Fault.server_error()] * 4)
    with pytest.raises(Exception, match="device details"):
        world.sync()
    (found,) = [one for one in doctor(world.store, clock=world.clock).problems if "in doubt" in str(one)]
    assert (found.setting, found.value) == ("token hq", serial)
    assert world.later(hours=1).sync().is_complete
    assert tag(world, serial) == "1"
    assert not [one for one in doctor(world.store, clock=world.clock).problems if "in doubt" in str(one)]


def test_page_of_changes_is_decoded_and_merged_once(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the transaction that stores it, with or without ties."""
    serials = world.apple.add_devices(20, server="hq")
    world.sync()
    world.later(hours=1)
    for serial in serials:
        world.apple.edit_device(serial, asset_tag="1")
    reads: list[int] = []
    merged: list[str] = []
    read, merge = TokenRow.rows_of, merging.merge

    def count_read(row: TokenRow, serials: Iterable[str]) -> Iterator[tuple[Any, ...]]:
        wanted = list(serials)
        reads.append(len(wanted))
        return read(row, wanted)

    def count_merge(known: DeviceRecord | None, device: Device, **options: Any) -> Any:
        merged.append(device.serial_number)
        return merge(known, device, **options)

    monkeypatch.setattr(TokenRow, "rows_of", count_read)
    monkeypatch.setattr(merging, "merge", count_merge)
    assert world.sync().changes.modified == 20
    assert (reads, sorted(merged)) == ([20], sorted(serials))


def test_held_back_release_is_reported_while_it_lasts(world: World) -> None:
    """In the report of each run, in the doctor and in the overview."""
    serials = world.apple.add_devices(100, server="hq")
    world.sync()
    world.later(days=7)
    world.apple.unassign(serials[:40], announce=False)
    assert world.sync().held_back == 40
    (found,) = [one for one in doctor(world.store, clock=world.clock).problems if "not released" in str(one)]
    assert (found.severity, "40 devices" in str(found), "force=True" in found.fix) == (
        Severity.ERROR,
        True,
        True,
    )
    (one,) = overview(world.store, now=world.clock())
    assert (one.held_back, "Not released" in str(one)) == (40, True)
    assert world.later(minutes=15).sync(force=True).changes.released == 40
    (one,) = overview(world.store, now=world.clock())
    assert (one.held_back, "Not released" in str(one)) == (0, False)
    assert not [one for one in doctor(world.store, clock=world.clock).problems if "not released" in str(one)]
