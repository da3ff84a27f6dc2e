"""Whole syncs against the fake service, through every driver."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import attrs
import pytest

from pyade.core.fleet.records import SyncPhase
from pyade.core.fleet.sync_policy import SyncAction, SyncPolicy
from pyade.core.profile.profile import EnrollmentProfile
from pyade.errors import (
    AccessDeniedError,
    ExhaustedCursorError,
    ExpiredCursorError,
    ServerError,
    TermsError,
    TransportError,
    UnknownTokenError,
)
from pyade.sync import ProgressPhase, SyncOutcome
from pyade.testing import Fault

if TYPE_CHECKING:
    from tests.worlds import World

FETCH, SYNC = "POST /server/devices", "POST /devices/sync"


@pytest.mark.lesson(2)
def test_first_sync_stores_the_whole_fleet(world: World) -> None:
    """2,500 Macs in three pages, then the changes, in one run."""
    world.apple.add_devices(2_500, server="hq")
    report = world.sync()
    assert (report.action, report.outcome) == (SyncAction.FULL, SyncOutcome.CAUGHT_UP)
    assert report.is_complete
    assert not report.continues
    assert (report.pages, report.devices, report.changes.added) == (4, 2_500, 2_500)
    assert world.listed() == world.at_apple()
    assert (world.requests(FETCH), world.requests(SYNC)) == (3, 1)
    assert [(p.phase, p.pages, p.devices) for p in world.seen] == [
        (ProgressPhase.FETCH, 1, 1_000),
        (ProgressPhase.FETCH, 2, 2_000),
        (ProgressPhase.FETCH, 3, 2_500),
        (ProgressPhase.SYNC, 4, 2_500),
    ]
    assert str(world.seen[0]) == "hq: fetch, 1,000 devices in 1 request"
    state = world.state
    assert (state.phase, state.listing_since, state.running_since) == (SyncPhase.SYNC, None, None)
    assert (state.last_error, state.succeeded_at) == ("", world.clock())


def test_empty_server_is_caught_up_after_one_run(world: World) -> None:
    report = world.sync()
    assert report.is_complete
    assert report.changes.added == 0


def test_later_syncs_read_the_changes(world: World) -> None:
    first, second, third = world.apple.add_devices(3, server="hq")
    world.sync()
    world.later(minutes=20)
    world.apple.unassign([first])
    world.apple.edit_device(second, asset_tag="A-1")
    world.apple.add_devices(1, server="hq", serials=["NEW"])
    report = world.sync()
    assert report.action is SyncAction.DELTA
    changes = report.changes
    assert (changes.added, changes.modified, changes.released) == (1, 1, 1)
    assert world.listed() == world.at_apple()
    assert world.listed().keys() == {second, third, "NEW"}
    assert world.record(first).is_released
    assert world.record(second).device.asset_tag == "A-1"
    assert world.requests(FETCH) == 1


def test_sync_within_the_cooldown_reports_and_sends_nothing(world: World) -> None:
    world.sync()
    started = world.clock()
    world.apple.clear_requests()
    world.later(minutes=5)
    report = world.sync()
    assert report.action is SyncAction.WAIT
    assert report.outcome is SyncOutcome.NOT_STARTED
    assert report.next_allowed_at == started + timedelta(minutes=15)
    assert report.next_automatic_at == started + timedelta(hours=24)
    assert not report.is_complete
    assert world.apple.requests == ()
    assert world.sync(full=True).allowed_at == started + timedelta(days=7)
    automatic = world.sync(automatic=True)
    assert automatic.action is SyncAction.WAIT
    assert (automatic.allowed_at, automatic.next_allowed_at) == (
        started + timedelta(hours=24),
        started + timedelta(minutes=15),
    )
    assert world.state.run_at == started


def test_run_in_progress_is_reported_with_its_worker(world: World) -> None:
    since = world.clock()
    lease = world.store.acquire_lease("hq", "another worker")
    world.store.save_sync_state(
        "hq", attrs.evolve(world.state, running_since=since, run_at=since), lease=lease
    )
    report = world.later(seconds=59).sync()
    assert (report.action, report.holder) == (SyncAction.RUNNING, "another worker")
    assert (report.running_since, report.allowed_at) == (since, lease.expires_at)
    assert str(report).startswith("hq: not synced (another worker holds the token)")
    assert world.apple.requests == ()


@pytest.mark.lesson(5)
def test_full_sync_releases_devices_that_apple_no_longer_lists(world: World) -> None:
    """Changes that Apple's sync never announced are found and reported."""
    kept, gone = world.apple.add_devices(2, server="hq")
    world.sync()
    world.later(days=7)
    world.apple.faults.hide_from_sync(["SILENT"], "hq")
    world.apple.add_devices(server="hq", serials=["SILENT"])
    world.apple.unassign([gone], announce=False)
    report = world.sync(automatic=True)
    assert report.action is SyncAction.FULL
    assert (report.changes.added, report.changes.released) == (1, 1)
    assert report.notes == ("1 device came only with the full list",)
    assert world.listed().keys() == {kept, "SILENT"}
    assert world.record(gone).is_released


