"""Lessons L1 to L32 from the field: each test covers a way in which other products lost devices.

Some of them are in other files: ``pytest.mark.lesson`` names the lesson of a test.
"""

from __future__ import annotations

import ast
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pyade.core.fleet.assignment import Reason
from pyade.core.fleet.device import DeviceResult
from pyade.core.fleet.sync_policy import SyncAction
from pyade.core.profile.profile import EnrollmentProfile
from pyade.errors import ServerError, StoreError
from pyade.storage import SQLiteStore
from pyade.sync import SyncOutcome
from pyade.testing import Fault

if TYPE_CHECKING:
    from tests.worlds import World

FETCH, SYNC, DETAILS = "POST /server/devices", "POST /devices/sync", "POST /devices"
DEFINE, ASSIGN, REMOVE = "POST /profile", "POST /profile/devices", "DELETE /profile/devices"
TESTS = Path(__file__).parents[1]


def test_every_lesson_has_a_test() -> None:
    """Lessons 1 to 32 are about the sync, 33 to 46 about the HTTP core."""
    marks = (
        [ast.literal_eval(argument) for argument in decorator.args]
        for file in TESTS.rglob("test_*.py")
        if "pytest.mark.lesson" in (text := file.read_text("utf-8"))
        for function in ast.walk(ast.parse(text))
        if isinstance(function, ast.FunctionDef) and function.name.startswith("test_")
        for decorator in function.decorator_list
        if isinstance(decorator, ast.Call) and ast.unparse(decorator.func) == "pytest.mark.lesson"
    )
    assert {lesson for lessons in marks for lesson in lessons} == set(range(1, 47))


def cursors(world: World, endpoint: str) -> list[str | None]:
    """Return the cursors that were sent, in order."""
    return [record.body.get("cursor") for record in world.apple.requests if record.endpoint == endpoint]


