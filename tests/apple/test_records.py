"""Records of a list are read one by one: one that cannot be read is left out, and the others are kept."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from collections.abc import Callable
from typing import Any
from unittest import mock

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.cases import each

from pyade.apple import responses
from pyade.apple.http.json_bodies import decode_json
from pyade.apple.responses import (
    Account,
    ActivationLockResponse,
    BetaEnrollmentTokens,
    DefineProfileResponse,
    DevicePage,
    ReplacementDetails,
    decode_details,
    decode_profile,
    decode_results,
)
from pyade.business.paging import read_page
from pyade.business.resources import OrgDevice, read_identifier, read_resource
from pyade.core.fleet.device import Device, DeviceResult, read_device
from pyade.core.values import MAX_RECORD

DEEP = 100_000
BROKEN: dict[str, bytes] = {
    "half a character": rb'{"serial_number": "B", "id": "B", "model": "\ud800"}',
    "half a character before another escape": rb'{"serial_number": "B", "id": "B", "model": "\udbff\u0041"}',
    "the second half alone": rb'{"serial_number": "B", "id": "B", "model": "\uDC00"}',
    "half a character in the serial number": rb'{"serial_number": "\ud800", "id": "\ud800"}',
    "half a character in a key": rb'{"serial_number": "B", "id": "B", "\ud800": 1}',
    "a number out of range": b'{"serial_number": "B", "id": "B", "model": 1e999}',
    "an integer out of range": b'{"serial_number": "B", "id": "B", "model": ' + b"9" * 5_000 + b"}",
    "a number that is none": b'{"serial_number": "B", "id": "B", "model": NaN}',
    "an endless number": b'{"serial_number": "B", "id": "B", "model": -Infinity}',
    "a word": b'{"serial_number": "B", "id": "B", "model": undefined}',
    "a number with a zero in front": b'{"serial_number": "B", "id": "B", "model": 01}',
    "bytes that are no text": b'{"serial_number": "B", "id": "B", "model": "\xff"}',
    "bytes that are no text in a key": b'{"serial_number": "B", "id": "B", "\xff": 1}',
    "a control character": b'{"serial_number": "B", "id": "B", "model": "\x01"}',
    "an unknown escape": rb'{"serial_number": "B", "id": "B", "model": "\q"}',
    "nested too deep": b'{"serial_number": "B", "id": "B", "attributes": ' + b"[" * DEEP + b"]" * DEEP + b"}",
    "nested too deep to be written": b'{"serial_number": "B", "id": "B", "attributes": {"a": '
    + b"[" * 100
    + b"]" * 100
    + b"}}",
    "too long": b'{"serial_number": "B", "id": "B", "model": "' + b"x" * MAX_RECORD + b'"}',
    "no serial number": b'{"model": "Mac"}',
    "an empty serial number": b'{"serial_number": "", "id": ""}',
    "blanks for a serial number": rb'{"serial_number": " \t\u3000", "id": " "}',
    "a number for a serial number": b'{"serial_number": 5, "id": 5}',
    "a serial number that no index takes": b'{"serial_number": "'
    + b"C" * 5_000
    + b'", "id": "'
    + b"C" * 5_000
    + b'"}',
    "a list": b'[{"serial_number": "B", "id": "B"}]',
    "a text": b'"B"',
    "nothing": b"null",
}


def page_of(*records: bytes, more: bytes = b"") -> bytes:
    return b'{"devices": [%s], "cursor": "c", "more_to_follow": true%s}' % (b", ".join(records), more)


def device(serial: bytes) -> bytes:
    return b'{"serial_number": "%s", "model": "\\ud83d\\ude00", "id": "%s"}' % (serial, serial)


@pytest.mark.parametrize("name", BROKEN)
def test_an_unreadable_device_does_not_lose_the_others(name: str, caplog: pytest.LogCaptureFixture) -> None:
    broken = BROKEN[name]
    caplog.set_level(logging.WARNING, "pyade")
    page = DevicePage.decode(page_of(device(b"A"), broken, device(b"C"), broken))
    assert [found.serial_number for found in page.devices] == ["A", "C"]
    assert (page.cursor, page.more_to_follow, page.unreadable) == ("c", True, 2)
    assert page.devices[0].model == "\N{GRINNING FACE}"
    left_out = [record.getMessage() for record in caplog.records if "left out" in record.getMessage()]
    assert left_out == ["2 device records that cannot be read were left out of a response"]


@each("name", BROKEN)
def test_an_unreadable_resource_does_not_lose_the_others(name: str) -> None:
    content = b'{"data": [%s, %s, %s]}' % (device(b"A"), BROKEN[name], device(b"C"))
    readers: tuple[Callable[[Any], Any], ...] = (
        lambda one: read_resource(one, OrgDevice).id,
        read_identifier,
    )
    pages = [read_page(content, read) for read in readers]
    assert (list(pages[0].items), pages[0].unreadable) == (["A", "C"], 1)
    # Of an identifier nothing but the id is kept, so that what no store could write does not matter.
    is_read = name == "nested too deep to be written"
    assert (list(pages[1].items), pages[1].unreadable) == (["A", "B", "C"], 0) if is_read else (["A", "C"], 1)


@each("name", [name for name in BROKEN if BROKEN[name].startswith(b'{"serial_number": "B"')])
def test_results_and_details_that_cannot_be_read_are_missing(name: str) -> None:
    """They count neither as done nor as gone, so that a caller neither skips nor releases them by mistake."""
    maps = (
        b'{"devices": {"A": {"response_status": "SUCCESS"}, "B": %s, "\\ud800": "SUCCESS", "C": "SUCCESS"}}'
    )
    lists = b'{"devices": [{"A": "SUCCESS"}, {"B": %s}, {"\\ud800": "SUCCESS"}, "\\ud800", {"C": "SUCCESS"}]}'
    for content in (maps % BROKEN[name], lists % BROKEN[name]):
        details = decode_details(content, ["A", "B", "C"])
        assert [found.response_status for found in details.values()] == ["SUCCESS", "missing", "SUCCESS"]
        results = decode_results(content, ["A", "B", "C"], "P")
        assert list(results.results) == ["A", "B", "C"]
        assert results.results["B"] is DeviceResult.MISSING
        assert results.profile_uuid == "P"


@each("value", [rb'"\ud800"', b"1e999", b"[" * DEEP + b"]" * DEEP, b"5", b"{}", b"NaN", b'"soon"'])
def test_an_unreadable_value_that_is_not_needed_is_ignored(value: bytes) -> None:
    page = DevicePage.decode(page_of(device(b"A"), more=b', "fetched_until": %s, "x": %s' % (value, value)))
    assert (len(page.devices), page.fetched_until, page.cursor, page.unreadable) == (1, None, "c", 0)
    account = Account.decode(
        b'{"server_name": "S", "x": %s, "urls": [{"uri": %s}, {"uri": "/a"}]}' % (value, b"5")
    )
    assert (account.server_name, [url.uri for url in account.urls]) == ("S", ["/a"])
    assert Account.decode(b'{"server_name": %s, "org_id": "1"}' % value).org_id == "1"
    lock = ActivationLockResponse.decode(b'{"serial_number": %s, "response_status": "SUCCESS"}' % value, "A")
    assert (lock.serial_number in ("A", "soon"), lock.result) == (True, "SUCCESS")
    body = b'{"original_device_serial_number": "B", "serial_number": %s, "replacement_date": %s}' % (
        value,
        value,
    )
    assert ReplacementDetails.decode(body, "A").replacement_date is None
    results = decode_results(b'{"devices": {"A": "SUCCESS"}, "retry_after_seconds": %s}' % value, ["A"])
    assert dict(results.results) == {"A": "SUCCESS"}
    paging = b'{"data": [], "meta": {"paging": {"total": %s}, "x": %s}}' % (value, value)
    assert read_page(paging, read_identifier).total in (None, 5)


@each("cursor", [rb'"\ud800"', b'"\xff"', b"5", b'""', b"null", b"[" * DEEP + b"]" * DEEP])
def test_a_page_without_a_cursor_that_can_be_read_is_refused(cursor: bytes) -> None:
    with pytest.raises(msgspec.DecodeError):
        DevicePage.decode(b'{"devices": [], "cursor": %s, "more_to_follow": true}' % cursor)


@each("name", BROKEN)
def test_a_truncated_response_is_never_taken_for_a_complete_one(name: str) -> None:
    whole = page_of(BROKEN[name], device(b"A"))
    ends = (*range(len(whole) - 1, len(whole) - 60, -7), len(whole) // 2, len(whole) // 3)
    for end in ends:
        with pytest.raises(msgspec.DecodeError):
            DevicePage.decode(whole[:end])


@each("key", [rb"\ud800", b"\xff"])
def test_a_profile_is_read_whole_or_not_at_all(key: bytes) -> None:
    with pytest.raises(msgspec.DecodeError):
        decode_profile(b'{"profile_uuid": "P", "%s": 1}' % key)


def test_beta_tokens_are_read_one_by_one() -> None:
    content = (
        rb'{"betaEnrollmentTokens": [{"token": "t", "os": "OSX"}, {"token": " "}, {"token": "\ud800"}, 5]}'
    )
    found = BetaEnrollmentTokens.decode(content)
    assert ([one.token.reveal() for one in found.tokens], found.unreadable) == (["t"], 3)


class TestLimit:
    @pytest.mark.parametrize("limit", [None, 2, 3])
    def test_a_list_may_be_as_long_as_was_asked_for(self, limit: int | None) -> None:
        assert len(DevicePage.decode(page_of(device(b"A"), device(b"B")), limit).devices) == 2
        content = b'{"data": [%s, %s]}' % (device(b"A"), device(b"B"))
        assert len(read_page(content, read_identifier, limit).items) == 2

    def test_a_longer_one_is_refused_before_it_is_read(self) -> None:
        def never(_: object) -> str:
            raise AssertionError

        with pytest.raises(msgspec.ValidationError, match="2 records, at most 1 were requested"):
            DevicePage.decode(page_of(b"{}", b"{}"), 1)
        with pytest.raises(msgspec.ValidationError, match="2 records, at most 1 were requested"):
            read_page(b'{"data": [{}, {}]}', never, 1)

    @each("devices", [b'{"%s": "SUCCESS"}', b'[{"%s": "SUCCESS"}]'])
    def test_too_many_results_of_devices_that_were_not_requested_are_refused(self, devices: bytes) -> None:
        many = ", ".join(f'"{number}": "SUCCESS"' for number in range(1_002)).encode()
        content = b'{"devices": %s}' % devices.replace(b'"%s": "SUCCESS"', many)
        assert len(decode_results(content, ["0", "1"]).results) == 1_002
        for decode in (decode_results, decode_details):
            with pytest.raises(msgspec.ValidationError, match="1002 records, at most"):
                decode(content, ["A"])


BOMB = """
import resource, sys
import msgspec
from pyade.apple import responses
from pyade.business.paging import read_page
from pyade.business.resources import read_identifier