@pytest.mark.parametrize(
    ("fault", "word"), [("expire_cursors", "expired"), ("forget_cursors", "not recognised")]
)
@pytest.mark.lesson(8)
def test_lost_cursor_starts_a_recovery(world: World, fault: str, word: str) -> None:
    """The full list is fetched in the same run, flagged, and does not count as the weekly one."""
    kept, gone = world.apple.add_devices(2, server="hq")
    world.sync()
    full_sync_at = world.state.full_sync_at
    world.later(days=2)
    world.apple.unassign([gone])
    getattr(world.apple.faults, fault)("hq")
    report = world.sync()
    assert (report.action, report.outcome) == (SyncAction.RECOVERY, SyncOutcome.CAUGHT_UP)
    assert report.notes == (f"cursor {word}: full list fetched",)
    assert world.listed().keys() == {kept}
    assert world.state.full_sync_at == full_sync_at
    assert world.state.recovery_at == world.clock()
    assert world.sync(full=True).allowed_at == full_sync_at + timedelta(days=7) if full_sync_at else False


def test_second_recovery_waits_a_day(world: World) -> None:
    """The run ends without an error, reports its next time, and sends nothing before."""
    world.apple.add_devices(2, server="hq")
    world.sync()
    world.later(hours=1)
    world.apple.faults.expire_cursors("hq")
    recovered_at = world.clock()
    assert world.sync().action is SyncAction.RECOVERY
    world.later(hours=1)
    world.apple.faults.expire_cursors("hq")
    report = world.sync()
    assert (report.outcome, report.notes) == (SyncOutcome.NO_CURSOR, ("cursor expired",))
    assert report.next_allowed_at == recovered_at + timedelta(hours=24)
    assert "not allowed yet" in world.state.last_error
    world.later(hours=1)
    waiting = world.sync()
    assert (waiting.action, waiting.allowed_at) == (SyncAction.WAIT, recovered_at + timedelta(hours=24))
    world.later(hours=22)
    assert world.sync().action is SyncAction.RECOVERY


def test_recovery_that_loses_its_cursor_waits_for_the_next_recovery(world: World) -> None:
    """Half a list is not resumed without its cursor, and no new one begins before its time."""
    world.page_size(10)
    world.apple.add_devices(25, server="hq")
    world.sync()
    recovered_at = world.later(hours=1).clock()
    world.apple.faults.expire_cursors("hq")
    world.apple.script(FETCH, None, Fault.refused("ACCESS_DENIED"))
    with pytest.raises(AccessDeniedError):
        world.sync()
    world.apple.faults.expire_cursors("hq")
    assert world.later(hours=1).sync().outcome is SyncOutcome.NO_CURSOR
    waiting = world.later(hours=1).sync()
    assert (waiting.action, waiting.allowed_at) == (SyncAction.WAIT, recovered_at + timedelta(hours=24))


def test_new_list_may_use_cursors_of_the_lost_changes(world: World) -> None:
    world.apple.add_devices(1, server="hq")
    world.sync()
    page: dict[str, object] = {"devices": [], "cursor": world.state.cursor, "more_to_follow": True}
    world.apple.script(SYNC, Fault.answered(json={**page, "cursor": "next"}), Fault.refused("EXPIRED_CURSOR"))
    world.apple.script(FETCH, Fault.answered(json=page))
    assert world.later(hours=1).sync().outcome is SyncOutcome.CAUGHT_UP


@pytest.mark.lesson(8)
def test_cursor_that_is_always_refused_ends_the_run(world: World) -> None:
    """One full list per run, even if Apple refuses its cursors, too."""
    world.apple.add_devices(2, server="hq")
    world.sync()
    world.later(hours=1)
    world.apple.script(SYNC, Fault.refused("EXPIRED_CURSOR"), forever=True)
    with pytest.raises(ExpiredCursorError):
        world.sync()
    assert (world.requests(FETCH), world.requests(SYNC)) == (2, 3)
    assert world.state.running_since is None


