"""What each refusal of Apple means: the tables of the specification, through both clients."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import attrs
import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.cases import each

from pyade import errors
from pyade.apple.error_codes import (
    CODES,
    SESSION_CODES,
    apple_error,
    bare_code,
    is_session_lost,
    read_code,
)
from pyade.apple.http.error_codes import retry_after
from pyade.apple.responses import Account
from pyade.core.token import Token
from pyade.errors import AppleError

if TYPE_CHECKING:
    from tests.apple.conftest import Driver, ScriptedApple


@attrs.frozen
class Row:
    """One row: the call, the answer, and what must come of it."""

    method: str
    args: tuple[Any, ...]
    status: int
    body: str
    error: type[AppleError]
    code: str
    is_session: bool = False
    sessions: int = 1
    calls: int = 1

    def __str__(self) -> str:
        return f"{'session' if self.is_session else self.method}-{self.status}-{self.body[:24]}"


PROFILE = {"profile_name": "Standard", "url": "https://mdm.contoso.com/enroll"}
SESSION_ROWS = [
    Row("account", (), status, body, error, code, is_session=True, sessions=sessions, calls=0)
    for status, body, error, code, sessions in [
        (400, "oauth_problem_adviceBad Request", errors.OAuthRequestError, "oauth_problem_advice", 1),
        (400, "", errors.OAuthRequestError, "", 1),
        (401, "signature_invalidUnauthorized", errors.TokenSupersededError, "signature_invalid", 1),
        (401, "token_rejectedUnauthorized", errors.TokenRejectedError, "token_rejected", 1),
        (401, "token_expiredUnauthorized", errors.TokenExpiredError, "token_expired", 1),
        (401, "nonce_usedUnauthorized", errors.ClockError, "", 2),
        (401, "timestamp_refusedUnauthorized", errors.ClockError, "", 2),
        (401, "UNAUTHORIZED", errors.ClockError, "UNAUTHORIZED", 2),
        (401, "", errors.ClockError, "", 2),
        (403, "FORBIDDEN", errors.TokenOwnerError, "FORBIDDEN", 1),
        (403, "ACCESS_DENIED", errors.AccessDeniedError, "ACCESS_DENIED", 1),
        (403, "T_C_NOT_SIGNED", errors.TermsError, "T_C_NOT_SIGNED", 1),
        (403, "<html>FORBIDDEN</html>", errors.AccessDeniedError, "", 1),
        (404, "", errors.NotFoundError, "", 1),
        (500, "Internal Server Error", errors.ServerError, "", 4),
        (429, "TOO_MANY_REQUESTS", errors.RateLimitError, "TOO_MANY_REQUESTS", 4),
        (200, '{"auth_session_token": ""}', errors.ResponseError, "", 1),
        (200, '{"auth_session_token": "with space"}', errors.ResponseError, "", 1),
        (200, "{}", errors.ResponseError, "", 1),
        (200, "<html>sign in</html>", errors.ResponseError, "", 1),
        (200, "ACCESS_DENIED", errors.AccessDeniedError, "ACCESS_DENIED", 1),
        (302, "", errors.AppleError, "", 1),
    ]
]
AUTH_ROWS = [
    Row("account", (), 403, "T_C_NOT_SIGNED", errors.TermsError, "T_C_NOT_SIGNED"),
    Row("account", (), 401, "T_C_NOT_SIGNED", errors.TermsError, "T_C_NOT_SIGNED"),
    Row("account", (), 401, "UNAUTHORIZED", errors.SessionError, "UNAUTHORIZED", sessions=2, calls=2),
    Row("account", (), 401, "something new", errors.SessionError, "", sessions=2, calls=2),
    Row("account", (), 403, "FORBIDDEN", errors.SessionError, "FORBIDDEN", sessions=2, calls=2),
    Row("account", (), 403, "BRAND_NEW", errors.AccessDeniedError, "BRAND_NEW", sessions=2, calls=2),
    Row("account", (), 403, "ACCESS_DENIED", errors.AccessDeniedError, "ACCESS_DENIED"),
]
CATALOGUE_ROWS = [
    Row(method, args, status, code, error, code, calls=calls)
    for method, args, status, code, error, calls in [
        ("activation_lock", ("A",), 400, "MALFORMED_REQUEST_BODY", errors.InvalidRequestError, 1),
        ("fetch_devices", (), 400, "USER_AGENT_MISSING", errors.UserAgentError, 1),
        ("replacement_details", ("A",), 400, "USER_AGENT_INVALID", errors.UserAgentError, 1),
        ("sync_devices", ("c",), 400, "CURSOR_REQUIRED", errors.InvalidRequestError, 1),
        ("fetch_devices", ("c",), 400, "INVALID_CURSOR", errors.InvalidCursorError, 1),
        ("sync_devices", ("c",), 400, "INVALID_CURSOR", errors.InvalidCursorError, 1),
        ("fetch_devices", ("c",), 400, "EXHAUSTED_CURSOR", errors.ExhaustedCursorError, 1),
        ("sync_devices", ("c",), 400, "EXHAUSTED_CURSOR", errors.ExhaustedCursorError, 1),
        ("fetch_devices", ("c",), 400, "EXPIRED_CURSOR", errors.ExpiredCursorError, 1),
        ("sync_devices", ("c",), 400, "EXPIRED_CURSOR", errors.ExpiredCursorError, 1),
        ("device_details", (["A"],), 400, "DEVICE_ID_REQUIRED", errors.InvalidRequestError, 1),
        ("assign_profile", ("P", ["A"]), 400, "DEVICE_ID_REQUIRED", errors.InvalidRequestError, 1),
        ("remove_profile", (["A"],), 400, "DEVICE_ID_REQUIRED", errors.InvalidRequestError, 1),
        ("disown_devices", (["A"],), 400, "DEVICE_ID_REQUIRED", errors.InvalidRequestError, 1),
        ("replacement_details", ("",), 400, "DEVICE_ID_REQUIRED", errors.InvalidRequestError, 1),
        ("profile", ("",), 400, "PROFILE_UUID_REQUIRED", errors.InvalidRequestError, 1),
        ("assign_profile", ("", ["A"]), 400, "PROFILE_UUID_REQUIRED", errors.InvalidRequestError, 1),
        ("profile", ("P",), 400, "NOT_FOUND", errors.NotFoundError, 1),
        ("profile", ("P",), 404, "NOT_FOUND", errors.NotFoundError, 1),
        ("get_account_driven_enrollment_profile", (), 404, "NOT_FOUND", errors.NotFoundError, 1),
        ("account", (), 200, "NOT_FOUND", errors.NotFoundError, 1),
        ("assign_profile", ("P", ["A"]), 404, "PROFILE_NOT_FOUND", errors.NotFoundError, 1),
        ("assign_profile", ("P", ["A"]), 400, "PROFILE_NOT_FOUND", errors.NotFoundError, 1),
        ("replacement_details", ("A",), 404, "DEVICE_NOT_FOUND", errors.NotFoundError, 1),
        *[
            ("define_profile", (PROFILE,), 400, code, errors.InvalidRequestError, 1)
            for code in (
                "CONFIG_NAME_REQUIRED",
                "CONFIG_NAME_INVALID",
                "CONFIG_URL_REQUIRED",
                "CONFIG_URL_INVALID",
                "DEPARTMENT_INVALID",
                "MAGIC_INVALID",
                "SUPPORT_PHONE_INVALID",
                "SUPPORT_EMAIL_INVALID",
                "LOCALE_INVALID",
                "FLAGS_INVALID",
                "DESCRIPTION_INVALID",
            )
        ],
        *[
            ("set_account_driven_enrollment_profile", ("http://x",), 400, code, errors.InvalidRequestError, 1)
            for code in ("MDM_SERVICE_DISCOVERY_URL_REQUIRED", "MDM_SERVICE_DISCOVERY_URL_NOT_VALID")
        ],
        ("get_account_driven_enrollment_profile", (), 400, "ORG_NOT_SUPPORTED", errors.AccessDeniedError, 1),
        *[
            (method, args, 400, "ORG_NOT_SUPPORTED", errors.AccessDeniedError, 1)
            for method, args in (
                ("set_account_driven_enrollment_profile", ("https://x",)),
                ("remove_account_driven_enrollment_profile", ()),
            )
        ],
        ("account", (), 403, "APPLE_SEED_FOR_IT_TURNED_OFF", errors.AccessDeniedError, 1),
        ("define_profile", (PROFILE,), 429, "TOO_MANY_REQUESTS", errors.RateLimitError, 4),
    ]
]
STATUS_ROWS = [
    Row(method, args, status, body, error, code, calls=calls)
    for method, args, status, body, error, code, calls in [
        ("assign_profile", ("P", ["A"]), 404, "", errors.NotFoundError, "", 1),
        ("account", (), 400, "", errors.InvalidRequestError, "", 1),
        ("account", (), 400, "SOMETHING_NEW", errors.InvalidRequestError, "SOMETHING_NEW", 1),
        ("account", (), 405, "", errors.AppleError, "", 1),
        ("account", (), 418, "", errors.AppleError, "", 1),
        ("account", (), 302, "", errors.AppleError, "", 1),
        ("account", (), 404, "<html>INVALID_CURSOR</html>", errors.NotFoundError, "", 1),
        ("account", (), 500, "Internal Server Error", errors.ServerError, "", 4),
        ("account", (), 502, "<html>Bad Gateway</html>", errors.ServerError, "", 4),
        ("account", (), 503, "", errors.ServerError, "", 4),
        ("account", (), 504, "", errors.ServerError, "", 4),
        ("define_profile", (PROFILE,), 500, "Internal Server Error", errors.ServerError, "", 1),
        ("account", (), 200, "<html>sign in</html>", errors.ResponseError, "", 1),
        ("account", (), 200, "", errors.ResponseError, "", 1),
        ("account", (), 200, "[]", errors.ResponseError, "", 1),
        ("account", (), 200, "[" * 100_000, errors.ResponseError, "", 1),
        ("set_account_driven_enrollment_profile", ("https://x",), 200, "<html>", errors.ResponseError, "", 1),
    ]
]


@pytest.mark.parametrize("row", [*SESSION_ROWS, *AUTH_ROWS, *CATALOGUE_ROWS, *STATUS_ROWS], ids=str)
def test_each_refusal_is_its_own_error(
    row: Row, client: Driver, apple: ScriptedApple, no_secret: Callable[[object], None]
) -> None:
    script = apple.session_script if row.is_session else apple.script
    script += [httpx.Response(row.status, text=row.body)] * 10
    options = {"confirm": True} if row.method == "disown_devices" else {}
    with pytest.raises(AppleError) as caught:
        getattr(client, row.method)(*row.args, **options)
    error = caught.value
    assert type(error) is row.error
    assert (error.code, error.status) == (row.code, row.status)
    assert (apple.sessions, len(apple.calls)) == (row.sessions, row.calls)
    assert error.next_step
    assert str(row.status) in str(error)
    no_secret(error)
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is row.error
    assert str(again) == str(error)


def test_every_known_code_is_in_the_table() -> None:
    tested = {row.body for row in [*SESSION_ROWS, *AUTH_ROWS, *CATALOGUE_ROWS]}
    assert CODES.keys() <= tested
    assert {word for word in SESSION_CODES if any(body.startswith(word) for body in tested)} == set(
        SESSION_CODES
    )


@each(
    ("body", "code"),
    [
        (b"EXPIRED_CURSOR", "EXPIRED_CURSOR"),
        (b'"EXPIRED_CURSOR"', "EXPIRED_CURSOR"),
        (b'"EXPIRED_CURSOR"\n', "EXPIRED_CURSOR"),
        (b"\xef\xbb\xbfEXPIRED_CURSOR", "EXPIRED_CURSOR"),
        (b'{"code": "T_C_NOT_SIGNED"}', "T_C_NOT_SIGNED"),
        (b'{"code": "not a code"}', ""),
        (b'{"code": ', ""),
        (b'{"code": "\xff"}', ""),
        (b"", ""),
        (b'"', ""),
        (b"Internal Server Error", ""),
        (b"<html>FORBIDDEN</html>", ""),
        (b"the cursor is an INVALID_CURSOR", ""),
        (b"token_expiredUnauthorized", ""),
    ],
)
def test_a_code_is_read_in_every_form_of_body(body: bytes, code: str) -> None:
    assert read_code(body)[0] == code


def test_only_a_whole_body_is_a_code_inside_a_success() -> None:
    assert bare_code(b'"NOT_FOUND"') == "NOT_FOUND"
    assert bare_code(b'{"code": "NOT_FOUND"}') == ""


def test_what_apple_sent_is_shown_short_and_printable() -> None:
    error = apple_error("ask", 400, b"line\nbreak\x1b[31m " + b"x" * 5000)
    assert error.detail.startswith("'line break [31m xxx")
    assert len(error.detail) < 1100


def test_an_echoed_secret_is_removed() -> None:
    error = apple_error("ask", 400, b"bad header: SESSION-top-secret-1", secrets=["SESSION-top-secret-1", ""])
    assert "top-secret" not in str(error)
    assert "[removed]" in str(error)


def test_terms_name_the_organization_and_the_people(token: Token) -> None:
    error = apple_error("ask", 403, b"T_C_NOT_SIGNED", token=token)
    assert "Contoso (server token 'hq', portal user it@contoso.com)" in str(error)
    account = Account(org_name="Contoso Ltd", admin_id="admin@contoso.com")
    error = apple_error("ask", 403, b"T_C_NOT_SIGNED", token=token, account=account)
    assert "Contoso Ltd (server token 'hq', portal user it@contoso.com, now admin@contoso.com)" in str(error)
    nameless = attrs.evolve(token, org_name=None, org_id="123")
    assert "organization 123 (" in str(apple_error("ask", 403, b"T_C_NOT_SIGNED", token=nameless))
    unknown = attrs.evolve(token, org_name=None)
    assert "for server token 'hq'" in str(apple_error("ask", 403, b"T_C_NOT_SIGNED", token=unknown))


@each(
    ("status", "body", "lost"),
    [
        (200, b"FORBIDDEN", False),
        (400, b"FORBIDDEN", False),
        (401, b"", True),
        (401, b"T_C_NOT_SIGNED", False),
        (403, b"", True),
        (403, b"FORBIDDEN", True),
        (403, b"NEVER_HEARD_OF", True),
        (403, b"ACCESS_DENIED", False),
        (403, b"T_C_NOT_SIGNED", False),
        (403, b"APPLE_SEED_FOR_IT_TURNED_OFF", False),
    ],
)
def test_only_some_refusals_mean_that_the_session_is_lost(status: int, body: bytes, lost: bool) -> None:
    assert is_session_lost(status, body) is lost


NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


@each(
    ("value", "seconds"),
    [
        (None, None),
        ("", None),
        ("soon", None),
        ("-5", None),
        ("1.5", None),
        ("\N{SUPERSCRIPT TWO}", None),
        ("17", 17.0),
        (" 17 ", 17.0),
        ("9" * 400, 365 * 86_400.0),
        ("Sun, 01 Mar 2026 12:00:30 GMT", 30.0),
        ("Sun, 01 Mar 2026 12:00:30 -0000", 30.0),
        ("Sun, 01 Mar 2026 11:00:00 GMT", 0.0),
        ("Sun, 01 Mar 2099 12:00:00 GMT", 365 * 86_400.0),
    ],
)
def test_retry_after_is_seconds_or_a_date(value: str | None, seconds: float | None) -> None:
    assert retry_after(value, NOW) == seconds


@given(st.text())
def test_no_retry_after_breaks_the_client(value: str) -> None:
    seconds = retry_after(value, NOW)
    assert seconds is None or 0 <= seconds <= 365 * 86_400


@given(st.binary(max_size=200), st.integers(200, 599), st.booleans())
def test_any_refusal_gives_an_error_that_can_be_pickled(content: bytes, status: int, session: bool) -> None:
    error = apple_error("ask", status, content, session=session)
    assert pickle.loads(pickle.dumps(error)).detail == error.detail
