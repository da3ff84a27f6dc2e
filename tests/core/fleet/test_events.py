"""Events: compact as they are written, one per device as they are read."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.cases import each

from pyade.core.fleet.assignment import NO_PROFILE
from pyade.core.fleet.device import Device, DeviceResult
from pyade.core.fleet.events import (
    EventBatch,
    EventGroup,
    EventKind,
    attempt_groups,
    change_groups,
    decode_groups,
    encode_groups,
    split_id,
)
from pyade.core.fleet.outcomes import Attempt
from pyade.core.fleet.records import Change, DeviceRecord
from pyade.errors import StoreError

NOW = datetime(2026, 3, 1, tzinfo=UTC)
groups = st.lists(
    st.builds(
        EventGroup,
        st.sampled_from(EventKind),
        st.lists(st.none() | st.text(max_size=12), min_size=1, max_size=5).map(tuple),
        st.dictionaries(st.text(max_size=5), st.none() | st.booleans() | st.text(max_size=5), max_size=2),
    ),
    max_size=6,
).map(tuple)


def record(serial: str = "S1", **changes: Any) -> DeviceRecord:
    bare = DeviceRecord(
        token_name="hq", device=Device(serial_number=serial), first_seen_at=NOW, updated_at=NOW
    )
    return attrs.evolve(bare, **changes)


def attempt(result: str = "SUCCESS", profile_uuid: str = "P1", hours: int | None = None) -> Attempt:
    wait = None if hours is None else NOW + timedelta(hours=hours)
    return Attempt(profile_uuid=profile_uuid, result=DeviceResult(result), attempted_at=NOW, not_before=wait)


@given(groups)
def test_what_is_written_is_what_is_read(written: tuple[EventGroup, ...]) -> None:
    assert decode_groups(encode_groups(written)) == written


@given(groups, st.integers(-1, 40))
def test_reading_goes_on_after_any_event(written: tuple[EventGroup, ...], after: int) -> None:
    batch = EventBatch("hq", NOW, written)
    everything = list(batch.expand("7"))
    assert list(batch.expand("7", after=after)) == everything[after + 1 :]
    assert len({event.id for event in everything}) == len(everything)
    assert all(split_id(event.id) == ("7", index) for index, event in enumerate(everything))


def test_a_kind_of_a_newer_version_is_kept() -> None:
    assert decode_groups('[["teleported",["S1"],{}]]')[0].kind == "teleported"


@each("text", ["", "{}", '[["added",[1],{}]]'])
def test_a_row_that_cannot_be_read_is_an_error_of_the_store(text: str) -> None:
    with pytest.raises(StoreError, match="cannot be read"):
        decode_groups(text)


def test_details_without_a_json_form_are_refused() -> None:
    with pytest.raises(StoreError, match="no JSON form"):
        encode_groups([EventGroup(EventKind.TOKEN_SUSPENDED, details={"reason": object()})])


@each("text", ["", "7", "7.", ".7", "7.x", "7.-1", "7.²"])
def test_what_is_no_id_is_refused(text: str) -> None:
    with pytest.raises(StoreError, match="no id of an event"):
        split_id(text)


def test_neighbours_of_one_kind_share_a_group_and_the_order_stays() -> None:
    changes = [
        (Change.ADDED, "A"),
        (Change.UNCHANGED, "B"),
        (Change.ADDED, "C"),
        (Change.RELEASED, "A"),
        (Change.STALE, "D"),
        (Change.ADDED, "E"),
    ]
    assert [(group.kind, group.serials) for group in change_groups(changes)] == [
        ("added", ("A", "C")),
        ("released", ("A",)),
        ("added", ("E",)),
    ]


@each(
    ("made", "kind", "details"),
    [
        (attempt(), EventKind.ASSIGNED, {"profile_uuid": "P1", "result": "SUCCESS"}),
        (
            attempt(profile_uuid=NO_PROFILE),
            EventKind.UNASSIGNED,
            {"profile_uuid": NO_PROFILE, "result": "SUCCESS"},
        ),
        (
            attempt("THROTTLED", hours=24),
            EventKind.THROTTLED,
            {"profile_uuid": "P1", "result": "THROTTLED", "not_before": "2026-03-02T00:00:00+00:00"},
        ),
        (
            attempt("NOT_ACCESSIBLE"),
            EventKind.ASSIGNMENT_FAILED,
            {"profile_uuid": "P1", "result": "NOT_ACCESSIBLE"},
        ),
        (attempt("missing"), EventKind.ASSIGNMENT_FAILED, {"profile_uuid": "P1", "result": "missing"}),
    ],
)
def test_an_attempt_makes_an_event(made: Attempt, kind: EventKind, details: dict[str, str]) -> None:
    after = {"S1": record(attempt=made)}
    assert attempt_groups({"S1": record()}, after, {"S1": made}) == (EventGroup(kind, ("S1",), details),)


def test_equal_outcomes_share_a_group() -> None:
    made = {serial: attempt() for serial in ("S1", "S2", "S3")}
    after = {serial: record(serial, attempt=one) for serial, one in made.items()}
    (group,) = attempt_groups({serial: record(serial) for serial in made}, after, made)
    assert group.serials == ("S1", "S2", "S3")


def test_an_attempt_that_was_not_stored_is_no_event() -> None:
    assert attempt_groups({"S1": record()}, {}, {"S1": attempt()}) == ()
    assert attempt_groups({"S1": record()}, {"S1": record()}, {"S1": attempt()}) == ()


def test_details_tell_of_new_devices_returned_ones_and_changes_without_an_attempt() -> None:
    before = {
        "BACK": record("BACK", released_at=NOW),
        "CHANGED": record("CHANGED"),
        "TRIED": record("TRIED"),
        "SAME": record("SAME"),
    }
    new = Device(serial_number="x", profile_uuid="P1")
    after = {
        "NEW": record("NEW"),
        "BACK": record("BACK"),
        "CHANGED": record("CHANGED", device=new),
        "TRIED": record("TRIED", device=new, attempt=attempt()),
        "SAME": record("SAME", full_sync=2),
    }
    found = attempt_groups(before, after, {"TRIED": attempt()})
    assert [(group.kind, group.serials) for group in found] == [
        ("added", ("NEW",)),
        ("returned", ("BACK",)),
        ("modified", ("CHANGED",)),
        ("assigned", ("TRIED",)),
    ]
