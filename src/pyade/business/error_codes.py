"""Map error responses of the API and of its authorization server to exceptions.

The rules of this file:

1. The HTTP status selects the exception, because Apple has many codes and adds more; ``errors`` of the
   exception keeps every code.
2. Show text from Apple only if it is printable, shortened, and without the secrets of the request.
3. Blame the clock for a refused client assertion only if the ``Date`` header of Apple's response proves it.

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
    HTML_PAGE,
    LATER,
    MAX_CODE,
    MAX_DETAIL,
    ErrorCode,
    by_status,
    http_date,
    read_body,
    retry_after,
    sanitize,
    text_of,
)
from pyade.apple.http.json_bodies import read_record, read_records, read_value
from pyade.core.problems import ErrorObject
from pyade.core.secret import Secret
from pyade.errors import AppleError

CLOCK_TOLERANCE = timedelta(minutes=2)
"""Difference to Apple's clock from which the local clock is named as the cause."""

MAX_ERRORS = 20

_NEW_KEY = "check the API account in the portal, and create a new key there if this one was revoked"
_STATUS: Mapping[int, ErrorCode] = {
    400: ErrorCode(errors.InvalidRequestError, "", "check the values of the request"),
    401: ErrorCode(errors.SessionError, "a new access token was refused as well", _NEW_KEY),
    403: ErrorCode(
        errors.AccessDeniedError,
        "the role of the API account does not allow it, or this kind of organization has no such operation",
        "check the permissions of the API account in the portal",
    ),
    404: ErrorCode(errors.NotFoundError, "Apple has no such record in this organization", "check the id"),
    406: ErrorCode(errors.InvalidRequestError, "", "check proxies between pyade and Apple"),
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
        " account was deleted; too many requests have the same result",
        _NEW_KEY,
    ),
    "invalid_grant": ErrorCode(errors.CredentialError, "", _NEW_KEY),
    "unauthorized_client": ErrorCode(errors.CredentialError, "", _NEW_KEY),
    "invalid_scope": ErrorCode(
        errors.CredentialError,
        "the API account belongs to the other kind of organization",
        "check the client id and scope=",
    ),
}
_OAUTH_OTHER = ErrorCode(errors.OAuthRequestError, "", "check token_url; a retry does not help")
_REDIRECT = ErrorCode(AppleError, "a redirect, which is never followed", "check base_url and token_url")
_OTHER = ErrorCode(AppleError, "", "check base_url")


def api_error(
    operation: str,
    status: int,
    content: bytes,
    headers: Mapping[str, str],
    *,
    now: datetime,
    secrets: Iterable[str | Secret] = (),
) -> AppleError:
    """Return the exception for an error response of the API.

    Args:
        operation: Name of the call.
        status: HTTP status.
        content: The body: JSON:API errors, a page, or empty.
        headers: Headers of the response.
        now: The current time, UTC, for an HTTP date in ``Retry-After``.
        secrets: Texts that must not be shown, even if the response echoes them.
    """
    secrets = tuple(secrets)
    found = read_errors(content, secrets)
    code = by_status(status, _STATUS, _REDIRECT, _OTHER)  # rule 1
    meaning = [f"({code.meaning})"] if code.meaning else []
    detail = "; ".join(filter(None, map(_describe, found))) if found else _describe_page(content, secrets)
    return code.error(
        operation,
        status,
        found[0].code if found else "",
        " ".join(filter(None, [detail[:MAX_DETAIL], *meaning])),
        code.next_step,
        retry_after(headers.get("Retry-After"), now),
        errors=found,
        request_id=sanitize(headers.get("X-Apple-Request-Uuid", ""), secrets, MAX_CODE),
    )


