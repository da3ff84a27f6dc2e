"""Repeated, reordered and partly hidden pages, as Apple sends them, in every combination against a sync."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from itertools import product
from typing import TYPE_CHECKING

import pytest

from pyade.core.fleet.device import DeviceResult
from pyade.core.fleet.events import EventKind
from pyade.core.profile.profile import EnrollmentProfile
from pyade.sync import SyncOutcome
from pyade.testing import Fault

if TYPE_CHECKING:
    from tests.worlds import World

SYNC, ASSIGN = "POST /devices/sync", "POST /profile/devices"
KNOBS = ("repeated", "several", "equal dates", "two pages", "same cursor", "hidden")


@pytest.mark.parametrize("on", list(product([False, True], repeat=len(KNOBS))))
def test_sync_ends_in_apples_state_with_any_pages(
    new_world: Callable[[], World], profile: EnrollmentProfile, on: tuple[bool, ...]
) -> None:
    """Changes first; then the full list, which also finds hidden devices; then each Mac gets its profile."""
    knobs = dict(zip(KNOBS, on, strict=True))
    world = new_world()
    world.sync()
    edited, back, gone, hidden = world.apple.add_devices(4, server="hq")
    world.later(minutes=20).sync()
    world.page_size(2 if knobs["two pages"] else 1_000)
    world.later(minutes=20)
    change_apple(world, knobs, edited, back, gone, hidden)
    before = world.record(hidden).device
    catch_up(world, repeats=2 if knobs["same cursor"] else 0)
    expected = world.at_apple()
    assert world.listed() == expected
    assert expected.keys() == {edited, back, hidden, "NEW"}
    assert world.record(edited).device.asset_tag == "B"
    assert world.record(gone).is_released
    assert (world.record(hidden).device == before) is knobs["hidden"]

    catch_up(world.later(days=7), full=True)
    assert world.listed() == world.at_apple()
    assert world.record(hidden).device.asset_tag == "B"
    assert serials_by_events(world) == world.listed().keys()
    assert world.run(profile).counts == {DeviceResult.SUCCESS: 4}
    catch_up(world.later(minutes=20))
    assert (world.run().plan.satisfied, world.requests(ASSIGN)) == (4, 1)


def change_apple(
    world: World, knobs: dict[str, bool], edited: str, back: str, gone: str, hidden: str
) -> None:
    """Change devices at Apple, and set its faults."""
    apple = world.apple
    started_at = world.clock()
    apple.add_devices(server="hq", serials=["NEW"])
    for tag in ("A", "B"):
        for serial in (edited, hidden):
            apple.edit_device(serial, asset_tag=tag)
        world.later(seconds=0 if knobs["equal dates"] else 1)
    apple.unassign([gone])
    apple.unassign([back])
    world.later(seconds=0 if knobs["equal dates"] else 1)
    apple.assign("hq", [back])
    if knobs["several"]:
        # An old record after newer ones; with equal times it is a tie that only the details settle.
        apple.announce(back, op_type="deleted", op_date=started_at)
        apple.announce(gone, op_type="modified", op_date=started_at, asset_tag="LATE")
        apple.announce(edited, op_type="modified", op_date=started_at, asset_tag="A")
    if knobs["repeated"]:
        apple.faults.repeat_records([gone, back, "NEW"])
    if knobs["hidden"]:
        apple.faults.hide_from_sync([hidden])


def catch_up(world: World, *, repeats: int = 0, full: bool = False) -> None:
    world.apple.script(SYNC, *[Fault.repeated_cursor()] * repeats)
    endings = [world.sync(full=full).outcome]
    while endings[-1] is not SyncOutcome.CAUGHT_UP:
        endings.append(world.later(minutes=15).sync().outcome)
        assert len(endings) < 10
    assert endings[:-1] == [SyncOutcome.REPEATED_CURSOR] * repeats


def serials_by_events(world: World) -> set[str | None]:
    """Return the devices that are listed according to the events."""
    balance: Counter[str | None] = Counter()
    for event in world.store.events(limit=10_000):
        balance[event.serial_number] += event.kind in (EventKind.ADDED, EventKind.RETURNED)
        balance[event.serial_number] -= event.kind is EventKind.RELEASED
    assert set(balance.values()) <= {0, 1}
    return {serial for serial, count in balance.items() if count}
