"""What the refusals of the API and of its authorization server mean.

Rules of this file:

1. The status decides, since the codes are many and grow; ``errors`` keeps every code for who needs it.
2. What Apple sent is shown only as far as it is printable, short and free of the secrets of the request.
3. A refused client assertion is blamed on the clock only where Apple's own ``Date`` proves it.

Source: Apple, Apple Business API, ``ErrorResponse``; RFC 6749, 5.2 for the authorization server.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any

import msgspec

from pyade import errors
from pyade.apple.http.calls import OPEN_SESSION
from pyade.apple.http.error_codes import (
    A_PAGE,
    LATER,
    MAX_CODE,
    MAX_DETAIL,
    ErrorCode,
    by_status,
    http_date,
    read_body,
    shown,
    text_of,
)
from pyade.apple.http.error_codes import retry_after as read_retry_after
from pyade.apple.http.json_bodies import read_record, read_records, read_value
from pyade.core.problems import ErrorObject
from pyade.core.secret import Secret
from pyade.errors import AppleError

CLOCK_TOLERANCE = timedelta(minutes=2)
"""How far this clock may be from Apple's before it is named as the cause."""

MAX_ERRORS = 20

_NEW_KEY = "look at the API account in the portal, and make a new key there if this one was revoked"
_STATUS: Mapping[int, ErrorCode] = {
    400: ErrorCode(errors.InvalidRequestError, "", "check the values of the request"),
    401: ErrorCode(errors.SessionError, "a new access token was refused, too", _NEW_KEY),
    403: ErrorCode(
        errors.AccessDeniedError,
        "the role of the API account does not allow it, or this kind of organization has no such operation",
        "check the permissions of the API account in the portal",
    ),
    404: ErrorCode(errors.NotFoundError, "Apple has no such record in this organization", "check the id"),
    406: ErrorCode(errors.InvalidRequestError, "", "check what stands between pyade and Apple"),
    409: ErrorCode(
        errors.ConflictError,
        "",
        "check ids, serial numbers and times of the request, and what the portal shows",
    ),
    422: ErrorCode(errors.InvalidRequestError, "", "check the values of the request"),
    429: ErrorCode(errors.RateLimitError, "too many requests", LATER),
}
_OAUTH: Mapping[str, ErrorCode] = {
    "invalid_client": ErrorCode(
        errors.CredentialError,
        "Apple does not accept the API account: the key was revoked or belongs to another key id, or the"
        " account is gone; asking too often ends so, too",
        _NEW_KEY,
    ),
    "invalid_grant": ErrorCode(errors.CredentialError, "", _NEW_KEY),
    "unauthorized_client": ErrorCode(errors.CredentialError, "", _NEW_KEY),
    "invalid_scope": ErrorCode(
        errors.CredentialError,
        "the API account is of the other kind of organization",
        "check the client id and scope=",
    ),
}
_OAUTH_OTHER = ErrorCode(errors.OAuthRequestError, "", "check token_url; a retry does not help")
_REDIRECT = ErrorCode(AppleError, "a redirect, which is never followed", "check base_url and token_url")
_OTHER = ErrorCode(AppleError, "", "check base_url")


def api_refusal(
    operation: str,
    status: int,
    content: bytes,
    headers: Mapping[str, str],
    *,
    now: datetime,
    secrets: Iterable[str | Secret] = (),
) -> AppleError:
    """Return the error for a refusal of the API.

    Args:
        operation: What was asked.
        status: HTTP status.
        content: The body: JSON:API errors, a page, or empty.
        headers: Of the answer.
        now: What an HTTP date in ``Retry-After`` is compared with, UTC.
        secrets: What must not show, even if the answer echoes it.
    """
    secrets = tuple(secrets)
    found = read_errors(content, secrets)
    meant = by_status(status, _STATUS, _REDIRECT, _OTHER)
    words = [f"({meant.meaning})"] if meant.meaning else []
    told = "; ".join(filter(None, map(_in_words, found))) if found else _page(content, secrets)
    return meant.error(
        operation,
        status,
        found[0].code if found else "",
        " ".join(filter(None, [told[:MAX_DETAIL], *words])),
        meant.next_step,
        read_retry_after(headers.get("Retry-After"), now),
        errors=found,
        request_id=shown(headers.get("X-Apple-Request-Uuid", ""), secrets, MAX_CODE),
    )


