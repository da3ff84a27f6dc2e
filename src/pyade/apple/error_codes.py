"""The error codes of the device assignment service: what each means and who must act.

The rules of this file:

1. The code decides; the status decides only if the response has no code that pyade knows. The same condition
   comes with different statuses (not found: 200, 400, 404), and 403 alone has five meanings.
2. A code is the whole body, never a part of it: ``FORBIDDEN`` in the HTML page of a gateway is no code.
3. ``/session`` has codes of its own and gives ``FORBIDDEN`` and 401 another meaning.
4. Text from Apple is shown only after it was made printable, cut, and stripped of the request's secrets.

Source: Apple, device assignment, "Interpreting Automated Device Enrollment error codes" and the error tables
of the endpoint pages; body forms and ``/session`` codes as seen in the field.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

import msgspec

from pyade import errors
from pyade.apple.http.error_codes import (
    HTML_PAGE,
    LATER,
    MAX_CODE,
    ErrorCode,
    blank_unprintable,
    by_status,
    read_body,
    remove_secrets,
    sanitize,
    text_of,
)
from pyade.apple.responses import Account
from pyade.core.secret import Secret
from pyade.core.token import Token
from pyade.errors import AppleError

_NEW_TOKEN = "download a new server token in the portal and import it"  # noqa: S105 - no password
_FIX_PROFILE = "correct that setting of the profile and define it again"
_FULL_FETCH = "discard the cursor and fetch the full list"

CODES: Mapping[str, ErrorCode] = {
    "MALFORMED_REQUEST_BODY": ErrorCode(
        errors.InvalidRequestError,
        "the request body has a form that Apple does not accept",
        "check the values",
    ),
    "USER_AGENT_MISSING": ErrorCode(
        errors.UserAgentError, "the User-Agent header is missing", "set user_agent= to a product of your own"
    ),
    "USER_AGENT_INVALID": ErrorCode(
        errors.UserAgentError,
        "the User-Agent header is on Apple's deny list, which grows with the protocol version",
        "set user_agent= to a product of your own",
    ),
    "CURSOR_REQUIRED": ErrorCode(
        errors.InvalidRequestError,
        "sync needs a cursor",
        "fetch the full list first and sync from its cursor",
    ),
    "INVALID_CURSOR": ErrorCode(errors.InvalidCursorError, "the cursor is not recognised", _FULL_FETCH),
    "EXPIRED_CURSOR": ErrorCode(errors.ExpiredCursorError, "the cursor is older than 7 days", _FULL_FETCH),
    "EXHAUSTED_CURSOR": ErrorCode(
        errors.ExhaustedCursorError,
        "everything for that cursor was delivered already",
        "go on with sync and the same cursor",
    ),
    "DEVICE_ID_REQUIRED": ErrorCode(
        errors.InvalidRequestError,
        "the list of devices is empty or missing",
        "name at least one serial number",
    ),
    "PROFILE_UUID_REQUIRED": ErrorCode(
        errors.InvalidRequestError, "the profile is missing", "name the profile_uuid"
    ),
    "NOT_FOUND": ErrorCode(
        errors.NotFoundError,
        "Apple has no such record for this token",
        "check the id, and which token made it",
    ),
    "PROFILE_NOT_FOUND": ErrorCode(
        errors.NotFoundError, "Apple has no such profile for this token", "define the profile again"
    ),
    "DEVICE_NOT_FOUND": ErrorCode(
        errors.NotFoundError,
        "no replacement record, a wrong serial number, or a device of another server",
        "ask only for devices whose is_replacement_device is true",
    ),
    "CONFIG_NAME_REQUIRED": ErrorCode(errors.InvalidRequestError, "profile_name is missing", _FIX_PROFILE),
    "CONFIG_NAME_INVALID": ErrorCode(
        errors.InvalidRequestError, "profile_name takes 1 to 125 characters", _FIX_PROFILE
    ),
    "CONFIG_URL_REQUIRED": ErrorCode(errors.InvalidRequestError, "url is missing", _FIX_PROFILE),
    "CONFIG_URL_INVALID": ErrorCode(
        errors.InvalidRequestError, "url takes a URI of 1 to 2000 URL-encoded characters", _FIX_PROFILE
    ),
    "DEPARTMENT_INVALID": ErrorCode(
        errors.InvalidRequestError, "department takes 1 to 125 characters", _FIX_PROFILE
    ),
    "MAGIC_INVALID": ErrorCode(
        errors.InvalidRequestError, "org_magic takes 1 to 256 characters", _FIX_PROFILE
    ),
    "SUPPORT_PHONE_INVALID": ErrorCode(
        errors.InvalidRequestError, "support_phone_number takes 1 to 50 characters", _FIX_PROFILE
    ),
    "SUPPORT_EMAIL_INVALID": ErrorCode(
        errors.InvalidRequestError, "support_email_address takes 1 to 250 characters", _FIX_PROFILE
    ),
    "LOCALE_INVALID": ErrorCode(
        errors.InvalidRequestError, "language and region do not go together, or one is unknown", _FIX_PROFILE
    ),
    "FLAGS_INVALID": ErrorCode(
        errors.InvalidRequestError,
        "a locked enrollment (is_mdm_removable false) needs is_supervised",
        _FIX_PROFILE,
    ),
    "DESCRIPTION_INVALID": ErrorCode(
        errors.InvalidRequestError, "the description is not acceptable", _FIX_PROFILE
    ),
    "MDM_SERVICE_DISCOVERY_URL_REQUIRED": ErrorCode(
        errors.InvalidRequestError, "the discovery URL is missing", "name mdm_service_discovery_url"
    ),
    "MDM_SERVICE_DISCOVERY_URL_NOT_VALID": ErrorCode(
        errors.InvalidRequestError, "the discovery URL must be well formed and https", "correct the URL"
    ),
    "ORG_NOT_SUPPORTED": ErrorCode(
        errors.AccessDeniedError, "this kind of organization may not use that", "no retry helps; ask Apple"
    ),
    "APPLE_SEED_FOR_IT_TURNED_OFF": ErrorCode(
        errors.AccessDeniedError,
        "the organization turned beta access off",
        "an administrator turns it on in the portal",
    ),
    "TOO_MANY_REQUESTS": ErrorCode(errors.RateLimitError, "too many requests", LATER),
    "UNAUTHORIZED": ErrorCode(errors.SessionError, "a new session was refused, too", LATER),
    "FORBIDDEN": ErrorCode(errors.SessionError, "a new session was refused, too", LATER),
    "ACCESS_DENIED": ErrorCode(
        errors.AccessDeniedError,
        "this token has no right to the request",
        "check the rights of the server in the portal",
    ),
    "T_C_NOT_SIGNED": ErrorCode(
        errors.TermsError,
        "Apple's new terms are not accepted yet; the token is good",
        "an administrator of that organization accepts them in the portal; calls work up to an hour later",
    ),
}
"""Every known error code of Apple's, from all endpoints except ``/session``."""

