"""A record that is read strictly means what it means when it is read with tolerance."""

from __future__ import annotations

import json
from typing import Any
from unittest import mock

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from pyade.apple import responses
from pyade.apple.responses import DevicePage
from pyade.core.fleet.device import Device, DeviceList, read_device

NAMES = list(Device.__struct_fields__)
TIMES = st.sampled_from(
    [
        "2026-01-31T09:30:00Z",
        "2026-01-31T09:30:00",
        "2026-01-31 09:30:00Z",
        "2026-01-31T09:30:00.25Z",
        "2026-01-31T09:30:00+02:00",
        "0001-01-01T00:00:00+05:00",
        "9999-12-31T23:59:59-05:00",
        "2026-01-31T24:00:00Z",
        "2026-01-31",
        "",
    ]
)
WORDS = st.sampled_from(
    ["MacBook Pro", "empty", "ASSIGNED", "Mac", "added", "deleted", "", " ", "é\N{GRINNING FACE}"]
)
LEAVES = st.one_of(
    TIMES,
    WORDS,
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(allow_nan=False),
    st.text(max_size=5),
    st.lists(st.one_of(WORDS, st.integers()), max_size=3),
)
ANY_JSON = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=2) | st.dictionaries(WORDS, inner, max_size=2)
)
RECORDS = st.dictionaries(
    st.one_of(st.sampled_from(NAMES), st.text(max_size=4)), LEAVES | ANY_JSON, max_size=8
)
SERIALS = st.one_of(st.sampled_from(["C02A", " ", "", "C" * 200, "C" * 201, "\0", "é" * 200]), LEAVES)


def read(content: bytes) -> tuple[Any, str]:
    """Return a page and its texts; None and the error if it cannot be read."""
    try:
        page = DevicePage.decode(content)
    except msgspec.DecodeError as error:
        return None, str(error)
    return page, repr((page.devices, page.unreadable, page.replaced))


def never(*_: object) -> None:
    """Read nothing strictly."""


def check_agreement(content: bytes) -> None:
    found, words = read(content)
    with mock.patch.multiple(responses, read_page=never, read_strictly=never):
        tolerant, expected = read(content)
    assert (found, words) == (tolerant, expected)
    for index, device in enumerate(found.devices if found else ()):
        text = found.devices.texts()[index]
        assert text is None or read_device(text) == device


def page_of(*records: bytes) -> bytes:
    return b'{"cursor": "c", "more_to_follow": false, "devices": [' + b", ".join(records) + b"]}"


@given(st.lists(st.tuples(RECORDS, SERIALS), max_size=4))
def test_any_record_is_read_alike(records: list[tuple[dict[str, Any], Any]]) -> None:
    encoded = [json.dumps({**record, "serial_number": serial}).encode() for record, serial in records]
    check_agreement(page_of(*encoded))


@given(RECORDS, st.data())
def test_any_bytes_are_read_alike(record: dict[str, Any], data: st.DataObject) -> None:
    content = bytearray(page_of(json.dumps({"serial_number": "A", **record}, ensure_ascii=False).encode()))
    for _ in range(data.draw(st.integers(1, 3))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    check_agreement(bytes(content))


@given(st.lists(st.sampled_from(["A", "B", "C"]), max_size=4))
def test_list_is_a_sequence_of_devices(serials: list[str]) -> None:
    page = DevicePage.decode(page_of(*(json.dumps({"serial_number": one}).encode() for one in serials)))
    devices = tuple(Device(serial_number=one) for one in serials)
    assert page.devices == devices
    assert devices == page.devices
    assert (len(page.devices), hash(page.devices)) == (len(devices), hash(devices))
    assert (page.devices[1:], list(page.devices)) == (devices[1:], list(devices))
    assert DeviceList(devices) == page.devices
    assert DeviceList(devices).texts() == [None] * len(devices)
    assert repr(page.devices) == repr(devices)
