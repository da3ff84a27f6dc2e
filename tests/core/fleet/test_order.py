"""Which of two records from Apple is newer, and which are a tie that only the details decide."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from tests.cases import each

from pyade.core.fleet.device import Device, OpType
from pyade.core.fleet.merging import merge, merge_page
from pyade.core.fleet.order import MAX_TIES, implausible_dates, is_implausible, state_after_page
from pyade.core.fleet.records import Change, DeviceRecord, Source, SyncState, owner_of

NOW = datetime(2025, 6, 1, 12, tzinfo=UTC)
LISTED = SyncState(full_sync=2, listed_at=NOW - timedelta(days=1))
IN_2031 = datetime(2031, 1, 1, tzinfo=UTC)
IN_1970 = datetime(1970, 1, 1, tzinfo=UTC)


def at(days: float = 0, minutes: float = 0) -> datetime:
    return NOW + timedelta(days=days, minutes=minutes)


def record(*, tag: str = "list", released: bool = False, **changes: Any) -> DeviceRecord:
    values: dict[str, Any] = {
        "token_name": "hq",
        "device": Device(
            serial_number="A", asset_tag=tag, device_assigned_date=changes.pop("assigned", None)
        ),
        "first_seen_at": at(-100),
        "updated_at": at(-1),
        "full_sync": 2,
        "released_at": at(-1) if released else None,
        **changes,
    }
    return DeviceRecord(**values)


def event(op_type: OpType, op_date: datetime | None, tag: str | None = "event") -> Device:
    return Device(serial_number="A", op_type=op_type, op_date=op_date, asset_tag=tag)


def change_and_tie(
    known: DeviceRecord | None, device: Device, state: SyncState = LISTED, source: Source = Source.SYNC
) -> tuple[Change, bool | None]:
    """Return the change that *device* makes, and whether the page notes a tie, and of which kind."""
    _, change = merge(known, device, token_name="hq", source=source, state=state, now=NOW)
    ties: dict[str, bool] = {}
    records = {} if known is None else {"A": known}
    merge_page(records, [device], token_name="hq", source=source, state=state, now=NOW, ties=ties)
    return change, ties.get("A")


@each(
    ("op_type", "minutes", "expected"),
    [
        (OpType.DELETED, -60, (Change.STALE, None)),
        (OpType.MODIFIED, -60, (Change.STALE, None)),
        (OpType.DELETED, -6, (Change.STALE, None)),
        (OpType.DELETED, -5, (Change.STALE, True)),
        (OpType.MODIFIED, -1, (Change.STALE, False)),
        (OpType.DELETED, 0, (Change.RELEASED, True)),
        (OpType.MODIFIED, 0, (Change.MODIFIED, False)),
        (OpType.DELETED, 5, (Change.RELEASED, True)),
        (OpType.DELETED, 6, (Change.RELEASED, None)),
    ],
)
def test_an_event_is_compared_with_the_start_of_the_list_that_shows_the_device(
    op_type: OpType, minutes: float, expected: tuple[Change, bool | None]
) -> None:
    """Apple's clock and ours may be five minutes apart: within that the details decide."""
    assert change_and_tie(record(), event(op_type, at(-1, minutes))) == expected


def test_an_event_within_the_second_in_which_the_list_began_is_a_tie() -> None:
    state = SyncState(full_sync=2, listed_at=at(-1) + timedelta(milliseconds=700))
    assert change_and_tie(record(), event(OpType.DELETED, at(-1)), state) == (Change.RELEASED, True)


def test_an_equal_record_is_no_tie() -> None:
    assert change_and_tie(record(), event(OpType.MODIFIED, at(-1), tag="list")) == (Change.MODIFIED, None)
    assert change_and_tie(record(released=True), event(OpType.DELETED, at(-1))) == (Change.MODIFIED, None)