def token_error(
    status: int,
    content: bytes,
    headers: Mapping[str, str],
    *,
    now: datetime,
    about: str,
    secrets: Iterable[str | Secret] = (),
) -> AppleError:
    """Return the exception for an error response of the authorization server.

    Args:
        status: HTTP status.
        content: An OAuth 2 error object, a page, or empty.
        headers: Headers of the response.
        now: The local time, UTC, compared with ``Date`` of the response.
        about: Client id and key id, to name in the error.
        secrets: Texts that must not be shown.
    """
    secrets = tuple(secrets)
    wire = read_body(content, _WireOAuthError)
    code = sanitize(wire.error, secrets, MAX_CODE) if wire else ""
    known = _OAUTH.get(code) or by_status(status, _STATUS, _REDIRECT, _OAUTH_OTHER)
    if known.error in (errors.InvalidRequestError, errors.ConflictError, errors.NotFoundError):
        known = _OAUTH_OTHER
    if known.error is errors.SessionError:
        known = _OAUTH["invalid_client"]
    if known.error is errors.CredentialError and (off := _clock_error(headers, now)):  # rule 3
        known = ErrorCode(errors.ClockError, off, "set the clock of this machine")
    detail = sanitize(read_value(wire.error_description, str) or "", secrets) if wire else ""
    detail = (repr(detail) if detail else "") if wire else _describe_page(content, secrets)
    parts = [detail, f"({known.meaning})" if known.meaning else ""]
    return known.error(
        OPEN_SESSION,
        status,
        code,
        " ".join(filter(None, [*parts, f"for {about}"])),
        known.next_step,
        retry_after(headers.get("Retry-After"), now),
    )


def read_errors(content: bytes, secrets: Iterable[str | Secret] = ()) -> tuple[ErrorObject, ...]:
    """Return the JSON:API errors of a body, at most 20, without *secrets*; empty if it has none."""
    wire = read_body(content, _WireErrors)
    texts = tuple(secrets)
    raws = wire.errors[:MAX_ERRORS] if wire else []
    return tuple(_error(entry, texts) for entry in read_records(raws, read_record, "error"))


def _error(entry: dict[str, Any], secrets: tuple[str | Secret, ...]) -> ErrorObject:
    def text(value: Any) -> str:
        return sanitize(value, secrets) if isinstance(value, (str, int)) else ""  # rule 2

    return ErrorObject(
        status=text(entry.get("status")),
        code=text(entry.get("code"))[:MAX_CODE],
        title=text(entry.get("title")),
        detail=text(entry.get("detail")),
        pointer=text(_source_member(entry.get("source"), "pointer")),
        parameter=text(_source_member(entry.get("source"), "parameter")),
        id=text(entry.get("id")),
    )


def _source_member(source: Any, name: str) -> Any:
    """Return *name* of *source*, also if it is nested one level deeper (observed)."""
    if not isinstance(source, dict):
        return None
    holders = (holder for holder in (source, *source.values()) if isinstance(holder, dict))
    return next((holder[name] for holder in holders if isinstance(holder.get(name), str)), None)


def _describe(error: ErrorObject) -> str:
    place = error.pointer or error.parameter
    text = error.detail or error.title
    return f"{text!r} at {place!r}" if place else (repr(text) if text else "")


def _clock_error(headers: Mapping[str, str], now: datetime) -> str:
    apple_time = http_date(headers.get("Date"))
    if apple_time is None:
        return ""
    off = now - apple_time
    if abs(off) <= CLOCK_TOLERANCE:
        return ""
    way = "ahead of" if off > timedelta() else "behind"
    return f"the clock of this machine is {abs(off).total_seconds():.0f} seconds {way} Apple's"


def _describe_page(content: bytes, secrets: Iterable[str | Secret]) -> str:
    text = text_of(content)
    if text.startswith("<"):
        return HTML_PAGE
    return repr(sanitize(text, secrets)) if text else ""


class _WireErrors(msgspec.Struct):
    errors: list[msgspec.Raw]


class _WireOAuthError(msgspec.Struct):
    error: str
    error_description: msgspec.Raw = msgspec.Raw()
