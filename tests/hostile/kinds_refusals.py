"""Refusals with unusual bodies, absurd times, unknown codes, and text that would harm a terminal."""

from __future__ import annotations

import json
from collections.abc import Iterable

from tests.hostile import wire
from tests.hostile.endpoints import SAMPLE, SESSIONS
from tests.hostile.expectations import one_of, refused, unreadable
from tests.hostile.kinds import Family
from tests.hostile.server import Piece, Request

from pyade import errors
from pyade.errors import ClockError, CredentialError, SessionError

FAMILY = Family()
NESTED = 100_000
_PAGE = b"<html><head><title>Blocked</title></head><body onload='x'>By your administrator</body></html>"
_BODIES: dict[str, tuple[int, bytes]] = {
    "with nothing": (400, b""),
    "with blanks": (404, b" \r\n\t "),
    "with a page": (403, _PAGE),
    "with a page in capitals": (400, b"\xef\xbb\xbf\r\n<!DOCTYPE HTML><HTML>"),
    "with nested arrays": (400, b"[" * NESTED),
    "with nested arrays that end": (403, b"[" * NESTED + b"]" * NESTED),
    "with nested objects": (404, b'{"errors":' * NESTED + b"1" + b"}" * NESTED),
    "with nested errors": (422, b'{"errors":[' + b"[" * NESTED + b"]" * NESTED + b"]}"),
    "with a nested code": (400, b'{"code":' + b"[" * NESTED + b"]" * NESTED + b"}"),
    "with a nested error": (401, b'{"error":' + b"[" * NESTED + b"]" * NESTED + b"}"),
    "with a nested source": (
        409,
        b'{"errors":[{"source":' + b'{"a":' * NESTED + b"1" + b"}" * NESTED + b"}]}",
    ),
    "with bytes": (400, bytes(range(256)) * 8),
    "with half characters": (404, b'{"code":"\xff\xfe","errors":[{"code":"\xff"}]}'),
    "with surrogates": (403, b'{"code":"\\ud800","error":"\\ud800","errors":[{"code":"\\ud800"}]}'),
    "with NUL": (400, b"\0" * 2000),
    "with ESC": (403, b"\x1b[2J\x1b]0;owned\x07 FORBIDDEN"),
    "with ESC in a code": (
        400,
        b'{"code":"EX\\u001b[2JPIRED","errors":[{"code":"\\u001b[2J","title":"\\u001b"}]}',
    ),
    "with ESC in words": (401, b'{"error":"x\\u001b[2J","error_description":"\\u001b[31mred\\u202e\\n"}'),
    "with lines": (400, b"nothing\n2026-01-01 ERROR root: all devices were disowned\r\n"),
    "with marks from right to left": (404, "\u202eDENIED\u2066\u2028 \u200f".encode()),
    "with a long text": (400, b"A" * 60_000),
    "with a long code": (400, b'"' + b"A" * 3000 + b'"'),
    "with a number": (400, b"12"),
    "with null": (404, b"null"),
    "with a code that is a number": (
        403,
        b'{"code":5,"error":5,"errors":[{"code":5,"detail":5,"source":5}]}',
    ),
    "with errors of other kinds": (
        409,
        b'{"errors":[1,null,"a",[],{},{"source":[]},{"code":null,"meta":1}]}',
    ),
    "with errors that are none": (422, b'{"errors":{"code":"X"}}'),
    "with no error in the list": (400, b'{"errors":[]}'),
    "with many errors": (409, b'{"errors":[%s]}' % b",".join([b'{"code":"X","detail":"d"}'] * 2000)),
    "with huge numbers": (400, b'{"code":"X","errors":[{"status":%s}]}' % (b"9" * 5000)),
    "in another charset": (400, '{"code":"X"}'.encode("utf-16")),
    "with a traceback": (500, b'Traceback (most recent call last):\n  File "a", line 1\nKeyError: 1\n'),
    "with a page and 502": (502, _PAGE),
    "with nested arrays and 503": (503, b"[" * NESTED),
}
for _name, (_status, _body) in _BODIES.items():
    FAMILY.add(f"a refusal {_name}", refused(_status), wire.answer(_body, status=_status))