bomb = b'{"a":0},' * (4 * 1024 * 1024 // 8)
start = b'{"cursor":"c","more_to_follow":true,"devices":['
inside = start + b'{"serial_number":"A","x":[' + bomb
frames = {
    "page": lambda: responses.DevicePage.decode(start + bomb + b'{}]}', LIMIT),
    "spoiled": lambda: responses.DevicePage.decode(start + bomb + b'NaN]}', LIMIT),
    "inside": lambda: responses.DevicePage.decode(inside + b'{}]}]}', LIMIT),
    "list": lambda: read_page(b'{"data":[' + bomb + b'{}]}', read_identifier, LIMIT),
    "account": lambda: responses.Account.decode(b'{"x":[' + bomb + b'{}]}'),
    "details": lambda: responses.decode_details(b'{"devices":{"A":[' + bomb + b'{}]}}', ["A"]),
    "results": lambda: responses.decode_results(b'{"devices":[' + bomb + b'{}]}', ["A"]),
    "seeds": lambda: responses.BetaEnrollmentTokens.decode(b'{"seedBuildTokens":[' + bomb + b'{}]}'),
}
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    frames[sys.argv[1]]()
except msgspec.ValidationError as error:
    assert "requested" in str(error)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the unit of ru_maxrss differs")
@pytest.mark.parametrize("limit", ["None", "1000"])
@pytest.mark.parametrize(
    "name", ["page", "spoiled", "inside", "list", "account", "details", "results", "seeds"]
)
def test_four_mebibytes_take_less_than_a_hundred(name: str, limit: str) -> None:
    program = BOMB.replace("LIMIT", limit)
    done = subprocess.run([sys.executable, "-c", program, name], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 100


TEXTS = st.text() | st.sampled_from(["\ud800", "\udfff", "\0", "\\", '"', "[", "{", ":", "NaN"])
VALUES = st.recursive(
    TEXTS | st.integers() | st.floats() | st.none(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=6,
)
KEYS = st.sampled_from(["serial_number", "model", "op_date", "imei", "x", "\ud800"])


@given(st.lists(st.dictionaries(KEYS, VALUES, max_size=4) | VALUES, max_size=5), st.booleans())
def test_whatever_the_records_are_the_page_survives(records: list[Any], is_ascii: bool) -> None:
    good = [{"serial_number": "A"}, *records, {"serial_number": "C"}]
    text = json.dumps({"cursor": "c", "more_to_follow": False, "devices": good}, ensure_ascii=is_ascii)
    page = DevicePage.decode(text.encode("utf-8", "surrogatepass"))
    assert (page.devices[0].serial_number, page.devices[-1].serial_number) == ("A", "C")
    assert len(page.devices) + page.unreadable == len(good)


DECODERS: tuple[Callable[[bytes], object], ...] = (
    DevicePage.decode,
    Account.decode,
    BetaEnrollmentTokens.decode,
    decode_profile,
    lambda content: DefineProfileResponse.decode(content, ["A"]),
    lambda content: decode_details(content, ["A"]),
    lambda content: decode_results(content, ["A"]),
    lambda content: ActivationLockResponse.decode(content, "A"),
    lambda content: ReplacementDetails.decode(content, "A"),
    lambda content: read_page(content, read_identifier),
    lambda content: decode_json(content, dict[str, Any]),
)
MEMBERS = st.sampled_from(
    ["devices", "data", "urls", "profile_uuid", "betaEnrollmentTokens", "meta", "links", "response_status"]
)


@given(st.binary(max_size=200) | st.dictionaries(MEMBERS, VALUES).map(lambda one: json.dumps(one).encode()))
def test_any_body_is_read_or_a_decode_error(content: bytes) -> None:
    for decode in DECODERS:
        try:
            decode(content)
        except msgspec.DecodeError as error:
            assert error.__cause__ is None  # noqa: PT017 - any error but this one fails


@each("content", [b"[" * 10**5, b'{"a":' * 10**5, b'{"a":"' + b'\\"' * 10**5, b'"' * 10**5, b"x " * 10**5])
def test_a_hostile_body_is_a_decode_error(content: bytes) -> None:
    for decode in DECODERS:
        with pytest.raises(msgspec.DecodeError):
            decode(content)


@pytest.mark.parametrize(
    "content", [rb'{"profile_uuid": NaN}', b"{'devices': {}}", b'{"x": "a\nb"}', b'{"devices"; {}}']
)
def test_a_broken_answer_without_devices_says_nothing_about_them(content: bytes) -> None:
    """Else every device would count as one that Apple did not mention."""
    for decode in (decode_results, decode_details):
        with pytest.raises(msgspec.DecodeError):
            decode(content, ["C1"])
    assert decode_results(b'{"devices": {"C1": NaN, "C2": "SUCCESS"}}', ["C1", "C2"]).serials(
        DeviceResult.MISSING
    ) == ("C1",)


STRICT: st.SearchStrategy[dict[str, Any]] = st.dictionaries(
    st.sampled_from(["A", "B", "C", "D"]),
    st.fixed_dictionaries(
        {},
        optional={
            "serial_number": st.sampled_from(["A", "B", " ", 5]),
            "response_status": st.sampled_from(["SUCCESS", "NOT_ACCESSIBLE", "success", "ODD", 5, None]),
            "model": st.sampled_from(["iMac", 5, None, "\N{SNOWMAN}"]),
            "profile_assign_time": st.sampled_from(
                ["2026-01-31T09:30:00Z", "2026-01-31T09:30:00+02:00", "soon"]
            ),
            "new": st.sampled_from([1, {"a": []}]),
        },
    )
    | st.sampled_from(["SUCCESS", "success", "ODD", "", 5, None, [], True]),
)


@given(STRICT, st.booleans())
def test_results_and_details_are_read_strictly_as_they_are_with_tolerance(
    members: dict[str, Any], is_list: bool
) -> None:
    devices = [{serial: value} for serial, value in members.items()] if is_list else members
    content = json.dumps({"devices": devices}).encode()
    serials = ["C", "A"]
    details, results = decode_details(content, serials), decode_results(content, serials)
    with (
        mock.patch.object(responses, "read_strictly", return_value=None),
        mock.patch.object(responses, "_strict_results", return_value=None),
    ):
        tolerant = decode_details(content, serials)
        assert decode_results(content, serials) == results
    assert (details, list(details), tolerant.raws) == (tolerant, list(tolerant), {})
    for serial, device in details.items():
        is_strict = serial in details.raws
        assert not is_strict or read_device(bytes(details.raws[serial]).decode()) == device
    assert details.of(["A", "D"]) == tuple(details[serial] for serial in ("A", "D") if serial in details)


@each("serial", ["A", 'quoted " \\', "\N{SNOWMAN}", "x" * 200])
def test_details_that_name_a_device_by_its_key_alone_are_read_strictly(serial: str) -> None:
    record = {"model": "iMac", "response_status": "SUCCESS"}
    members = {serial: record, "B": record, "C": {}, "D": {"new": 1}, "E": "SUCCESS", " ": record}
    content = json.dumps({"devices": members}).encode()
    details = decode_details(content, [serial])
    with mock.patch.object(responses, "read_strictly", return_value=None):
        assert details == decode_details(content, [serial])
    assert list(details.raws) == [serial, "B"]
    for name, raw in details.raws.items():
        assert json.loads(bytes(raw)) == record | {"serial_number": name}
        assert read_device(bytes(raw).decode()) == details[name]


@each("length", range(MAX_RECORD - 60, MAX_RECORD + 1, 10))
def test_details_without_a_serial_number_may_be_as_long_as_others(length: int) -> None:
    tag = "x" * (length - len('{"asset_tag": ""}'))
    details = decode_details(json.dumps({"devices": {"A": {"asset_tag": tag}}}).encode(), ["A"])
    assert details == {"A": Device(serial_number="A", asset_tag=tag)}