@each(
    ("known", "expected"),
    [
        (record(released=True), (Change.STALE, None)),
        (record(released=True, op_date=at(-2)), (Change.STALE, None)),
        (record(released=True, full_sync=1), (Change.STALE, True)),
        (record(full_sync=1), (Change.MODIFIED, False)),
        (record(full_sync=1, op_date=at(-2)), (Change.STALE, None)),
        (None, (Change.ADDED, True)),
    ],
)
def test_a_device_missing_from_a_newer_list_makes_an_event_a_tie(
    known: DeviceRecord | None, expected: tuple[Change, bool | None]
) -> None:
    """It is unknown whether the list was complete, so that an older event is a tie."""
    assert change_and_tie(known, event(OpType.ADDED, at(-3))) == expected


def test_a_device_that_the_changes_bring_after_a_list_is_new() -> None:
    assert change_and_tie(None, event(OpType.ADDED, at(-0.5))) == (Change.ADDED, None)
    assert change_and_tie(None, event(OpType.DELETED, at(-3))) == (Change.RELEASED, None)


@each(
    ("op_date", "expected"),
    [(at(-4), (Change.STALE, None)), (at(-3), (Change.RELEASED, True)), (at(-2), (Change.RELEASED, None))],
)
def test_an_event_is_compared_with_the_assignment_of_the_device(
    op_date: datetime, expected: tuple[Change, bool | None]
) -> None:
    known = record(assigned=at(-3))
    assert change_and_tie(known, event(OpType.DELETED, op_date), SyncState()) == expected


def test_an_assignment_in_the_future_makes_no_event_older() -> None:
    known = record(assigned=IN_2031)
    assert change_and_tie(known, event(OpType.DELETED, at(-2)), SyncState())[0] is Change.RELEASED


@each(
    ("op_date", "is_wrong"),
    [
        (at(minutes=5), False),
        (at(minutes=6), True),
        (at(-30), False),
        (at(-31), True),
        (IN_2031, True),
        (IN_1970, True),
    ],
)
def test_dates_that_cannot_be_right(op_date: datetime, is_wrong: bool) -> None:
    assert is_implausible(op_date, NOW) is is_wrong
    found = implausible_dates([event(OpType.ADDED, op_date), event(OpType.ADDED, None)], NOW)
    assert found == ({"A": op_date} if is_wrong else {})


def after(known: DeviceRecord | None, device: Device, now: datetime = NOW) -> DeviceRecord:
    merged, _ = merge(known, device, token_name="hq", source=Source.SYNC, state=LISTED, now=now)
    assert merged is not None
    return merged


@pytest.mark.parametrize("known", [None, record()])
def test_a_future_date_counts_as_the_arrival_and_is_kept_beside_it(known: DeviceRecord | None) -> None:
    merged = after(known, event(OpType.MODIFIED, IN_2031))
    assert (merged.op_date, merged.op_date_sent) == (at(minutes=5), IN_2031)
    again = after(merged, event(OpType.MODIFIED, IN_2031), now=at(3))
    assert again is merged
    later = after(merged, event(OpType.DELETED, at(1)), now=at(1))
    assert (later.op_date, later.op_date_sent, later.is_released) == (at(1), None, True)


def test_what_is_compared_with_a_date_that_cannot_be_right_is_a_tie() -> None:
    """An event of the minutes after its arrival is not lost, and an older one is not believed."""
    merged = after(record(), event(OpType.MODIFIED, IN_2031))
    assert change_and_tie(merged, event(OpType.DELETED, at(minutes=4))) == (Change.STALE, True)
    assert change_and_tie(merged, event(OpType.DELETED, at(minutes=-30))) == (Change.STALE, True)
    assert change_and_tie(merged, event(OpType.DELETED, IN_2031)) == (Change.RELEASED, True)


@each(
    ("op_date", "change"),
    [(IN_2031, Change.RELEASED), (IN_1970, Change.STALE), (None, Change.RELEASED)],
)
def test_a_change_without_a_usable_date_is_a_tie(op_date: datetime | None, change: Change) -> None:
    assert change_and_tie(record(op_date=at(-0.5)), event(OpType.DELETED, op_date)) == (change, True)


