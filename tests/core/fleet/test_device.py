"""Device records are read as Apple sends them, nothing is lost and nothing crashes."""

from __future__ import annotations

import json
import pickle
from datetime import UTC, date, datetime, timedelta, timezone
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.cases import each

from pyade.core.fleet.device import Device, DeviceFamily, OpType, ProfileStatus
from pyade.core.values import format_time, parse_date, parse_time

# The form of a real record, with invented values.
RECORD = {
    "serial_number": "C02ABCDEFGH1",
    "model": "MacBook Pro",
    "description": "MBP 13.3 SPACE GRAY/2.0GHZ/8GB/256GB-USA",
    "color": "SPACE GRAY",
    "asset_tag": "1234",
    "profile_status": "pushed",
    "profile_uuid": "C1F123098EB5074580041E69883004C3",
    "profile_assign_time": "2024-03-01T10:00:00Z",
    "profile_push_time": "2024-03-02T10:00:00Z",
    "device_assigned_date": "2024-02-01T10:00:00Z",
    "device_assigned_by": "it@contoso.com",
    "os": "OSX",
    "device_family": "Mac",
    "op_type": "modified",
    "op_date": "2024-03-02T10:00:00Z",
    "bluetooth_mac_address": "00:00:5E:00:53:01",
    "imei": ["350000000000001", "350000000000002"],
    "meid": [],
    "is_replacement_device": False,
    "released_by_replacement": True,
    "mdm_migration_deadline": "2026-01-01T00:00:00Z",
}


def test_record_is_read() -> None:
    device = Device.from_apple(RECORD)
    assert device.profile_status is ProfileStatus.PUSHED
    assert device.op_type is OpType.MODIFIED
    assert device.op_date == datetime(2024, 3, 2, 10, tzinfo=UTC)
    assert device.imei == ("350000000000001", "350000000000002")
    assert device.meid == ()
    assert device.released_by_replacement is True
    assert device.eid is None
    assert device.extra == {}


def test_record_round_trips() -> None:
    assert Device.from_apple(RECORD).to_apple() == RECORD


def test_only_the_serial_number_is_needed() -> None:
    device = Device.from_apple({"serial_number": " c02é "})
    assert device == Device(serial_number=" c02é ")
    assert device.to_apple() == {"serial_number": " c02é "}


@each(
    "record",
    [
        {},
        {"model": "Mac"},
        {"serial_number": None},
        {"serial_number": 5},
        {"serial_number": ""},
        {"serial_number": " \t\u3000"},
        {"serial_number": "C" * 201},
        [],
        "C02",
        None,
    ],
)
def test_record_without_a_serial_number_is_refused(record: Any) -> None:
    with pytest.raises(msgspec.ValidationError):
        Device.from_apple(record)


def test_unknown_keys_and_values_survive() -> None:
    record = {
        "serial_number": "A",
        "device_family": "Toaster",
        "profile_status": "levitating",
        "op_type": "teleported",
        "new_key": {"nested": [1, 2.5, None]},
        "extra": "a key that Apple may add",
    }
    device = Device.from_apple(record)
    assert device.device_family == DeviceFamily("Toaster")
    assert device.extra == {"new_key": {"nested": [1, 2.5, None]}, "extra": "a key that Apple may add"}
    assert device.to_apple() == record


@each(
    ("key", "value"),
    [
        ("model", 17),
        ("profile_assign_time", ""),
        ("op_date", "yesterday"),
        ("op_date", "2024-06-30T23:59:60Z"),
        ("op_date", 1709373600),
        ("op_date", "0001-01-01T00:00:00+05:00"),
        ("imei", "350000000000001"),
        ("imei", [1]),
        ("is_replacement_device", "true"),
        ("profile_status", 1),
        ("device_family", {"name": "Mac"}),
    ],
)
def test_value_that_cannot_be_read_is_kept_and_the_rest_is_read(key: str, value: Any) -> None:
    record = {**RECORD, "new": 1, key: value}
    device = Device.from_apple(record)
    assert getattr(device, key) is None
    assert device.extra == {"new": 1, key: value}
    assert device.color == "SPACE GRAY"
    assert device.to_apple() == record


@each(
    ("text", "seconds", "microseconds"),
    [
        ("2024-03-02T10:00:00Z", 0, 0),
        ("2024-03-02T12:00:07+02:00", 7, 0),
        ("2024-03-02T10:00:00", 0, 0),
        ("2024-03-02T10:00:01.25Z", 1, 250_000),
    ],
)
def test_times_are_read_in_utc(text: str, seconds: int, microseconds: int) -> None:
    expected = datetime(2024, 3, 2, 10, 0, seconds, microseconds, tzinfo=UTC)
    value = Device.from_apple({"serial_number": "A", "op_date": text}).op_date
    assert value == expected
    assert value is not None
    assert value.tzinfo is UTC
    assert parse_time(text) == expected


