"""Successes whose body is not JSON, unusual JSON, or JSON with values that no response should have."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from typing import Any

from tests.hostile import wire
from tests.hostile.endpoints import PAGES, SESSIONS
from tests.hostile.expectations import (
    Expectation,
    bounded,
    holding,
    right,
    tolerated,
    typed,
    unreadable,
    unreadable_members,
)
from tests.hostile.kinds import Family
from tests.hostile.server import Piece, Request

FAMILY = Family()
_DEEP = b"[" * 100_000 + b"]" * 100_000

for _name, _body in {
    "nothing": b"",
    "blanks": b" \r\n\t",
    "null": b"null",
    "true": b"true",
    "a number": b"7",
    "a huge number": b"9" * 5000,
    "a text": b'"hello"',
    "an array": b"[]",
    "an array of objects": b'[{"cursor":"c","more_to_follow":false,"data":[]}]',
    "NaN": b"NaN",
    "an object that breaks off": b'{"cursor":"c","more_to_follow":fal',
    "two objects": b"{}{}",
    "an object with a comma too much": b'{"cursor":"c","data":[],}',
    "an object in another quotation": b"{'cursor': 'c'}",
    "an object with a comment": b'/* none */ {"cursor":"c"}',
    "lines of objects": b'{"cursor":"c"}\n{"cursor":"d"}\n',
    "a call of a function": b'callback({"cursor":"c"});',
    "a guard against scripts": b')]}\',\n{"cursor":"c"}',
    "bytes": bytes(range(128, 256)) * 16,
    "zeros": b"\0" * 100,
    "nested arrays": _DEEP,
    "nested arrays without an end": b"[" * 500_000,
    "nested objects": b'{"devices":' * 100_000 + b"1" + b"}" * 100_000,
    "form fields": b"cursor=c&more_to_follow=false",
    "a private message": b"upstream connect error or disconnect/reset before headers",
}.items():
    FAMILY.add(f"a success with {_name}", unreadable, wire.answer(_body))
for _name, _body in {
    "a member that is NaN": b'{"cursor":NaN,"data":NaN}',
    "a member that is infinite": b'{"cursor":-Infinity,"data":1e999}',
    "a raw line break in a text": b'{"cursor":"a\nb","data":"a\nb"}',
    "nested data": b'{"data":' * 100_000 + b"null" + b"}" * 100_000,
}.items():
    FAMILY.add(f"a success with {_name}", unreadable_members, wire.answer(_body))
for _name, _body in {
    "a page": b"<html><body>Sign in to the guest network</body></html>",
    "a page behind blanks": b"\r\n\r\n   <!doctype html>",
    "a property list": b'<?xml version="1.0"?><plist version="1.0"><dict/></plist>',
}.items():
    FAMILY.add(f"a success with {_name}", bounded, wire.answer(_body, b"Content-Type: application/json"))


@FAMILY.kind(unreadable)
def a_success_in_utf16(request: Request) -> Iterable[Piece]:
    yield wire.answer(request.good.decode().encode("utf-16"))


@FAMILY.kind(unreadable)
def a_success_in_utf32(request: Request) -> Iterable[Piece]:
    yield wire.answer(request.good.decode().encode("utf-32"))


@FAMILY.kind(tolerated)
def a_success_behind_a_mark(request: Request) -> Iterable[Piece]:
    yield wire.answer(b"\xef\xbb\xbf" + request.good)


@FAMILY.kind(unreadable)
def a_success_with_something_behind_it(request: Request) -> Iterable[Piece]:
    yield wire.answer(request.good + b"x")


@FAMILY.kind(tolerated)
def a_success_between_blanks(request: Request) -> Iterable[Piece]:
    yield wire.answer(b"\r\n\t  " + request.good + b"  \n\n")


@FAMILY.kind(typed)
def a_success_with_half_characters(request: Request) -> Iterable[Piece]:
    yield wire.answer(
        b'{"cursor":"\xff\xfe","data":"\xc3","auth_session_token":"\xc3","access_token":"\xff"}'
    )


def _members(request: Request) -> dict[str, Any]:
    try:
        found = json.loads(request.good)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _leaves(value: Any, change: Callable[[Any], Any]) -> Any:
    """Return variants of *value* in which each text, number and boolean is changed."""
    if isinstance(value, dict):
        return {key: _leaves(one, change) for key, one in value.items()}
    if isinstance(value, list):
        return [_leaves(one, change) for one in value]
    return change(value)


def _changed(name: str, expected: Expectation, change: Callable[[Any], Any], **options: Any) -> None:
    def answer(request: Request) -> Iterable[Piece]:
        yield wire.answer(json.dumps(_leaves(_members(request), change)).encode())

    FAMILY.add(f"a success with {name}", expected, answer, **options)


def _texts(change: Callable[[str], Any]) -> Callable[[Any], Any]:
    return lambda value: change(value) if isinstance(value, str) else value


_changed("every value null", typed, lambda _: None)
_changed("every value an object", typed, lambda _: {"a": 1})
_changed("every value an array", typed, lambda _: [[]])
_changed("every value true", typed, lambda _: True)
_changed("every value a number", typed, lambda _: 5)
_changed("every value a negative number", typed, lambda _: -(2**70))
_changed("every value a fraction", typed, lambda _: 1e308)
_changed("every value a huge number", typed, lambda _: 10**4000)
_changed("every value empty", typed, lambda _: "")
_changed("every value a text", typed, str)
_changed("every text blank", typed, _texts(lambda _: "   "))
_changed("every text with half a surrogate", typed, _texts(lambda value: value + "\ud800"))
_changed("every text with NUL", typed, _texts(lambda value: value + "\0"))
_changed("every text with ESC and line breaks", typed, _texts(lambda _: "\x1b[2J\n\r\u202e\u2028\x7f"))
_changed("every text a path", typed, _texts(lambda _: "../../../etc/passwd?a=b#c"))
_changed("every text an absurd time", typed, _texts(lambda _: "9999999-99-99T99:99:99+99:99"))
_changed("every text the last time", typed, _texts(lambda _: "9999-12-31T23:59:60.999999999-23:59"))
_changed("every text the first time", typed, _texts(lambda _: "0001-01-01T00:00:00+23:59"))
_changed("every text long", typed, _texts(lambda _: "a" * 70_000))
_changed("every text of a megabyte", bounded, _texts(lambda _: "a" * 1_100_000), is_large=True, only=SESSIONS)


def _wrapped(name: str, expected: Expectation, wrap: Callable[[Any], Any], **options: Any) -> None:
    def answer(request: Request) -> Iterable[Piece]:
        yield wire.answer(json.dumps(wrap(_members(request))).encode())

    FAMILY.add(f"a success with {name}", expected, answer, **options)


_wrapped("no member", typed, lambda _: {})
_wrapped("every member null", typed, dict.fromkeys)
_wrapped("every member an array", typed, lambda members: {key: [] for key in members})
_wrapped("every member an object", typed, lambda members: {key: {} for key in members})
_wrapped("every member a text", typed, lambda members: dict.fromkeys(members, "a"))
_wrapped(
    "every member in capitals", typed, lambda members: {key.upper(): one for key, one in members.items()}
)
_wrapped("itself inside", typed, lambda members: {"result": members})
_wrapped("an error", typed, lambda _: {"error": "server_error", "code": "X", "errors": [{"code": "X"}]})
_wrapped("members of Python", typed, lambda members: {**members, "__class__": "a", "__init__": {"a": 1}})


def _with_member(name: str, expected: Expectation, value: bytes, key: bytes = b"unknown") -> None:
    def answer(request: Request) -> Iterable[Piece]:
        start = request.good.rstrip()[:-1] if request.good.startswith(b"{") else b'{"a":1'
        yield wire.answer(start + b',"%s":%s}' % (key, value))

    FAMILY.add(f"a success with {name}", expected, answer)


_with_member("an unknown member that is nested", typed, _DEEP)
_with_member("an unknown member that is nested without end", unreadable, b"[" * 200_000)
_with_member("an unknown member that is a huge number", typed, b"9" * 5000)
_with_member("an unknown member that is a huge fraction", typed, b"1e99999")
_with_member("an unknown member that is a long fraction", typed, b"0." + b"1" * 50_000)
_with_member("an unknown member that is half a surrogate", typed, b'"\\udc00"')
_with_member("an unknown member that is a bad escape", typed, b'"\\x00"')
_with_member("a member whose name is half a surrogate", typed, b"1", rb"\ud800")
_with_member("a member whose name is NUL", typed, b"1", rb"\u0000")
_with_member("a member without a name", typed, b"1", b"")


@FAMILY.kind(right)
def a_success_with_every_member_twice(request: Request) -> Iterable[Piece]:
    inner = request.good.strip()[1:-1]
    yield wire.answer(b"{%s,%s}" % (inner, inner) if request.good.startswith(b"{") else request.good)


# Pages


def _page(
    name: str, expected: Expectation, records: bytes, rest: bytes = b'"cursor":"c1","more_to_follow":false'
) -> None:
    FAMILY.add(
        f"a page with {name}", expected, wire.answer(b'{"devices":[%s],%s}' % (records, rest)), only=PAGES
    )


def _has_only_good_ones(page: Any) -> bool:
    return [device.serial_number for device in page.devices] == ["C02A", "C02B"] and page.unreadable == 1


for _name, _record in {
    "an empty serial number": b'{"serial_number":""}',
    "a serial number that is a number": b'{"serial_number":5}',
    "a record that is none": b'"C02X"',
    "a record that is nothing": b"null",
    "a record without a serial number": b'{"model":"Mac"}',
    "half a surrogate in a record": b'{"serial_number":"C02X","color":"\\ud800"}',
    "half a surrogate in a serial number": b'{"serial_number":"\\ud800"}',
    "a number out of range in a record": b'{"serial_number":"C02X","a":1e99999}',
}.items():
    _good = b'{"serial_number":"C02A"},%s,{"serial_number":"C02B"}' % _record
    _page(_name, holding(_has_only_good_ones), _good)
for _name, _rest in {
    "no cursor": b'"more_to_follow":false',
    "a cursor that is null": b'"cursor":null,"more_to_follow":false',
    "a cursor that is empty": b'"cursor":"","more_to_follow":true',
    "a cursor that is a number": b'"cursor":5,"more_to_follow":false',
    "a cursor that is half a surrogate": b'"cursor":"\\ud800","more_to_follow":false',
    "more_to_follow as a text": b'"cursor":"c","more_to_follow":"false"',
    "more_to_follow as a number": b'"cursor":"c","more_to_follow":0',
    "no more_to_follow": b'"cursor":"c"',
}.items():
    _page(_name, bounded, b'{"serial_number":"C02A"}', _rest)


# Sessions

for _name, _value in {
    "empty": b'""',
    "blank": b'"  "',
    "with a line break": rb'"a\r\nX-Header: b"',
    "with NUL": rb'"a\u0000b"',
    "with ESC": rb'"a\u001b[2J"',
    "that is not ASCII": b'"\xc3\xa9"',
    "that is half a surrogate": rb'"\ud800"',
    "that is a number": b"5",
    "that is null": b"null",
    "that is an array": b'["a"]',
    "of fifty thousand characters": b'"%s"' % (b"a" * 50_000),
}.items():
    FAMILY.add(
        f"a session {_name}",
        bounded,
        wire.answer(b'{"auth_session_token":%s,"access_token":%s,"expires_in":3600}' % (_value, _value)),
        only=SESSIONS,
    )
for _name, _value in {
    "zero": b"0",
    "negative": b"-1e300",
    "huge": b"9" * 300,
    "infinite": b"1e999",
    "a text": b'"3600"',
    "true": b"true",
    "null": b"null",
    "an array": b"[]",
}.items():
    FAMILY.add(
        f"an access token that lives for a time that is {_name}",
        tolerated,
        wire.answer(b'{"access_token":"top-secret-access","expires_in":%s}' % _value),
        only=["business.session"],
    )
