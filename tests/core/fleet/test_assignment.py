"""Which device needs which profile: decided from state, never sent twice, never omitted."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import attrs
import pytest
from tests.cases import each

from pyade.core.fleet.assignment import (
    COOLDOWN,
    NO_PROFILE,
    Reason,
    is_without_profile,
    needs_profile,
    outcome,
    profile_of,
    waits_until,
)
from pyade.core.fleet.device import Device, DeviceFamily, DeviceResult, ProfileStatus
from pyade.core.fleet.outcomes import Attempt, DeviceResults
from pyade.core.fleet.records import DeviceRecord

T0 = datetime(2025, 3, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
OURS, OTHER = "AAAA", "BBBB"


def record(
    status: str | None = None,
    uuid: str | None = None,
    *,
    attempt: Attempt | None = None,
    released: bool = False,
    **keys: object,
) -> DeviceRecord:
    values: dict[str, object] = {"serial_number": "S1", "profile_uuid": uuid, **keys}
    if status is not None:
        values["profile_status"] = ProfileStatus(status)
    return DeviceRecord(
        token_name="hq",
        device=Device(**values),  # type: ignore[arg-type]
        first_seen_at=T0,
        updated_at=T0,
        released_at=T0 if released else None,
        attempt=attempt,
    )


def tried(result: str, uuid: str = OURS, not_before: datetime | None = None) -> Attempt:
    return Attempt(profile_uuid=uuid, result=DeviceResult(result), attempted_at=T0, not_before=not_before)


def test_a_profile_without_an_id_is_not_none() -> None:
    """Apple says that there is one, and not which: that confirms no removal."""
    unnamed = record("assigned").device
    assert unnamed.shown_profile is None
    assert not tried("SUCCESS", NO_PROFILE).agrees_with(unnamed)
    assert tried("SUCCESS", NO_PROFILE).agrees_with(record("removed", OURS).device)


LATER = T0 + 24 * HOUR
NEEDS = {
    "a new device": (record("empty"), Reason.NO_PROFILE),
    "a record without a status": (record(), Reason.NO_PROFILE),
    "a status that Apple added later": (record("dormant", OURS), Reason.NO_PROFILE),
    "our profile is assigned": (record("assigned", OURS), None),
    "our profile was fetched": (record("pushed", OURS), None),
    "the id in other letter case": (record("pushed", OURS.lower()), None),
    "another profile": (record("assigned", OTHER), Reason.OTHER_PROFILE),
    "assigned, but no id": (record("assigned"), Reason.NO_PROFILE),
    "removed, although the id is ours": (record("removed", OURS), Reason.REMOVED),
    "assigned to the server again after the profile": (
        record("assigned", OURS, profile_assign_time=T0, device_assigned_date=T0 + timedelta(seconds=1)),
        Reason.REASSIGNED,
    ),
    "assigned to the server in the second of the profile": (
        record("assigned", OURS, profile_assign_time=T0, device_assigned_date=T0), None,
    ),
    "released": (record("empty", released=True), None),
    "sent with success, not heard of since": (record("empty", attempt=tried("SUCCESS")), None),
    "sent with success over a removed one": (record("removed", OURS, attempt=tried("SUCCESS")), None),
    "another one was sent with success": (
        record("assigned", OURS, attempt=tried("SUCCESS", OTHER)), Reason.OTHER_PROFILE,
    ),
    "not accessible": (record("empty", attempt=tried("NOT_ACCESSIBLE")), None),
    "throttled": (record("empty", attempt=tried("THROTTLED", not_before=LATER)), None),
    "throttled, for another profile": (record("empty", attempt=tried("THROTTLED", OTHER, LATER)), None),
    "throttled until now": (record("empty", attempt=tried("THROTTLED", not_before=T0 + HOUR)), Reason.RETRY),
    "the request failed": (record("empty", attempt=tried("request_failed", not_before=T0)), Reason.UNCERTAIN),
    "the request failed, yet Apple shows it": (
        record("assigned", OURS, attempt=tried("request_failed")), None,
    ),
    "the request failed for another profile": (
        record("removed", OTHER, attempt=tried("request_failed", OTHER)), Reason.REMOVED,
    ),
}  # fmt: skip


@each(("record", "reason"), NEEDS.values())
def test_assign_from_state(record: DeviceRecord, reason: Reason | None) -> None:
    assert needs_profile(record, OURS, T0 + HOUR) is reason


@each(
    ("record", "reason"),
    [
        (record("assigned", OURS), Reason.UNWANTED),
        (record("removed", OURS), None),
        (record("empty"), None),
        (record("assigned", OURS, attempt=tried("SUCCESS", NO_PROFILE, T0)), None),
        (record("assigned", OURS, attempt=tried("FAILED", NO_PROFILE, LATER)), None),
        (record("assigned", OURS, attempt=tried("FAILED", NO_PROFILE, T0)), Reason.UNWANTED),
    ],
)
def test_wanting_no_profile(record: DeviceRecord, reason: Reason | None) -> None:
    assert needs_profile(record, NO_PROFILE, T0 + HOUR) is reason


RESULTS = {
    "SUCCESS": None,
    "NOT_ACCESSIBLE": None,
    "FAILED": HOUR + COOLDOWN,
    "THROTTLED": HOUR + COOLDOWN,
    "QUARANTINED": HOUR + COOLDOWN,
    "missing": timedelta(0),
    "request_failed": timedelta(0),
    "not_sent": timedelta(0),
}


@each("word", RESULTS)
def test_every_result_has_its_time(word: str) -> None:
    """Failed and throttled devices wait a day; an unknown outcome is due again immediately, and is kept."""
    attempt = outcome(DeviceResult(word), profile_uuid=OURS, attempted_at=T0, answered_at=T0 + HOUR)
    wait = RESULTS[word]
    assert attempt.not_before == (None if wait is None else T0 + wait)
    assert attempt.result == word


@pytest.mark.parametrize("word", ["THROTTLED", "FAILED"])
def test_only_throttled_devices_follow_apples_wait(word: str) -> None:
    attempt = outcome(
        DeviceResult(word), profile_uuid=OURS, attempted_at=T0, answered_at=T0, retry_after_s=90
    )
    assert attempt.not_before == T0 + (timedelta(seconds=90) if word == "THROTTLED" else COOLDOWN)


def test_a_wait_from_a_clock_that_ran_ahead_does_not_block_for_years() -> None:
    future = T0 + timedelta(days=900)
    throttled = Attempt(
        profile_uuid=OURS,
        result=DeviceResult.THROTTLED,
        attempted_at=future,
        not_before=future + COOLDOWN,
    )
    assert waits_until(record("empty", attempt=throttled), T0) is None
    near = attrs.evolve(throttled, attempted_at=T0 + HOUR, not_before=T0 + HOUR + COOLDOWN)
    assert waits_until(record("empty", attempt=near), T0) == T0 + HOUR + COOLDOWN


@each(
    ("record", "uuid"),
    [
        (record("assigned", OTHER), OTHER),
        (record("removed", OTHER), NO_PROFILE),
        (record("assigned", OTHER, attempt=tried("SUCCESS")), OURS),
        (record("assigned", OTHER, attempt=tried("FAILED")), OTHER),
        (record("assigned", OTHER, attempt=tried("SUCCESS", NO_PROFILE)), NO_PROFILE),
        (
            record("assigned", OTHER, attempt=tried("SUCCESS", NO_PROFILE), profile_assign_time=T0 + HOUR),
            OTHER,
        ),
    ],
)
def test_which_profile_a_device_would_get(record: DeviceRecord, uuid: str) -> None:
    assert profile_of(record) == uuid


@each(
    ("record", "expected"),
    [
        (record("empty"), True),
        (record("removed", OURS), True),
        (record("assigned", OTHER), False),
        (record("empty", attempt=tried("SUCCESS")), False),
        (record("empty", attempt=tried("FAILED")), True),
        (record("empty", released=True), False),
        (record("empty", device_family=DeviceFamily.IPAD), False),
    ],
)
def test_a_mac_without_a_profile_is_without_profile(record: DeviceRecord, expected: bool) -> None:
    assert is_without_profile(record) is expected


def test_results_of_chunks_join() -> None:
    """Every serial is in the whole, the longest wait counts, and the summary shows the counts."""
    one = DeviceResults(
        results={"A": DeviceResult.SUCCESS, "B": DeviceResult.FAILED}, profile_uuid=OURS, retry_after_s=5
    )
    two = DeviceResults(results={"C": DeviceResult.SUCCESS}, retry_after_s=60)
    joined = DeviceResults.joined([one, two])
    assert joined.retry_after_s == 60
    assert joined.profile_uuid == OURS
    assert joined.succeeded == ("A", "C")
    assert joined.serials(DeviceResult.FAILED) == ("B",)
    assert joined.summary() == "2 SUCCESS, 1 FAILED"
    assert not joined.is_complete
    assert two.is_complete
    assert DeviceResults.joined([]).summary() == "no devices"
