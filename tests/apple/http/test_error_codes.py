"""Any error response of either service is a typed error: short, printable and without a secret."""

from __future__ import annotations

import json
import pickle
from datetime import UTC, datetime
from html import escape
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.cases import each

from pyade import errors
from pyade.apple.error_codes import apple_error, is_session_lost, read_code
from pyade.apple.http.error_codes import MAX_CODE, MAX_TEXT, http_date, remove_secrets, retry_after
from pyade.business.error_codes import api_error, token_error
from pyade.core.secret import Secret

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
SECRET = 'AT/top"secret+&<é\\%41=='
HEADERS = ("Retry-After", "Date", "X-Apple-Request-Uuid")

DATES = (
    "Sun, 01 Mar 99999999999999999999 12:00:00 GMT",
    "Sun, 01 Mar 0000 12:00:00 GMT",
    "Mon, 01 Jan 0001 00:00:00 +2359",
    "Fri, 31 Dec 9999 23:59:59 -2359",
    "Sun, 01 Mar 2026 12:00:00 +99999999999999999999",
    "Sun, 01 Mar 2026 99999999999999999999:00:00 GMT",
    "Sun, 99999999999999999999 Mar 2026 12:00:00 GMT",
    "9" * 65_536,
    "Sun, 01 Mar " + "9" * 65_536,
    "(" * 65_536,
    "\0",
)
BODIES: tuple[bytes, ...] = (
    b'{"code": ' + b"[" * 100_000,
    b'{"errors": [' + b'{"a":' * 100_000,
    b'{"errors": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    b'{"error": "invalid_client", "error_description": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    b'{"errors": [{"detail": 1e999}, 5, {"code": {}, "status": [], "source": {"pointer": {"pointer": 1}}}]}',
    rb'{"errors": [{"detail": "\ud800"}]}',
    b'{"errors": {"a": 1}}',
    b'{"code": 5}',
    b'{"code": "' + b"A" * 65_536 + b'"}',
    b"A" * 65_536,
    b"\xff" * 65_536,
    b"\0" * 65_536,
    "\u202e".encode() * 20_000,
    b"[" * 65_536,
    b'"' * 65_536,
    b"%" * 65_536,
    b"&#" * 32_768,
    b"\\u" * 32_768,
)


def refusals(content: bytes, headers: Any, status: int = 400) -> list[errors.AppleError]:
    """Return what both services make of it."""
    wait = retry_after(headers.get("Retry-After"), NOW)
    return [
        apple_error("ask", status, content, retry_after_s=wait, secrets=[SECRET]),
        apple_error("ask", status, content, session=True, retry_after_s=wait, secrets=[Secret(SECRET)]),
        api_error("ask", status, content, headers, now=NOW, secrets=[SECRET]),
        token_error(status, content, headers, now=NOW, about="x", secrets=[Secret(SECRET)]),
    ]


def check(content: bytes, headers: Any, status: int = 400) -> None:
    for error in refusals(content, headers, status):
        assert isinstance(error, errors.AppleError)
        assert str(error).isprintable()
        assert len(error.code) <= MAX_CODE
        assert len(error.detail) < 12 * 1024
        assert error.retry_after_s is None or 0 <= error.retry_after_s <= 365 * 86_400
        assert str(pickle.loads(pickle.dumps(error))) == str(error)
    code, text = read_code(content)
    assert len(code) <= MAX_CODE
    assert len(text) <= MAX_TEXT
    is_session_lost(status, content)


@each("date", DATES)
def test_an_absurd_date_is_none(date: str) -> None:
    assert retry_after(date, NOW) in (None, 0.0, 365 * 86_400.0)
    http_date(date)
    check(b'{"error": "invalid_client"}', {"Date": date, "Retry-After": date})


@pytest.mark.slow
@each("content", BODIES)
def test_a_hostile_refusal_is_a_typed_error(content: bytes) -> None:
    for status in (400, 401, 403, 429, 503):
        check(content, {}, status)


VALUES = st.recursive(
    st.text() | st.integers() | st.floats() | st.none() | st.just("\ud800"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
KEYS = st.sampled_from(["code", "status", "detail", "title", "source", "id"])
BODY = (
    st.binary(max_size=300)
    | st.dictionaries(st.sampled_from(["code", "errors", "error", "error_description"]), VALUES).map(
        lambda one: json.dumps(one).encode()
    )
    | st.lists(st.dictionaries(KEYS, VALUES)).map(lambda one: json.dumps({"errors": one}).encode())
)
FIELD = st.sampled_from(DATES).map(str.encode) | st.binary(max_size=60)


@given(BODY, st.dictionaries(st.sampled_from(HEADERS).map(str.encode), FIELD), st.integers(0, 999))
def test_any_bytes_and_headers_give_a_typed_error(
    content: bytes, headers: dict[bytes, bytes], status: int
) -> None:
    check(content, httpx.Headers(headers), status)


ESCAPED = (
    SECRET,
    json.dumps(SECRET)[1:-1],
    json.dumps(SECRET, ensure_ascii=False)[1:-1].replace("/", "\\/"),
    "".join(f"\\u{ord(one):04X}" for one in SECRET),
    quote(SECRET, safe=""),
    quote(SECRET),
    quote(SECRET, safe="").lower().replace("at", "AT", 1),
    escape(SECRET),
    quote(quote(SECRET, safe=""), safe=""),
    quote(json.dumps(SECRET)[1:-1]),
)
PLACES = ("bad %s, no", "%s", "<p>%s</p>", '{"code": "%s"}', '{"errors": [{"detail": "%s", "code": "%s"}]}')


@each("escaped", ESCAPED)
@each("place", PLACES)
def test_a_secret_is_removed_in_every_escape(escaped: str, place: str) -> None:
    content = place.replace("%s", escaped).encode()
    for error in refusals(content, {"X-Apple-Request-Uuid": escaped}):
        for shown in (str(error), repr(error), error.request_id):
            assert "secret" not in shown


@pytest.mark.parametrize("kept", range(4, len(SECRET)))
def test_a_secret_that_the_end_cuts_is_removed(kept: int) -> None:
    """The bound of the body, or that of what is looked at, may cut in the middle of a secret."""
    for whole in (SECRET, quote(SECRET, safe=""), json.dumps(SECRET)[1:-1]):
        cut = whole[: min(kept, len(whole))]
        assert remove_secrets(f"no such session {cut}", [SECRET]).endswith("[removed]") or len(cut) < 12
        blank = b" " * (MAX_TEXT - len(cut.encode())) + whole.encode()
        for error in refusals(blank, {}):
            assert "secret" not in str(error)


def test_short_words_and_texts_without_a_secret_stay() -> None:
    assert remove_secrets("it is at AT%2", ["AT-secret"]) == "it is at AT%2"
    assert remove_secrets("100 %25 of & \\n", ["AT-secret"]) == "100 %25 of & \\n"
    assert remove_secrets("a b", ["", Secret("")]) == "a b"
    assert remove_secrets("xyz and x", ["xyz", "xyzzy"]) == "[removed] and x"


def test_a_key_of_the_token_that_has_the_form_of_a_code_is_removed() -> None:
    key = "CK_0123456789ABCDEF"
    for content in (key.encode(), f'{{"code": "{key}"}}'.encode(), f'{{"error": "{key}"}}'.encode()):
        for error in (
            apple_error("ask", 400, content, secrets=[Secret(key)]),
            token_error(400, content, {}, now=NOW, about="x", secrets=[key]),
        ):
            assert key not in repr(error)
    body = f'{{"errors": [{{"code": "{key}"}}]}}'.encode()
    assert key not in repr(api_error("ask", 400, body, {"X-Apple-Request-Uuid": key}, now=NOW, secrets=[key]))
    assert apple_error("ask", 400, b"NOT_FOUND", secrets=["NOT_FOUND"]).code == "NOT_FOUND"


def test_an_unreadable_description_hides_no_code() -> None:
    for description in (b"5", b"[" * 100_000 + b"]" * 100_000, rb'"\ud800"'):
        body = b'{"error": "invalid_client", "error_description": %s}' % description
        assert type(token_error(400, body, {}, now=NOW, about="x")) is errors.CredentialError
