"""The rules by which Apple's records change what is stored."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import attrs
import pytest
from tests.cases import each

from pyade.core.fleet.device import Device, DeviceResult, OpType, ProfileStatus
from pyade.core.fleet.merging import merge, merge_attempts, merge_page, release
from pyade.core.fleet.outcomes import Attempt
from pyade.core.fleet.records import (
    Change,
    ChangeCounts,
    DeviceRecord,
    Source,
    SyncState,
    finished_state,
    is_unlisted,
    next_state,
)
from pyade.errors import StoreConflictError, StoreError

NOW = datetime(2025, 6, 1, 12, tzinfo=UTC)
LATER_MINUTES = 60
LATER = NOW + timedelta(minutes=LATER_MINUTES)
LISTING = SyncState(full_sync=2, listing_since=NOW)


def at(minutes: float) -> datetime:
    return NOW + timedelta(minutes=minutes)


def event(op_type: OpType, minutes: float | None, **values: Any) -> Device:
    return Device(
        serial_number="A", op_type=op_type, op_date=None if minutes is None else at(minutes), **values
    )


def attempt(
    result: DeviceResult = DeviceResult.SUCCESS, minutes: float = 0, wait: float | None = None
) -> Attempt:
    return Attempt(
        profile_uuid="P1",
        result=result,
        attempted_at=at(minutes),
        not_before=None if wait is None else at(wait),
    )


def record(**changes: Any) -> DeviceRecord:
    values: dict[str, Any] = {
        "token_name": "hq",
        "device": Device(
            serial_number="A", model="Mac", profile_status=ProfileStatus.ASSIGNED, profile_uuid="P1"
        ),
        "first_seen_at": at(-100),
        "updated_at": at(-100),
        "full_sync": 1,
        **changes,
    }
    return DeviceRecord(**values)


def merged(
    known: DeviceRecord | None,
    device: Device,
    source: Source = Source.SYNC,
    state: SyncState = LISTING,
    now: datetime = LATER,
) -> tuple[DeviceRecord | None, Change]:
    return merge(known, device, token_name="hq", source=source, state=state, now=now)


# Unknown serial numbers


@each("op_type", [OpType.ADDED, OpType.MODIFIED, OpType("teleported")])
def test_unknown_serial_is_added_whatever_the_operation(op_type: OpType) -> None:
    """Observed: a device that was moved here arrives as ``modified``."""
    new, change = merged(None, event(op_type, 5, model="Mac"))
    assert change is Change.ADDED
    assert new == DeviceRecord(
        token_name="hq",
        device=Device(serial_number="A", model="Mac"),
        first_seen_at=LATER,
        updated_at=LATER,
        op_date=at(5),
    )


def test_fetched_device_has_no_operation_time_and_is_listed() -> None:
    new, change = merged(None, Device(serial_number="A"), Source.FETCH)
    assert change is Change.ADDED
    assert new is not None
    assert (new.op_date, new.full_sync, new.is_released) == (None, 2, False)


def test_deletion_of_an_unknown_serial_is_remembered() -> None:
    gone, change = merged(None, event(OpType.DELETED, 5, profile_status=ProfileStatus.ASSIGNED, color="GRAY"))
    assert change is Change.RELEASED
    assert gone is not None
    assert gone.released_at == LATER
    assert gone.device == Device(serial_number="A", color="GRAY")
    after, change = merged(gone, event(OpType.ADDED, 4))
    assert (after, change) == (gone, Change.STALE)


def test_serial_number_of_a_record() -> None:
    assert record().serial_number == "A"


# Order


@each(
    ("minutes", "expected"),
    [(-1, Change.STALE), (0, Change.MODIFIED), (1, Change.MODIFIED), (None, Change.MODIFIED)],
)
def test_newest_operation_wins_and_a_tie_goes_to_the_later_arrival(
    minutes: float | None, expected: Change
) -> None:
    known = record(op_date=at(0))
    new, change = merged(known, event(OpType.MODIFIED, minutes, asset_tag="news"))
    assert change is expected
    assert new is not None
    assert (new is known) == (expected is Change.STALE)
    assert (new.device.asset_tag == "news") == (expected is Change.MODIFIED)
    assert new.op_date == max(at(0), at(minutes or 0))


def test_deleted_then_added_is_present_and_the_reverse_is_released() -> None:
    deleted, added = event(OpType.DELETED, 1), event(OpType.ADDED, 2)
    for page in ([deleted, added], [added, deleted]):
        records, _ = merge_page({}, page, token_name="hq", source=Source.SYNC, state=LISTING, now=LATER)
        assert not records["A"].is_released
    again = [event(OpType.DELETED, 3), event(OpType.ADDED, 2)]
    records, counts = merge_page(
        records, again, token_name="hq", source=Source.SYNC, state=LISTING, now=LATER
    )
    assert records["A"].is_released
    assert counts == ChangeCounts(released=1, stale=1)


def test_same_event_again_is_no_news() -> None:
    first, _ = merged(record(), event(OpType.MODIFIED, 5, asset_tag="x"))
    assert first is not None
    with_attempt = attrs.evolve(first, attempt=attempt(minutes=10))
    again, change = merged(with_attempt, event(OpType.MODIFIED, 5, asset_tag="x"), now=at(500))
    assert change is Change.UNCHANGED
    assert again is with_attempt


def test_same_content_at_a_newer_time_is_news() -> None:
    """A re-assignment to the same server looks the same and has lost the profile."""
    first, _ = merged(record(), event(OpType.MODIFIED, 5))
    again, change = merged(first, event(OpType.MODIFIED, 6))
    assert change is Change.MODIFIED
    assert again is not None
    assert again.op_date == at(6)


# Full lists


def test_list_does_not_overwrite_an_event_that_is_newer_than_its_start() -> None:
    known = record(op_date=at(5), device=Device(serial_number="A", asset_tag="event"))
    new, change = merged(known, Device(serial_number="A", asset_tag="list"), Source.FETCH)
    assert change is Change.STALE
    assert new == attrs.evolve(known, full_sync=2)


def test_list_overwrites_older_events_and_keeps_their_time() -> None:
    known = record(op_date=at(-5), released_at=at(-4))
    new, change = merged(known, Device(serial_number="A", asset_tag="list"), Source.FETCH)
    assert change is Change.RETURNED
    assert new is not None
    assert (new.op_date, new.device.asset_tag, new.full_sync) == (at(-5), "list", 2)


def test_list_with_known_content_marks_the_device_as_listed() -> None:
    known = record()
    new, change = merged(known, known.device, Source.FETCH)
    assert change is Change.UNCHANGED
    assert new == attrs.evolve(known, full_sync=2)


def test_deletion_within_a_list_counts() -> None:
    """Observed: one client tolerates operations in a list, ``deleted`` among them."""
    new, change = merged(record(), event(OpType.DELETED, 5), Source.FETCH)
    assert change is Change.RELEASED
    assert new is not None
    assert new.op_date is None


@each(
    ("changes", "unlisted"),
    [
        ({}, True),
        ({"full_sync": 2}, False),
        ({"released_at": NOW}, False),
        ({"op_date": at(5)}, False),
        ({"op_date": at(-5)}, True),
        ({"full_sync": 0}, True),
    ],
)
def test_a_device_is_unlisted_if_neither_the_list_nor_a_newer_event_shows_it(
    changes: dict[str, Any], unlisted: bool
) -> None:
    assert is_unlisted(record(**changes), LISTING) is unlisted


def test_released_device_is_as_after_a_deletion() -> None:
    known = record(op_date=at(-5), attempt=attempt(DeviceResult.THROTTLED, wait=60))
    gone = release(known, LATER)
    by_event, _ = merged(known, event(OpType.DELETED, 1))
    assert by_event is not None
    assert gone == attrs.evolve(by_event, op_date=at(-5))
    assert gone.device == Device(serial_number="A", model="Mac")
    assert gone.released_at == LATER


def test_deletion_ends_what_concerned_the_profile_and_keeps_the_hardware() -> None:
    """A later ``added`` must not find an assignment that is gone."""
    known = record(attempt=attempt())
    gone, change = merged(known, event(OpType.DELETED, 1, color="GRAY", extra={"new": 1}))
    assert change is Change.RELEASED
    assert gone is not None
    assert gone.device == Device(serial_number="A", model="Mac", color="GRAY", extra={"new": 1})
    assert gone.attempt is None
    again, change = merged(gone, event(OpType.DELETED, 2, color="GRAY", extra={"new": 1}), now=at(500))
    assert change is Change.MODIFIED
    assert again is not None
    assert again.released_at == gone.released_at


# Attempts


def test_newer_event_supersedes_an_attempt() -> None:
    gone = event(OpType.MODIFIED, 5, profile_status=ProfileStatus.REMOVED)
    new, _ = merged(record(attempt=attempt()), gone)
    assert new is not None
    assert new.attempt is not None, "only the attempt knows what was wanted"
    assert new.attempt.result == DeviceResult.NOT_CONFIRMED


def test_cooldown_outlives_newer_events() -> None:
    throttled = attempt(DeviceResult.THROTTLED, wait=60)
    new, _ = merged(record(attempt=throttled), event(OpType.MODIFIED, 5))
    assert new is not None
    assert new.attempt == throttled


def test_stale_event_leaves_the_attempt() -> None:
    known = record(op_date=at(0), attempt=attempt())
    assert merged(known, event(OpType.MODIFIED, -5)) == (known, Change.STALE)


@each(("minutes", "kept"), [(-5, False), (0, True), (5, True)])
@each("tag", [None, "news"])
def test_list_supersedes_attempts_from_before_its_start(minutes: float, kept: bool, tag: str | None) -> None:
    """A device that answered ``NOT_ACCESSIBLE`` is tried again once a list shows it, changed or not."""
    known = record(attempt=attempt(DeviceResult.NOT_ACCESSIBLE, minutes))
    new, _ = merged(known, known.device.changed(asset_tag=tag), Source.FETCH)
    assert new is not None
    assert (new.attempt == known.attempt) is kept


@pytest.mark.parametrize(("minutes", "kept"), [(LATER_MINUTES + 5, True), (LATER_MINUTES + 6, False)])
def test_list_supersedes_an_attempt_from_before_the_clock_was_set_back(minutes: float, kept: bool) -> None:
    """Else a profile that Apple took away would count as assigned until the wrong time is reached."""
    known = record(attempt=attempt(minutes=minutes))
    new, _ = merged(known, known.device.changed(profile_status=ProfileStatus.REMOVED), Source.FETCH)
    assert new is not None
    assert new.attempt is not None
    assert (new.attempt.result == DeviceResult.SUCCESS) is kept


# Details


def test_details_win_over_what_was_stored_before() -> None:
    known = record(op_date=at(5))
    read = Device(
        serial_number="A",
        profile_status=ProfileStatus.PUSHED,
        profile_assign_time=at(1),
        response_status=DeviceResult.SUCCESS,
    )
    new, change = merged(known, read, Source.DETAILS)
    assert change is Change.MODIFIED
    assert new is not None
    assert new.device == read.changed(response_status=None)
    assert new.op_date == at(5)
    assert merged(new, read, Source.DETAILS) == (new, Change.UNCHANGED)


def test_assignment_time_of_details_makes_older_events_stale() -> None:
    known, _ = merged(record(), Device(serial_number="A", profile_assign_time=at(10)), Source.DETAILS)
    assert known is not None
    assert known.op_date == at(10)
    assert merged(known, event(OpType.MODIFIED, 9)) == (known, Change.STALE)


@pytest.mark.parametrize("known", [None, record()])
def test_details_that_apple_refused_say_nothing(known: DeviceRecord | None) -> None:
    read = Device(serial_number="A", response_status=DeviceResult.NOT_ACCESSIBLE)
    assert merged(known, read, Source.DETAILS) == (known, Change.UNCHANGED)


def attempted(
    records: list[DeviceRecord], attempts: dict[str, Attempt], *details: Device
) -> dict[str, DeviceRecord]:
    known = {known.serial_number: known for known in records}
    return merge_attempts(known, attempts, details, token_name="hq", state=LISTING, now=LATER)


def test_attempt_is_set_after_the_details() -> None:
    read = Device(serial_number="A", profile_status=ProfileStatus.ASSIGNED)
    changed = attempted([record()], {"A": attempt()}, read)
    assert changed["A"].device == read
    assert changed["A"].attempt == attempt()
    assert changed["A"].updated_at == LATER


def test_attempt_alone_does_not_change_apples_record() -> None:
    known = record()
    assert attempted([known], {"A": attempt()}) == {"A": attrs.evolve(known, attempt=attempt())}


def test_attempts_of_unknown_serials_are_ignored() -> None:
    assert attempted([], {"A": attempt()}) == {}


def test_details_make_a_serial_known() -> None:
    changed = attempted([], {"A": attempt()}, Device(serial_number="A"))
    assert changed["A"].attempt == attempt()


def test_details_that_apple_refused_do_not_make_a_serial_known() -> None:
    read = Device(serial_number="A", response_status=DeviceResult.NOT_ACCESSIBLE)
    assert attempted([], {"A": attempt(DeviceResult.NOT_ACCESSIBLE)}, read) == {}


def test_nothing_is_written_where_nothing_changed() -> None:
    known = record(attempt=attempt())
    assert attempted([known], {"A": attempt()}, known.device) == {}


def test_record_that_was_stored_after_the_attempt_is_newer_than_its_details() -> None:
    """While an assignment was on its way, a sync stored that the device is gone: it stays gone."""
    gone = record(released_at=at(5), updated_at=at(5), op_date=at(4))
    read = Device(serial_number="A", profile_status=ProfileStatus.ASSIGNED)
    assert attempted([gone], {"A": attempt(minutes=3)}, read) == {}
    throttled = attempt(DeviceResult.THROTTLED, minutes=3, wait=60)
    assert attempted([gone], {"A": throttled}, read) == {"A": attrs.evolve(gone, attempt=throttled)}


@pytest.mark.parametrize(("minutes", "is_newer"), [(LATER_MINUTES + 5, True), (LATER_MINUTES + 6, False)])
def test_record_from_before_the_clock_was_set_back_is_not_newer(minutes: float, is_newer: bool) -> None:
    """Else no outcome would be remembered until the wrong time is reached, and each run sent all again."""
    known = record(updated_at=at(minutes))
    read = Device(serial_number="A", asset_tag="new")
    changed = attempted([known], {"A": attempt()}, read)
    assert (changed == {}) is is_newer


# States and counts


def test_next_state_counts_the_writes() -> None:
    assert next_state("hq", 3, SyncState(revision=3, cursor="c")) == SyncState(revision=4, cursor="c")


def test_state_of_another_revision_is_a_conflict() -> None:
    with pytest.raises(StoreConflictError, match=r"'hq' has revision 4, not 3.*read it again"):
        next_state("hq", 4, SyncState(revision=3))


def test_finished_state_has_no_list_under_way() -> None:
    assert finished_state("hq", 0, LISTING) == attrs.evolve(LISTING, revision=1, listing_since=None)
    with pytest.raises(StoreConflictError):
        finished_state("hq", 1, LISTING)
    with pytest.raises(StoreError, match="no full list of 'hq'"):
        finished_state("hq", 0, SyncState())


def test_counts_add_up() -> None:
    one, other = ChangeCounts(added=1, stale=2), ChangeCounts(added=3, released=4, returned=5)
    assert one + other == ChangeCounts(added=4, stale=2, released=4, returned=5)


def test_page_counts_every_record_and_returns_only_what_is_to_be_written() -> None:
    known = record(op_date=at(0))
    page = [
        event(OpType.MODIFIED, -1),
        Device(serial_number="B", op_date=at(1)),
        Device(serial_number="B", op_date=at(2), op_type=OpType.DELETED),
    ]
    changed, counts = merge_page(
        {"A": known}, page, token_name="hq", source=Source.SYNC, state=LISTING, now=NOW
    )
    assert changed.keys() == {"B"}
    assert changed["B"].is_released
    assert counts == ChangeCounts(added=1, released=1, stale=1)