_CLOCK = ErrorCode(
    errors.ClockError,
    "the nonce or the timestamp was refused twice",
    "set the clock of this machine; it must be right to the minute",
)
SESSION_CODES: Mapping[str, ErrorCode] = {
    "oauth_problem_advice": ErrorCode(
        errors.OAuthRequestError,
        "the OAuth request is malformed: a key of the token is empty, or a proxy changed the request",
        "check the token file; a retry does not help",
    ),
    "signature_invalid": ErrorCode(
        errors.TokenSupersededError,
        "the secrets do not match, usually since a newer token was generated in the portal and not imported",
        _NEW_TOKEN,
    ),
    "token_rejected": ErrorCode(
        errors.TokenRejectedError,
        "the token is unknown or was revoked, or its server was deleted",
        _NEW_TOKEN,
    ),
    "token_expired": ErrorCode(errors.TokenExpiredError, "the token is past its expiry", _NEW_TOKEN),
    "FORBIDDEN": ErrorCode(
        errors.TokenOwnerError,
        "the portal user who downloaded the token was deleted, lost the role or changed the password",
        "a user who holds the role downloads a new server token in the portal",
    ),
    "UNAUTHORIZED": _CLOCK,
}
"""The codes with a meaning of their own at ``/session`` (rule 3); all others mean the same everywhere."""

_SESSION_STATUS: Mapping[int, ErrorCode] = {
    400: ErrorCode(errors.OAuthRequestError, "", "check the token file and base_url; a retry does not help"),
    401: _CLOCK,
    403: ErrorCode(errors.AccessDeniedError, "", "check the server and its token in the portal"),
}
_STATUS: Mapping[int, ErrorCode] = {
    400: ErrorCode(errors.InvalidRequestError, "", "check the values of the request"),
    401: ErrorCode(errors.SessionError, "a new session was refused, too", LATER),
    403: ErrorCode(
        errors.AccessDeniedError, "", "check the server in the portal, and any proxy in front of Apple"
    ),
    404: ErrorCode(errors.NotFoundError, "", "check the id, which token made it, and base_url"),
    429: ErrorCode(errors.RateLimitError, "too many requests", LATER),
}
_REDIRECT = ErrorCode(AppleError, "a redirect, which is never followed", "check base_url")
_OTHER = ErrorCode(AppleError, "", "check base_url")