@pytest.mark.lesson(3)
def test_page_that_could_not_be_stored_is_fetched_again(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.page_size(2)
    world.apple.add_devices(5, server="hq")
    commit = world.store.commit_page
    calls = iter(range(10))

    def fail_once(*arguments: Any, **options: Any) -> Any:
        if next(calls) == 1:
            raise StoreError("the disk is full")
        return commit(*arguments, **options)

    monkeypatch.setattr(world.store, "commit_page", fail_once)
    with pytest.raises(StoreError, match="disk is full"):
        world.sync()
    _, unstored = cursors(world, FETCH)
    assert (world.state.cursor, len(world.listed())) == (unstored, 2)
    world.apple.clear_requests()
    assert world.later(minutes=15).sync().is_complete
    assert cursors(world, FETCH)[0] == unstored
    assert world.listed() == world.at_apple()


@pytest.mark.lesson(4)
def test_caller_that_reads_changes_continues_from_the_cursor_it_stored(
    new_world: Callable[[], World],
) -> None:
    """Each page has its own cursor: a caller that failed at one page continues with the cursor before it."""
    world = new_world()
    world.page_size(2)
    world.sync()
    serials = world.apple.add_devices(6, server="hq")
    kept = world.state.cursor or ""
    seen: list[str] = []
    with world.client() as client:
        for number, page in enumerate(client.iter_changes(kept)):
            if number == 1:
                break
            seen += [device.serial_number for device in page.devices]
            kept = page.cursor
        for page in client.iter_changes(kept):
            seen += [device.serial_number for device in page.devices]
    assert sorted(seen) == sorted(serials)


@pytest.mark.lesson(6)
def test_device_missing_from_the_changes_is_kept(world: World, profile: EnrollmentProfile) -> None:
    """Throttled devices are missing for a day: not released, not assigned twice; they keep their choice."""
    hidden, shown = world.apple.add_devices(2, server="hq")
    world.sync()
    world.run(profile)
    world.apple.faults.hide_from_sync([hidden], "hq")
    world.apple.clear_requests()
    for tag in ("1", "2"):
        for serial in (hidden, shown):
            world.apple.edit_device(serial, asset_tag=tag)
        report = world.later(hours=12).sync()
        assert (report.changes.modified, report.changes.released) == (1, 0)
        assert world.run(profile).plan.satisfied == 2
    assert world.requests(ASSIGN) == 0
    world.apple.faults.hide_from_sync([], "hq")
    assert world.later(days=7).sync(full=True).is_complete
    assert world.record(hidden).device.asset_tag == "2"


@pytest.mark.lesson(7)
def test_addition_or_full_list_restores_a_hidden_device(world: World) -> None:
    """A modification says nothing new about the owner."""
    added, full, edited = world.apple.add_devices(3, server="hq")
    world.sync()
    for serial in (added, full, edited):
        world.store.delete_device("hq", serial, now=world.later(seconds=1).clock())
    world.later(minutes=15)
    for serial in (added, full, edited):
        world.apple.edit_device(serial, asset_tag="NEW")
    report = world.sync()
    assert (report.devices, report.changes.unchanged, world.listed()) == (3, 3, {})
    world.later(minutes=15)
    world.apple.unassign([added])
    world.apple.assign("hq", [added])
    assert world.sync().changes.returned == 1
    assert world.listed().keys() == {added}
    report = world.later(days=7).sync(full=True)
    assert (report.changes.returned, report.notes) == (2, ("2 devices came only with the full list",))
    assert world.listed() == world.at_apple()


@pytest.mark.lesson(11)
def test_devices_found_by_a_recovery_get_their_profile(world: World, profile: EnrollmentProfile) -> None:
    """A full list has no operations: code that waits for ``added`` would assign nothing."""
    world.sync()
    serials = world.apple.add_devices(3, server="hq")
    world.apple.faults.expire_cursors("hq")
    assert world.later(hours=1).sync().action is SyncAction.RECOVERY
    assert [record.op_date for record in world.store.devices("hq")] == [None] * 3
    assert world.run(profile).results == dict.fromkeys(sorted(serials), DeviceResult.SUCCESS)


@pytest.mark.parametrize("length", [67, 1_000, 4_000])
@pytest.mark.lesson(13)
def test_cursor_may_have_any_length(world: World, length: int) -> None:
    world.apple.settings.cursor_length = length
    world.page_size(2)
    world.apple.add_devices(5, server="hq")
    assert world.sync().is_complete
    world.apple.add_devices(3, server="hq")
    assert world.later(minutes=15).sync().is_complete
    assert world.listed() == world.at_apple()
    sent = [cursor for cursor in (*cursors(world, FETCH), *cursors(world, SYNC)) if cursor]
    assert {len(cursor) for cursor in sent} == {length}
    assert len(set(sent)) == len(sent)


@pytest.mark.lesson(14)
def test_incomplete_full_list_releases_nothing(world: World) -> None:
    """Only a list that was read to its end releases devices."""
    world.page_size(10)
    serials = list(world.apple.add_devices(45, server="hq"))
    world.sync()
    world.later(days=7)
    world.apple.unassign(serials[:1], announce=False)
    world.apple.script(FETCH, None, None, *[Fault.server_error()] * 4)
    with pytest.raises(ServerError):
        world.sync(full=True)
    assert sorted(world.listed()) == sorted(serials)
    report = world.later(minutes=15).sync()
    assert (report.action, report.changes.released) == (SyncAction.RESUME_FULL, 1)
    assert world.listed() == world.at_apple()


@pytest.mark.lesson(14)
def test_empty_list_does_not_release_all_devices(world: World) -> None:
    world.apple.add_devices(25, server="hq")
    world.sync()
    for endpoint in (FETCH, SYNC):
        world.apple.script(
            endpoint, Fault.answered(json={"devices": [], "cursor": "x", "more_to_follow": False})
        )
    report = world.later(days=7).sync(full=True)
    assert (report.outcome, report.held_back, len(world.listed())) == (SyncOutcome.RELEASE_HELD, 25, 25)


@pytest.mark.lesson(15)
def test_unknown_device_that_arrives_as_modified_is_added(world: World, profile: EnrollmentProfile) -> None:
    """Devices that come from another server arrive like this, too."""
    world.apple.add_server("branch")
    (serial,) = world.apple.add_devices(1, server="branch")
    world.sync()
    world.apple.move([serial], "hq", arrive_as="modified")
    report = world.later(minutes=15).sync()
    assert (report.changes.added, report.changes.modified) == (1, 0)
    assert world.run(profile).results == {serial: DeviceResult.SUCCESS}


@pytest.mark.parametrize("size", [1, 7, 1_000])
@pytest.mark.lesson(18)
def test_device_added_and_modified_in_one_sync_gets_its_profile(
    world: World, profile: EnrollmentProfile, size: int
) -> None:
    world.sync()
    world.page_size(size)
    serials = world.apple.add_devices(20, server="hq")
    for seconds, serial in enumerate(serials, start=1):
        world.clock.advance(seconds)
        world.apple.edit_device(serial, asset_tag="A")
    report = world.later(minutes=15).sync()
    assert (report.devices, report.changes.added, report.changes.modified) == (40, 20, 20)
    assert world.run(profile).counts == {DeviceResult.SUCCESS: 20}
    assert {status for status, _ in world.at_apple().values()} == {"assigned"}


@pytest.mark.parametrize("size", [1, 1_000])
@pytest.mark.parametrize("runs", [1, 2])
@pytest.mark.lesson(19)
def test_newest_of_a_deletion_and_an_addition_wins_across_pages_and_runs(
    world: World, size: int, runs: int
) -> None:
    """On one page or two, in one run or two, and if the older record is repeated last."""
    stays, goes = world.apple.add_devices(2, server="hq")
    world.sync()
    world.page_size(size)
    old = world.later(minutes=20).clock()
    world.apple.unassign([stays])
    world.apple.edit_device(goes, asset_tag="A")
    if runs == 2:
        world.sync()
    world.later(minutes=20)
    world.apple.assign("hq", [stays])
    world.apple.unassign([goes])
    world.apple.announce(stays, op_type="deleted", op_date=old)
    world.apple.announce(goes, op_type="added", op_date=old, server="hq")
    assert world.sync().changes.stale == 2
    assert world.listed().keys() == {stays}
    assert world.record(goes).is_released


@pytest.mark.lesson(20)
def test_profile_removed_by_another_program_is_noticed(world: World, profile: EnrollmentProfile) -> None:
    """Neither an earlier assignment nor the id that Apple keeps proves that the profile is assigned today."""
    (serial,) = world.apple.add_devices(1, server="hq")
    world.sync()
    (uuid,) = world.run(profile).defined
    with world.later(minutes=5).client() as other:
        other.remove_profile([serial])
    world.later(minutes=15).sync()
    assert world.listed()[serial] == ("removed", uuid)
    assert world.run().plan.reasons == {Reason.REMOVED: 1}
    assert world.at_apple()[serial] == ("assigned", uuid)


@pytest.mark.lesson(23)
def test_odd_values_stop_neither_sync_nor_assignment(world: World, profile: EnrollmentProfile) -> None:
    """Observed: devices without an assigner, and times of the year 1."""
    world.apple.settings.device_assigned_by = "-1"
    (serial,) = world.apple.add_devices(1, server="hq")
    never = "0001-01-01T00:00:00Z"
    world.apple.edit_device(serial, device_assigned_date=never, profile_push_time=never)
    assert world.sync().is_complete
    assert world.record(serial).device.device_assigned_by == "-1"
    assert world.run(profile).results == {serial: DeviceResult.SUCCESS}
    assert world.later(minutes=15).sync().is_complete
    assert world.run().plan.satisfied == 1


@pytest.mark.parametrize("absent", [{}, dict.fromkeys(("description", "color", "os", "model", "asset_tag"))])
@pytest.mark.lesson(24)
def test_record_needs_only_a_serial_number(
    world: World, profile: EnrollmentProfile, absent: dict[str, None]
) -> None:
    world.apple.add_devices(server="hq", serials=["BARE"])
    page = {"devices": [{"serial_number": "BARE", **absent}], "cursor": "x", "more_to_follow": False}
    world.apple.script(FETCH, Fault.answered(json=page))
    world.apple.script(SYNC, Fault.refused("EXHAUSTED_CURSOR"))
    assert world.sync().changes.added == 1
    assert world.run(profile).results == {"BARE": DeviceResult.SUCCESS}


@pytest.mark.lesson(27)
def test_wait_survives_a_restart_and_nothing_is_sent_before_its_end(
    new_world: Callable[[], World], profile: EnrollmentProfile, tmp_path: Path
) -> None:
    """The newest protocol version is requested, so that throttling differs from other failures."""
    world = new_world()
    path = tmp_path / "ade.db"
    (serial,) = world.apple.add_devices(1, server="hq")
    world.apple.faults.throttle([serial], world.clock() + timedelta(hours=24))
    with SQLiteStore(path) as world.store:
        world.store.add_token(world.token)
        world.sync()
        assert world.run(profile).counts == {DeviceResult.THROTTLED: 1}
    assert {record.headers["x-server-protocol-version"] for record in world.apple.requests} == {"10"}
    world.apple.clear_requests()
    with SQLiteStore(path) as world.store:
        for _ in range(23):
            report = world.later(hours=1).run()
            assert (report.plan.waiting, report.results) == (1, {})
        assert world.requests(ASSIGN) == 0
        assert world.later(hours=1).run().results == {serial: DeviceResult.SUCCESS}


@pytest.mark.lesson(28)
def test_no_request_names_more_than_a_thousand_devices(world: World, profile: EnrollmentProfile) -> None:
    """First assignment, retries, picked devices, removals, and the details read after each."""
    serials = world.apple.add_devices(1_900, server="hq")
    world.sync()
    world.apple.faults.device_result(serials, "FAILED")
    world.run(profile)
    assert world.later(hours=24).run().counts == {DeviceResult.SUCCESS: 1_900}
    world.assign(EnrollmentProfile(name="Kiosk", url="https://mdm.contoso.example/kiosk"), serials)
    world.unassign(serials)
    sizes: dict[str, list[int]] = {}
    for record in world.apple.requests:
        if record.endpoint in (ASSIGN, REMOVE, DETAILS):
            sizes.setdefault(record.endpoint, []).append(len(record.body["devices"]))
    assert sizes == {ASSIGN: [1_000, 900] * 3, REMOVE: [1_000, 900], DETAILS: [1_000, 900] * 4}


@pytest.mark.lesson(31)
def test_profile_is_defined_without_devices(world: World, profile: EnrollmentProfile) -> None:
    """The duration of the request does not depend on the number of devices."""
    world.apple.add_devices(30, server="hq")
    world.sync()
    world.run(profile)
    (define,) = [record for record in world.apple.requests if record.endpoint == DEFINE]
    assert not define.body.get("devices")
    assert world.requests(ASSIGN) == 1


@pytest.mark.lesson(32)
def test_effect_of_an_assignment_is_read_back(world: World, profile: EnrollmentProfile) -> None:
    """The details are read after a success, and they count where they differ from it."""
    (serial,) = world.apple.add_devices(1, server="hq")
    world.sync()
    shown = {
        "response_status": "SUCCESS",
        "device_family": "Mac",
        "profile_status": "pushed",
        "profile_uuid": "ANOTHER",
        "profile_assign_time": "2025-01-01T00:00:09Z",
    }
    world.apple.script(
        DETAILS, Fault.answered(json={"devices": {serial: {"serial_number": serial, **shown}}})
    )
    world.run(profile)
    assert world.listed()[serial] == ("pushed", "ANOTHER")
    assigned_at = world.record(serial).device.profile_assign_time
    assert assigned_at is not None
    assert assigned_at.second == 9