def test_a_newer_list_takes_the_place_of_a_date_that_cannot_be_right() -> None:
    merged = after(record(), event(OpType.MODIFIED, IN_2031))
    state = SyncState(full_sync=3, listing_since=at(1))
    for tag in ("event", "list"):
        device = Device(serial_number="A", asset_tag=tag)
        listed, _ = merge(merged, device, token_name="hq", source=Source.FETCH, state=state, now=at(1))
        assert listed is not None
        assert (listed.op_date, listed.op_date_sent) == (at(minutes=5), None)


def test_a_profile_time_in_the_future_is_no_operation_date() -> None:
    read = Device(serial_number="A", profile_assign_time=IN_2031)
    merged, _ = merge(record(), read, token_name="hq", source=Source.DETAILS, state=LISTED, now=NOW)
    assert merged is not None
    assert merged.op_date is None


@each(("minutes", "expected"), [(-6, None), (-5, True), (1, True), (5, True), (6, None)])
def test_a_list_and_an_event_of_the_same_minutes_are_a_tie(minutes: float, expected: bool | None) -> None:
    state = SyncState(full_sync=2, listing_since=NOW)
    known = record(op_date=at(minutes=minutes), released=True, full_sync=1)
    assert change_and_tie(known, Device(serial_number="A"), state, Source.FETCH)[1] is expected


def test_what_was_deleted_here_is_brought_back_by_news_alone() -> None:
    hidden = record(deleted_at=at(-0.5))
    late, change = merge(
        hidden, event(OpType.ADDED, at(-3)), token_name="hq", source=Source.SYNC, state=LISTED, now=NOW
    )
    assert (late, change) == (hidden, Change.STALE)
    assert change_and_tie(hidden, event(OpType.ADDED, at(-3))) == (Change.STALE, None)
    assert change_and_tie(hidden, event(OpType.ADDED, at(-0.1)))[0] is Change.RETURNED


def test_details_of_a_device_that_the_newest_list_did_not_show_count_as_listed() -> None:
    """Else a release that waits would release what Apple has shown since."""
    read = Device(serial_number="A", asset_tag="details")
    for known in (None, record(full_sync=1)):
        for state, number in ((LISTED, 2), (SyncState(full_sync=2, listing_since=NOW), None)):
            merged, _ = merge(known, read, token_name="hq", source=Source.DETAILS, state=state, now=NOW)
            assert merged is not None
            assert merged.full_sync == (number or (0 if known is None else 1))


def test_ties_are_kept_up_to_a_bound_and_a_deletion_is_not_forgotten() -> None:
    many = {f"{number:05}": False for number in range(MAX_TIES + 5)}
    state = state_after_page(SyncState(), many, is_list=False)
    assert len(state.ties) == MAX_TIES
    state = state_after_page(state, {"00000": True, "new": True}, is_list=False)
    assert (state.ties["00000"], "new" in state.ties, len(state.ties)) == (True, False, MAX_TIES)
    assert state_after_page(state, {"00000": False}, is_list=False) is state


def test_the_start_of_the_newest_list_is_kept() -> None:
    state = SyncState(listing_since=NOW)
    assert state_after_page(state, {}, is_list=True).listed_at == NOW
    assert state_after_page(state, {}, is_list=False) is state
    assert state_after_page(LISTED, {}, is_list=True) is LISTED


def test_an_assignment_in_2031_makes_no_token_the_owner_for_years() -> None:
    wild = DeviceRecord(
        token_name="wild",
        device=Device(serial_number="A", device_assigned_date=IN_2031),
        first_seen_at=at(-3),
        updated_at=at(-3),
    )
    newer = DeviceRecord(
        token_name="newer",
        device=Device(serial_number="A", device_assigned_date=at(-1)),
        first_seen_at=at(-1),
        updated_at=at(-1),
    )
    assert owner_of([wild, newer]) == owner_of([newer, wild]) == newer