_CODE = re.compile(rf"[A-Z][A-Z0-9_]{{0,{MAX_CODE - 1}}}")
_KEEP_SESSION = frozenset({"T_C_NOT_SIGNED", "ACCESS_DENIED"})


def read_code(content: bytes, *, session: bool = False) -> tuple[str, str]:
    """Return the code in the body of a response, and the text of a body without one.

    Args:
        content: A bare or quoted code, a JSON object with ``code``, a code of ``/session`` followed by the
            reason phrase without a space, an HTML page, or nothing.
        session: True for a response of ``/session``.

    Returns:
        The code or "", and the text of a body without a code, at most 64 KiB.
    """
    text = text_of(content)
    bare = _unquoted(text)
    if _CODE.fullmatch(bare):  # rule 2
        return bare, ""
    if session:
        for code in SESSION_CODES:
            if code.islower() and bare.startswith(code):
                return code, ""
    if text.startswith("{"):
        wire = read_body(content, _WireCode)
        if wire is not None and _CODE.fullmatch(wire.code):
            return wire.code, ""
    return "", HTML_PAGE if text.startswith("<") else blank_unprintable(text)


def bare_code(content: bytes) -> str:
    """Return *content* if it is exactly one code, bare or quoted; "" for anything else."""
    bare = _unquoted(text_of(content))
    return bare if _CODE.fullmatch(bare) else ""


def _unquoted(text: str) -> str:
    return text[1:-1].strip() if len(text) > 1 and text[0] == text[-1] == '"' else text


def is_session_lost(status: int, content: bytes) -> bool:
    """Return True if a response of any endpoint but ``/session`` means that the session is no longer valid.

    This is every 401, and a 403 with ``FORBIDDEN`` or without a known code; never a response with a code that
    an administrator must resolve.
    """
    if status not in (401, 403):
        return False
    code, _ = read_code(content)
    if status == 401:
        return code not in _KEEP_SESSION
    return code == "FORBIDDEN" or code not in CODES


def apple_error(
    operation: str,
    status: int,
    content: bytes,
    *,
    session: bool = False,
    retry_after_s: float | None = None,
    token: Token | None = None,
    account: Account | None = None,
    secrets: Iterable[str | Secret] = (),
) -> AppleError:
    """Return the error for an error response.

    Args:
        operation: Name of the call.
        status: HTTP status.
        content: The body.
        session: True for a response of ``/session``.
        retry_after_s: Seconds that Apple asked to wait.
        token: Names the organization and the portal user in errors that one of them must resolve.
        account: Names them more exactly, if it was read.
        secrets: Removed from the error, even if the response echoes them.
    """
    secrets = tuple(secrets)
    code, text = read_code(content, session=session)
    meant = (SESSION_CODES.get(code) if session else None) or CODES.get(code)  # rule 3
    if meant is None:  # rule 1
        meant = _by_status(status, session)
        # What looks like a code may be an echoed key of the token.
        if (removed := remove_secrets(code, secrets)) != code:
            code, text = "", removed
    text = sanitize(text, secrets)  # rule 4
    parts = [f"({meant.meaning})"] if meant.meaning else []
    if issubclass(meant.error, _NEEDS_ADMINISTRATOR) and token is not None:
        parts.append(f"for {describe_owner(token, account)}")
    if text:
        parts.insert(0, repr(text))
    return meant.error(operation, status, code, " ".join(parts), meant.next_step, retry_after_s)


def describe_owner(token: Token, account: Account | None = None) -> str:
    """Return a text that names the organization and the portal users of *token*."""
    organization = (account and account.org_name) or token.org_name
    organization = organization or (f"organization {token.org_id}" if token.org_id else "")
    about = f"server token {token.name!r}, portal user {token.apple_id}"
    if account and account.admin_id and account.admin_id != token.apple_id:
        about += f", now {account.admin_id}"
    return f"{organization} ({about})" if organization else about


def _by_status(status: int, session: bool) -> ErrorCode:
    table = {**_STATUS, **_SESSION_STATUS} if session else _STATUS  # rule 3
    return by_status(status, table, _REDIRECT, _OTHER)


class _WireCode(msgspec.Struct):
    code: str


_NEEDS_ADMINISTRATOR = (
    errors.TermsError,
    errors.TokenOwnerError,
    errors.TokenRejectedError,
    errors.TokenSupersededError,
    errors.TokenExpiredError,
    errors.AccessDeniedError,
)