def test_year_one_is_read() -> None:
    """Observed: other software sends the zero time of Go for an absent date."""
    device = Device.from_apple({"serial_number": "A", "op_date": "0001-01-01T00:00:00Z"})
    assert device.op_date == datetime(1, 1, 1, tzinfo=UTC)
    assert device.to_apple()["op_date"] == "0001-01-01T00:00:00Z"


def test_times_are_written_in_apples_form() -> None:
    assert (
        format_time(datetime(2024, 3, 2, 12, tzinfo=timezone(timedelta(hours=2)))) == "2024-03-02T10:00:00Z"
    )
    assert format_time(datetime(2024, 3, 2, 10, 0, 0, 5000, tzinfo=UTC)) == "2024-03-02T10:00:00.005000Z"


def test_days_are_read() -> None:
    assert parse_date("2024-03-02") == date(2024, 3, 2)
    with pytest.raises(msgspec.ValidationError):
        parse_date("2 March")


@each(
    ("record", "is_mac"),
    [
        ({"device_family": "Mac"}, True),
        ({"device_family": "mac", "os": "iOS"}, True),
        ({"device_family": "iPad", "os": "OSX"}, False),
        ({"os": "OSX"}, True),
        ({"os": "tvOS"}, False),
        ({}, True),
    ],
)
def test_is_mac_follows_family_and_system(record: dict[str, Any], is_mac: bool) -> None:
    assert Device.from_apple({"serial_number": "A", **record}).is_mac is is_mac


def test_device_is_frozen_hashable_and_picklable() -> None:
    device = Device.from_apple({**RECORD, "new": [1]})
    with pytest.raises(AttributeError):
        device.model = "iPad"  # type: ignore[misc]
    assert len({device, Device.from_apple({**RECORD, "new": [1]})}) == 1
    assert pickle.loads(pickle.dumps(device)) == device


def nested(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = [value]
    return value


@each("key", ["new", "model"])
def test_what_no_store_could_write_is_refused(key: str) -> None:
    """At a depth of some hundreds, reading works and writing does not: the page would never be stored."""
    assert Device.from_apple({"serial_number": "A", key: nested(31)}).extra[key] == nested(31)
    for depth in (33, 500, 5_000):
        with pytest.raises(msgspec.ValidationError, match="deeper than 32"):
            Device.from_apple({"serial_number": "A", key: nested(depth)})
    for number in (float("nan"), float("inf"), -float("inf")):
        with pytest.raises(msgspec.ValidationError, match="no number"):
            Device.from_apple({"serial_number": "A", key: [number]})


odd_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.sampled_from([2**63, -(2**64), 10**400, 1e308, "0001-01-01T00:00:00+23:59", "x" * 100_000])
    | st.floats()
    | st.text()
    | st.datetimes().map(str)
    | st.binary(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=5,
)


@given(st.dictionaries(st.sampled_from([*RECORD, "extra", "response_status", "x"]), odd_values))
def test_any_record_is_read_or_refused(record: dict[str, Any]) -> None:
    try:
        device = Device.from_apple(record)
    except msgspec.ValidationError:
        return
    for key, value in record.items():
        if key in ("extra", "x") or (value is not None and getattr(device, key) is None):
            assert device.extra[key] is value or device.extra[key] == value
    pickle.dumps(device)
    hash(device)
    repr(device)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=5), inner, max_size=2),
    max_leaves=3,
)


@given(
    serial=st.text(min_size=1, max_size=200).filter(str.strip),
    known=st.dictionaries(st.sampled_from(sorted(RECORD.keys() - {"serial_number"})), json_values),
    unknown=st.dictionaries(st.text(max_size=8), json_values, max_size=3),
)
def test_any_json_object_with_a_serial_number_is_read_and_written_back(
    serial: str, known: dict[str, Any], unknown: dict[str, Any]
) -> None:
    record = {**unknown, **known, "serial_number": serial}
    written = Device.from_apple(record).to_apple()
    assert Device.from_apple(json.loads(json.dumps(written))) == Device.from_apple(record)
    read_as_enum = {"profile_status", "op_type", "device_family", "response_status"}
    for key, value in record.items():
        if value is not None and key not in read_as_enum:
            assert written[key] == value