@pytest.mark.lesson(1)
def test_repeated_cursor_stops_the_run_and_keeps_the_data(world: World) -> None:
    """Apple is asked once more in the next run, not in a loop."""
    world.page_size(10)
    world.apple.add_devices(15, server="hq")
    world.apple.script(FETCH, None, Fault.repeated_cursor())
    report = world.sync()
    assert report.outcome is SyncOutcome.REPEATED_CURSOR
    assert (report.pages, report.changes.added) == (2, 15)
    assert not report.continues
    assert report.next_allowed_at == report.started_at + timedelta(minutes=15)
    assert report.next_automatic_at == report.started_at + timedelta(hours=24)
    assert world.requests(FETCH) == 2
    assert len(world.listed()) == 15
    later = world.later(minutes=15).sync()
    assert (later.action, later.outcome) == (SyncAction.RESUME_FULL, SyncOutcome.CAUGHT_UP)
    assert world.listed() == world.at_apple()


@pytest.mark.lesson(1)
def test_cursor_repeated_in_every_run_counts_as_lost(world: World) -> None:
    world.apple.add_devices(1, server="hq")
    world.sync()
    world.apple.script(SYNC, *[Fault.repeated_cursor()] * 3)
    endings = [world.later(minutes=15).sync().outcome for _ in range(3)]
    assert endings == [SyncOutcome.REPEATED_CURSOR] * 3
    assert world.state.repeats == 3
    report = world.later(minutes=15).sync()
    assert (report.action, report.is_complete) == (SyncAction.RECOVERY, True)
    assert "repeated its cursor in 3 runs" in report.reason
    assert world.state.repeats == 0


def test_cursors_alternating_in_every_run_count_as_lost(world: World) -> None:
    """Another cursor in between does not reset the count: the run still ended without catching up."""
    world.apple.add_devices(1, server="hq")
    world.sync()
    endings = []
    for cursors in ("aba", "ba", "ba"):
        pages = [{"devices": [], "cursor": cursor, "more_to_follow": True} for cursor in cursors]
        world.apple.script(SYNC, *(Fault.answered(json=page) for page in pages))
        endings.append(world.later(minutes=15).sync().outcome)
    assert endings == [SyncOutcome.REPEATED_CURSOR] * 3
    report = world.later(minutes=15).sync()
    assert (report.action, report.is_complete) == (SyncAction.RECOVERY, True)
    assert "repeated its cursor in 3 runs" in report.reason


def test_only_consecutive_repetitions_count(world: World) -> None:
    """A run with another outcome resets the count, and so does the end of a full list."""
    world.policy = SyncPolicy(max_pages_per_run=1)
    world.sync()
    world.store.save_sync_state("hq", attrs.evolve(world.state, repeats=2))
    page = {"devices": [], "cursor": "a", "more_to_follow": True}
    world.apple.script(SYNC, Fault.answered(json=page))
    assert world.later(minutes=15).sync().outcome is SyncOutcome.PAGE_LIMIT
    assert world.state.repeats == 0
    world.policy = SyncPolicy()
    assert world.later(days=7).sync(full=True).is_complete
    state = attrs.evolve(world.state, phase=SyncPhase.FETCH, cursor=None, repeats=2)
    world.store.save_sync_state("hq", attrs.evolve(state, listing_since=world.clock()))
    world.apple.script(SYNC, Fault.repeated_cursor())
    assert world.later(minutes=15).sync().outcome is SyncOutcome.REPEATED_CURSOR
    assert world.state.repeats == 1


def test_exhausted_fetch_cursor_continues_with_the_changes(world: World) -> None:
    """Nothing is released, since the last page was never seen."""
    world.page_size(10)
    world.apple.add_devices(15, server="hq")
    world.sync()
    (gone,) = list(world.listed())[:1]
    world.later(days=7)
    world.apple.unassign([gone], announce=False)
    world.apple.script(FETCH, None, Fault.refused("EXHAUSTED_CURSOR"))
    report = world.sync(full=True)
    assert report.is_complete
    assert report.changes.released == 0
    assert report.notes == ("Apple ended the full list without a last page: nothing was released",)
    assert (world.state.phase, world.state.listing_since) == (SyncPhase.SYNC, None)


def test_list_exhausted_before_its_first_page_is_an_error(world: World) -> None:
    world.apple.script(FETCH, Fault.refused("EXHAUSTED_CURSOR"))
    with pytest.raises(ExhaustedCursorError):
        world.sync()
    assert world.requests(FETCH) == 1