for _status in (402, 405, 406, 407, 408, 410, 411, 413, 414, 415, 417, 418, 421, 426, 431, 451, 499):
    FAMILY.add(
        f"the status {_status}",
        refused(_status),
        wire.answer(_PAGE, b"Proxy-Authenticate: Basic", b"WWW-Authenticate: Basic", status=_status),
        only=() if _status < 408 else SAMPLE,
    )
for _status in (501, 504, 505, 511, 520, 599, 600, 999):
    FAMILY.add(f"the status {_status}", refused(_status), wire.answer(b"", status=_status), only=SAMPLE)


# Codes

FAMILY.add(
    "a code in quotes",
    refused(400, apple=errors.ExpiredCursorError, apple_session=errors.ExpiredCursorError),
    wire.answer(b'"EXPIRED_CURSOR"', status=400),
)
FAMILY.add(
    "a code in an object",
    refused(403, apple=errors.TermsError, apple_session=errors.TermsError),
    wire.answer(b' {"code":"T_C_NOT_SIGNED","more":1}\n', status=403),
)
FAMILY.add(
    "a code behind a mark",
    refused(400, apple=errors.NotFoundError, apple_session=errors.NotFoundError),
    wire.answer(b"\xef\xbb\xbfPROFILE_NOT_FOUND\r\n", status=400),
)
FAMILY.add(
    "a code with another status",
    refused(418, apple=errors.RateLimitError, apple_session=errors.RateLimitError),
    wire.answer(b"TOO_MANY_REQUESTS", status=418),
)
FAMILY.add(
    "a lost session for ever",
    refused(403, apple=SessionError, apple_session=errors.TokenOwnerError),
    wire.answer(b"FORBIDDEN", status=403),
)
FAMILY.add(
    "a code with success",
    lambda one: (
        refused(200, apple=errors.InvalidCursorError, apple_session=errors.InvalidCursorError)(one)
        if one.service == "apple"
        else unreadable(one)
    ),
    wire.answer(b"INVALID_CURSOR"),
)


@FAMILY.kind(refused(400))
def a_refusal_that_quotes_the_request(request: Request) -> Iterable[Piece]:
    quoted = {**request.headers, "body": request.body.decode("latin-1")}
    yield wire.answer(json.dumps({"quoted": quoted}).encode(), status=400)


@FAMILY.kind(refused(422))
def errors_that_quote_the_request(request: Request) -> Iterable[Piece]:
    quoted = " ".join(request.headers.values()) + request.body.decode("latin-1")
    one = {"code": "X", "title": quoted, "detail": quoted, "id": quoted, "source": {"parameter": quoted}}
    yield wire.answer(json.dumps({"errors": [one], "error": quoted, "code": quoted}).encode(), status=422)


# Times

for _number, _value in enumerate(
    (
        b"Fri, 31 Dec 9999999 23:59:59 GMT",
        b"Fri, 31 Dec 9999 23:59:59 GMT",
        b"Fri, 31 Dec 9999 23:59:59 -2359",
        b"Mon, 01 Jan 0001 00:00:00 +2359",
        b"Mon, 01 Jan 0000 00:00:00 GMT",
        b"Mon, 01 Jan 2026 00:00:00 +9999",
        b"Mon, 01 Jan 2026 00:00:00 +99999999999999999999",
        b"Mon, 99 Foo 2026 99:99:99 GMT",
        b"Mon, 01 Jan 99999999999999999999999999999 00:00:00 GMT",
        b"-1",
        b"1.5",
        b"1e400",
        b"inf",
        b"NaN",
        b"9" * 400,
        b"9" * 6000,
        b"0",
        b"1",
        b"",
        b"soon",
        "١٢".encode(),
        b"\xff\xfe",
        b"10, 20",
        b"0x10",
        b"," * 3000,
        b"((((" * 2000,
    )
):
    _status = 503 if _number % 2 else 429
    _shown = _value[:40].decode("latin-1").encode("ascii", "backslashreplace").decode().replace("/", "")
    FAMILY.add(
        f"Retry-After {_shown!r} ({len(_value)})",
        refused(_status),
        wire.answer(b"", b"Retry-After: " + _value, status=_status),
        only=() if _number < 3 else SAMPLE,
    )
    FAMILY.add(
        f"Date {_shown!r} ({len(_value)})",
        one_of(ClockError, CredentialError, SessionError),
        wire.answer(b'{"error":"invalid_client"}', b"Date: " + _value, status=401),
        only=SESSIONS,
    )
