"""Messages of enrolled Macs: results of up to 16 MiB, of which a few keys are read, in bounded time."""

from __future__ import annotations

import logging
import plistlib
import sys
import tracemalloc
from collections.abc import Callable
from typing import Any

import pytest
from tests.cases import each
from tests.enrollment.test_final_configuration import NOW, SERIAL, result
from tests.enrollment.test_final_configuration_calls import Worker, worker  # noqa: F401 - a fixture

from pyade.core.fleet.events import EventKind
from pyade.core.input_limits import MAX_BYTES
from pyade.core.plist import MAX_DEPTH, MAX_LARGE_BYTES, read_top
from pyade.enrollment import read_message
from pyade.errors import TrustError

HEAD = (
    b'<?xml version="1.0" encoding="UTF-8"?><plist version="1.0"><dict><key>Status</key><string>Idle</string>'
)
TAIL = b"</dict></plist>"


def apps(count: int) -> list[dict[str, Any]]:
    return [
        {"Identifier": f"com.example.app{number}", "Name": f"Example {number}", "BundleSize": 123456789}
        for number in range(count)
    ]


def filled(piece: bytes, *, before: bytes = b"", after: bytes = b"", size: int = MAX_LARGE_BYTES) -> bytes:
    count = (size - len(HEAD + before + after + TAIL)) // len(piece)
    return HEAD + before + piece * count + after + TAIL


def test_a_large_result_ends_a_wait_as_a_small_one(worker: Worker) -> None:  # noqa: F811
    worker("release", SERIAL)
    command = worker("next_command", SERIAL)
    body = result("Acknowledged", command.command_uuid, InstalledApplicationList=apps(1_000))
    assert len(body) > 2 * MAX_BYTES
    message = worker("received", SERIAL, body)
    assert (message.status, message.command_uuid) == ("Acknowledged", command.command_uuid)
    assert message.asks_for_command
    assert worker("progress", SERIAL).phase.value == "released"


def test_oversized_message_is_only_recorded(
    worker: Worker,  # noqa: F811
    caplog: pytest.LogCaptureFixture,
) -> None:
    body = filled(b" ", size=MAX_LARGE_BYTES + 1)
    assert len(body) == MAX_LARGE_BYTES + 1
    before = worker.store.enrollment(SERIAL)
    with caplog.at_level(logging.WARNING, logger="pyade.enrollment"):
        message = worker("received", SERIAL, body)
    assert message.is_too_large
    assert not message.asks_for_command
    assert f"16777217 bytes from {SERIAL}" in caplog.text
    assert worker.store.enrollment(SERIAL) == before
    [event] = [one for one in worker.store.events() if one.kind is EventKind.MESSAGE_TOO_LARGE]
    assert (event.serial_number, event.details) == (SERIAL, {"bytes": MAX_LARGE_BYTES + 1})
    assert read_message(body.replace(b" </dict>", b"</dict>")).status == "Idle"


def test_oversized_message_is_recorded_after_the_token_was_removed(worker: Worker) -> None:  # noqa: F811
    worker.store.remove_token("hq", now=NOW)
    assert worker("received", SERIAL, bytes(MAX_LARGE_BYTES + 1)).is_too_large
    [event] = [one for one in worker.store.events() if one.kind is EventKind.MESSAGE_TOO_LARGE]
    assert (event.serial_number, event.token_name) == (SERIAL, "")


@each(
    ("body", "reason"),
    [
        (filled(b"<true/>", before=b"<key>a</key><array>", after=b"</array>"), "tags, at most 2000000"),
        (filled(b' a=""', before=b"<key>a</key><string", after=b"/>"), "more than 10000 attributes"),
        (HEAD + b"<key>UDID</key><string>" + b"x" * 1_025 + b"</string>" + TAIL, "UDID has more than 1024"),
        (HEAD + b"<key>UDID</key><string>" + b"x<!---->" * 1_025 + b"</string>" + TAIL, "UDID has more"),
        (HEAD + b"<key>UDID</key><array/>" + TAIL, "UDID has the type array, string is needed"),
        (HEAD + b"<key>a</key><array>" * 1 + b"<array>" * MAX_DEPTH + TAIL, "nested deeper"),
        (HEAD + b"<key>a</key>" + TAIL, "a key without a value"),
        (HEAD + b"<string>a</string>" + TAIL, "a value without a key"),
        (HEAD + b"<key>a</key><key>b</key>" + TAIL, "a value without a key"),
        (b"<plist><dict/><dict/></plist>", "no dictionary, or several"),
        (b"<plist/>", "no dictionary"),
        (b"<plist><array/></plist>", "no dictionary"),
        (b"<!DOCTYPE plist [<!ENTITY e 'x'>]><plist/>", "declares an entity"),
        (HEAD, "cannot be read"),
    ],
)
def test_invalid_messages_are_refused(body: bytes, reason: str) -> None:
    with pytest.raises(TrustError) as refused:
        read_message(body)
    assert reason in refused.value.reason
    assert refused.value.is_malformed


def test_long_key_is_not_mistaken_for_another_key() -> None:
    body = HEAD + b"<key>UDID<!-- -->" + b"x" * 2_000 + b"</key><string>a</string>" + TAIL
    assert set(read_top(body, ("Status", "UDID"))) == {"Status"}


def test_top_level_keys_equal_those_of_plistlib() -> None:
    words = {"Status": "Idle & <well>\n ", "UDID": "ünï", "InstalledApplicationList": [{"Status": "in vain"}]}
    top = read_top(plistlib.dumps(words), ("Status", "UDID", "Absent"))
    assert {key: value.text for key, value in top.items()} == {key: words[key] for key in ("Status", "UDID")}


LARGEST: dict[str, Callable[[int], bytes]] = {
    "elements": lambda size: filled(
        b"<true/>  ", before=b"<key>a</key><array>", after=b"</array>", size=size
    ),
    "keys": lambda size: filled(b"<key>a</key><true/>        ", size=size),
    "lines": lambda size: filled(b"\n", before=b"<key>a</key><string>", after=b"</string>", size=size),
    "references": lambda size: filled(b"&lt;", before=b"<key>a</key><string>", after=b"</string>", size=size),
    "comments": lambda size: filled(b"<!----> ", size=size),
    "text": lambda size: filled(b"x", before=b"<key>a</key><string>", after=b"</string>", size=size),
}


@each("shape", LARGEST)
def test_time_and_memory_grow_linearly(shape: str) -> None:
    """Counted: a few calls for each tag, and the copy of the parser."""
    body, counted = LARGEST[shape](3 << 20), 0

    def count(_frame: Any, event: str, _argument: Any) -> None:
        nonlocal counted
        counted += event in ("call", "c_call")

    before = sys.getprofile()
    sys.setprofile(count)
    try:
        assert read_message(body).status == "Idle"
    finally:
        sys.setprofile(before)
    assert counted < 15 * body.count(b"<") + 10_000
    tracemalloc.start()
    try:
        read_message(body)
        assert tracemalloc.get_traced_memory()[1] < 2 * len(body)
    finally:
        tracemalloc.stop()