def test_exhausted_sync_cursor_means_no_changes(world: World) -> None:
    world.sync()
    cursor = world.state.cursor
    world.store.save_sync_state("hq", attrs.evolve(world.state, repeats=2))
    world.apple.script(SYNC, Fault.refused("EXHAUSTED_CURSOR"))
    report = world.later(minutes=15).sync()
    assert (report.outcome, report.pages) == (SyncOutcome.CAUGHT_UP, 0)
    assert (world.state.cursor, world.state.repeats) == (cursor, 0)
    assert "nothing new" in str(report)


def test_error_on_page_three_keeps_two_pages_and_the_next_run_continues(world: World) -> None:
    world.page_size(10)
    world.apple.add_devices(45, server="hq")
    world.apple.script(FETCH, None, None, *[Fault.server_error()] * 4)
    with pytest.raises(ServerError) as failure:
        world.sync()
    assert failure.value.__notes__ == ["hq: 2 pages committed before the error"]
    state = world.state
    assert len(world.listed()) == 20
    assert (state.running_since, state.phase) == (None, SyncPhase.FETCH)
    assert state.last_error.startswith("ServerError: fetch devices")
    assert world.sync().action is SyncAction.WAIT
    full_sync_at = state.full_sync_at
    report = world.later(minutes=15).sync()
    assert (report.action, report.pages, report.changes.added) == (SyncAction.RESUME_FULL, 4, 25)
    assert world.listed() == world.at_apple()
    assert world.state.full_sync_at == full_sync_at
    assert world.state.last_error == ""


def test_list_without_a_first_page_begins_with_the_next_request(world: World) -> None:
    """Devices assigned and removed in between must not be treated as older than the list."""
    world.apple.script(FETCH, *[Fault.dropped(effect=False)] * 4)
    with pytest.raises(TransportError):
        world.sync()
    failed = world.state
    world.apple.add_devices(3, server="hq")
    report = world.later(hours=1).sync()
    assert (report.action, report.is_complete) == (SyncAction.RESUME_FULL, True)
    assert world.state.full_sync_at == failed.full_sync_at
    assert world.listed() == world.at_apple()


def test_list_is_as_old_as_its_first_request(world: World, profile: EnrollmentProfile) -> None:
    """A list that could not begin for an hour includes what happened meanwhile, also after an assignment."""
    (serial,) = world.apple.add_devices(1, server="hq")
    world.sync()
    world.later(days=7)
    world.apple.script(FETCH, Fault.refused("ACCESS_DENIED"))
    with pytest.raises(AccessDeniedError):
        world.sync(full=True)
    world.later(minutes=20).run(profile)
    world.later(minutes=20)
    world.apple.assign("hq", [serial])
    world.later(minutes=20).sync()
    assert world.listed() == world.at_apple()
    assert world.listed()[serial][0] == "removed"


def test_later_pages_of_a_list_do_not_undo_changes_after_its_start(
    world: World, profile: EnrollmentProfile
) -> None:
    """They show devices as they were when the list began."""
    world.page_size(1)
    world.apple.add_devices(3, server="hq")
    world.sync()
    world.apple.script(FETCH, None, Fault.refused("ACCESS_DENIED"))
    with pytest.raises(AccessDeniedError):
        world.later(days=7).sync(full=True)
    world.later(minutes=1).run(profile)
    assigned = world.listed()
    seen = []
    world.on_page = lambda: seen.append(world.listed())
    assert world.later(minutes=15).sync().action is SyncAction.RESUME_FULL
    assert seen == [assigned] * len(seen)
    assert {status for status, _ in assigned.values()} == {"assigned"}


def test_unaccepted_terms_are_a_typed_error(world: World) -> None:
    world.apple.faults.change_terms()
    with pytest.raises(TermsError):
        world.sync()
    assert world.state.last_error.startswith("TermsError")
    world.apple.faults.accept_terms()
    assert world.later(minutes=15).sync().is_complete


def test_run_ends_at_the_first_page_after_its_time_limit(world: World) -> None:
    """The next run continues immediately, without a cooldown and as the same full sync."""
    world.page_size(10)
    world.apple.add_devices(35, server="hq")
    world.on_page = lambda: world.clock.advance(minutes=7.5)
    report = world.sync()
    world.on_page = lambda: None
    assert report.outcome is SyncOutcome.TIME_LIMIT
    assert report.continues
    assert report.pages == 2
    assert world.state.succeeded_at is None
    assert report.next_allowed_at == report.next_automatic_at == report.finished_at
    assert len(world.listed()) == 20
    full_sync_at = world.state.full_sync_at
    rest = world.sync(automatic=True)
    assert (rest.action, rest.pages, rest.is_complete) == (SyncAction.RESUME_FULL, 3, True)
    assert world.state.full_sync_at == full_sync_at
    assert world.sync().action is SyncAction.WAIT
    assert world.listed() == world.at_apple()