def token_refusal(
    status: int,
    content: bytes,
    headers: Mapping[str, str],
    *,
    now: datetime,
    about: str,
    secrets: Iterable[str | Secret] = (),
) -> AppleError:
    """Return the error for a refusal of the authorization server.

    Args:
        status: HTTP status.
        content: An OAuth 2 error object, a page, or empty.
        headers: Of the answer.
        now: By this clock, UTC; compared with ``Date`` of the answer.
        about: Client id and key id, to name in the error.
        secrets: What must not show.
    """
    secrets = tuple(secrets)
    wire = read_body(content, _WireOAuthError)
    code = shown(wire.error, secrets, MAX_CODE) if wire else ""
    meant = _OAUTH.get(code) or by_status(status, _STATUS, _REDIRECT, _OAUTH_OTHER)
    if meant.error in (errors.InvalidRequestError, errors.ConflictError, errors.NotFoundError):
        meant = _OAUTH_OTHER
    if meant.error is errors.SessionError:
        meant = _OAUTH["invalid_client"]
    if meant.error is errors.CredentialError and (off := _clock_error(headers, now)):
        meant = ErrorCode(errors.ClockError, off, "set the clock of this machine")
    told = shown(read_value(wire.error_description, str) or "", secrets) if wire else ""
    told = (repr(told) if told else "") if wire else _page(content, secrets)
    parts = [told, f"({meant.meaning})" if meant.meaning else ""]
    return meant.error(
        OPEN_SESSION,
        status,
        code,
        " ".join(filter(None, [*parts, f"for {about}"])),
        meant.next_step,
        read_retry_after(headers.get("Retry-After"), now),
    )


def read_errors(content: bytes, secrets: Iterable[str | Secret] = ()) -> tuple[ErrorObject, ...]:
    """Return the JSON:API errors of a body, at most 20, without *secrets*; none if it holds none."""
    wire = read_body(content, _WireErrors)
    hidden = tuple(secrets)
    raws = wire.errors[:MAX_ERRORS] if wire else []
    return tuple(_error(entry, hidden) for entry in read_records(raws, read_record, "error"))


def _error(entry: dict[str, Any], secrets: tuple[str | Secret, ...]) -> ErrorObject:
    def text(value: Any) -> str:
        return shown(value, secrets) if isinstance(value, (str, int)) else ""

    return ErrorObject(
        status=text(entry.get("status")),
        code=text(entry.get("code"))[:MAX_CODE],
        title=text(entry.get("title")),
        detail=text(entry.get("detail")),
        pointer=text(_place(entry.get("source"), "pointer")),
        parameter=text(_place(entry.get("source"), "parameter")),
        id=text(entry.get("id")),
    )


def _place(source: Any, name: str) -> Any:
    """Return what *source* says under *name*, also where it is nested once more (observed)."""
    if not isinstance(source, dict):
        return None
    holders = (holder for holder in (source, *source.values()) if isinstance(holder, dict))
    return next((holder[name] for holder in holders if isinstance(holder.get(name), str)), None)


def _in_words(error: ErrorObject) -> str:
    place = error.pointer or error.parameter
    told = error.detail or error.title
    return f"{told!r} at {place!r}" if place else (repr(told) if told else "")


def _clock_error(headers: Mapping[str, str], now: datetime) -> str:
    theirs = http_date(headers.get("Date"))
    if theirs is None:
        return ""
    off = now - theirs
    if abs(off) <= CLOCK_TOLERANCE:
        return ""
    way = "ahead of" if off > timedelta() else "behind"
    return f"this clock is {abs(off).total_seconds():.0f} seconds {way} Apple's"


def _page(content: bytes, secrets: Iterable[str | Secret]) -> str:
    text = text_of(content)
    if text.startswith("<"):
        return A_PAGE
    return repr(shown(text, secrets)) if text else ""


class _WireErrors(msgspec.Struct):
    errors: list[msgspec.Raw]


class _WireOAuthError(msgspec.Struct):
    error: str
    error_description: msgspec.Raw = msgspec.Raw()