def test_failed_continuation_is_continued_after_the_cooldown(world: World) -> None:
    world.page_size(10)
    world.apple.add_devices(35, server="hq")
    world.on_page = lambda: world.clock.advance(minutes=20)
    assert world.sync().continues
    world.apple.script(FETCH, Fault.refused("ACCESS_DENIED"))
    with pytest.raises(AccessDeniedError):
        world.sync()
    assert world.sync().action is SyncAction.WAIT


@pytest.mark.lesson(1)
def test_pages_per_run_are_bounded(world: World) -> None:
    """A page with a new cursor also resets the count of repeated cursors."""
    world.page_size(10)
    world.policy = SyncPolicy(max_pages_per_run=1)
    world.apple.add_devices(25, server="hq")
    report = world.sync()
    assert (report.outcome, report.pages, report.continues) == (SyncOutcome.PAGE_LIMIT, 1, False)
    assert world.sync().action is SyncAction.WAIT
    world.store.save_sync_state("hq", attrs.evolve(world.state, repeats=2))
    assert world.later(minutes=15).sync().outcome is SyncOutcome.PAGE_LIMIT
    assert world.state.repeats == 0
    world.policy = SyncPolicy(max_pages_per_run=2)
    assert world.later(minutes=15).sync().is_complete
    assert world.listed() == world.at_apple()


def test_empty_page_does_not_end_a_list(world: World) -> None:
    """Only ``more_to_follow`` ends a list: nothing is released in the middle of one."""
    world.page_size(10)
    world.apple.add_devices(15, server="hq")
    world.sync()
    page = {"devices": [], "cursor": "a", "more_to_follow": True}
    world.apple.script(FETCH, Fault.answered(json=page), Fault.unreachable(), forever=True)
    with pytest.raises(TransportError):
        world.later(days=7).sync(full=True)
    assert (world.state.phase, world.state.cursor) == (SyncPhase.FETCH, "a")
    assert len(world.listed()) == 15


@pytest.mark.lesson(10)
def test_repeated_page_changes_nothing(world: World) -> None:
    first, second = world.apple.add_devices(2, server="hq")
    world.sync()
    world.later(minutes=20)
    world.apple.unassign([first])
    world.sync()
    world.apple.faults.repeat_records([first], "hq")
    report = world.later(minutes=20).sync()
    assert (report.devices, report.changes.released, report.changes.unchanged) == (1, 0, 1)
    assert world.listed().keys() == {second}


def test_stored_times_in_the_future_are_corrected(world: World) -> None:
    world.later(days=300).sync()
    world.clock.advance(days=-300)
    assert world.sync().action is SyncAction.WAIT
    assert world.state.run_at == world.clock()
    assert world.later(minutes=15).sync().is_complete


def test_records_without_a_serial_number_are_reported(world: World) -> None:
    page = {"devices": [{"model": "?"}], "cursor": "x", "more_to_follow": False}
    world.apple.script(FETCH, Fault.answered(json=page))
    world.apple.script(SYNC, Fault.answered(json={**page, "devices": []}))
    report = world.sync()
    assert report.notes == ("1 record could not be read: left out",)
    assert report.unreadable == 1


def test_nul_characters_are_replaced_and_reported(world: World) -> None:
    page = {"devices": [{"serial_number": "C\0", "asset_tag": "\0"}], "cursor": "x", "more_to_follow": False}
    world.apple.script(FETCH, Fault.answered(json=page))
    world.apple.script(SYNC, Fault.answered(json={**page, "devices": []}))
    assert world.sync().notes == ("2 NUL characters replaced by U+FFFD",)
    assert list(world.listed()) == ["C\ufffd"]


def test_token_must_be_in_the_store(world: World) -> None:
    world.store.remove_token("hq", now=world.clock())
    with pytest.raises(UnknownTokenError):
        world.sync()


def test_text_of_a_report(world: World) -> None:
    world.apple.add_devices(1_200, server="hq")
    assert str(world.sync()).splitlines() == [
        "hq: full sync (the first sync is a full one)",
        "  3 pages with 1,200 records in 0.0 s: 1,200 added",
        "  caught up with Apple",
        "  next: on request from 2025-01-01 00:15:00 UTC, automatically from 2025-01-02 00:00:00 UTC",
    ]
    assert str(world.sync()).splitlines() == [
        "hq: not synced (a sync runs once in 15 minutes)",
        "  nothing was sent",
        "  next: on request from 2025-01-01 00:15:00 UTC, automatically from 2025-01-02 00:00:00 UTC",
    ]
