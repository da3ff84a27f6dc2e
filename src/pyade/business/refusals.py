"""What the refusals of the API and of its authorization server mean.

Rules of this file:

1. The status decides, since the codes are many and grow; ``errors`` keeps every code for who needs it.
2. What Apple sent is shown only as far as it is printable, short and free of the secrets of the request.
3. A refused client assertion is blamed on the clock only where Apple's own ``Date`` proves it.

Source: Apple, Apple Business API, ``ErrorResponse``; RFC 6749, 5.2 for the authorization server.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any, TypeVar

import msgspec

from pyade import errors
from pyade.apple.http.calls import OPEN_SESSION
from pyade.apple.refusals import MAX_DETAIL, Refusal
from pyade.apple.refusals import retry_after as read_retry_after
from pyade.core.problems import ErrorObject
from pyade.errors import AppleError

CLOCK_TOLERANCE = timedelta(minutes=2)
"""How far this clock may be from Apple's before it is named as the cause."""

_W = TypeVar("_W")
MAX_ERRORS = 20

_LATER = "try again later"
_NEW_KEY = "look at the API account in the portal, and make a new key there if this one was revoked"
_STATUS: Mapping[int, Refusal] = {
    400: Refusal(errors.InvalidRequestError, "", "check the values of the request"),
    401: Refusal(errors.SessionError, "a new access token was refused, too", _NEW_KEY),
    403: Refusal(
        errors.AccessDeniedError,
        "the role of the API account does not allow it, or this kind of organization has no such operation",
        "check the permissions of the API account in the portal",
    ),
    404: Refusal(errors.NotFoundError, "Apple has no such record in this organization", "check the id"),
    406: Refusal(errors.InvalidRequestError, "", "check what stands between pyade and Apple"),
    409: Refusal(
        errors.ConflictError,
        "",
        "check ids, serial numbers and times of the request, and what the portal shows",
    ),
    422: Refusal(errors.InvalidRequestError, "", "check the values of the request"),
    429: Refusal(errors.RateLimitError, "too many requests", _LATER),
}
_OAUTH: Mapping[str, Refusal] = {
    "invalid_client": Refusal(
        errors.CredentialError,
        "Apple does not accept the API account: the key was revoked or belongs to another key id, or the"
        " account is gone; asking too often ends so, too",
        _NEW_KEY,
    ),
    "invalid_grant": Refusal(errors.CredentialError, "", _NEW_KEY),
    "unauthorized_client": Refusal(errors.CredentialError, "", _NEW_KEY),
    "invalid_scope": Refusal(
        errors.CredentialError,
        "the API account is of the other kind of organization",
        "check the client id and scope=",
    ),
}
_SERVER = Refusal(errors.ServerError, "", _LATER)
_OAUTH_OTHER = Refusal(errors.OAuthRequestError, "", "check token_url; a retry does not help")
_REDIRECT = Refusal(AppleError, "a redirect, which is never followed", "check base_url and token_url")
_OTHER = Refusal(AppleError, "", "check base_url")


def api_refusal(
    operation: str,
    status: int,
    content: bytes,
    headers: Mapping[str, str],
    *,
    now: datetime,
    secrets: Iterable[str] = (),
) -> AppleError:
    """Return the error for a refusal of the API.

    Args:
        operation: What was asked.
        status: HTTP status.
        content: The body: JSON:API errors, a page, or empty.
        headers: Of the answer.
        now: What an HTTP date in ``Retry-After`` is compared with, UTC.
        secrets: Strings that must not show, should somebody have echoed them.
    """
    found = read_errors(_without(content, secrets))
    meant = _by_status(status, _STATUS.get(status, _OTHER))
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
        request_id=_printable(headers.get("X-Apple-Request-Uuid", ""))[:100],
    )


def token_refusal(
    status: int,
    content: bytes,
    headers: Mapping[str, str],
    *,
    now: datetime,
    about: str,
    secrets: Iterable[str] = (),
) -> AppleError:
    """Return the error for a refusal of the authorization server.

    Args:
        status: HTTP status.
        content: An OAuth 2 error object, a page, or empty.
        headers: Of the answer.
        now: By this clock, UTC; compared with ``Date`` of the answer.
        about: Client id and key id, to name in the error.
        secrets: Strings that must not show.
    """
    wire = _read(_without(content, secrets), _WireOAuthError)
    code = _printable(wire.error)[:100] if wire else ""
    meant = _OAUTH.get(code) or _by_status(status, _STATUS.get(status, _OAUTH_OTHER))
    if meant.error in (errors.InvalidRequestError, errors.ConflictError, errors.NotFoundError):
        meant = _OAUTH_OTHER
    if meant.error is errors.SessionError:
        meant = _OAUTH["invalid_client"]
    if meant.error is errors.CredentialError and (off := _clock_error(headers, now)):
        meant = Refusal(errors.ClockError, off, "set the clock of this machine")
    told = _printable(wire.error_description or "") if wire else _page(content, secrets)
    told = repr(told[:MAX_DETAIL]) if wire and told else told
    parts = [told, f"({meant.meaning})" if meant.meaning else ""]
    return meant.error(
        OPEN_SESSION,
        status,
        code,
        " ".join(filter(None, [*parts, f"for {about}"])),
        meant.next_step,
        read_retry_after(headers.get("Retry-After"), now),
    )


def read_errors(content: bytes) -> tuple[ErrorObject, ...]:
    """Return the JSON:API errors of a body, at most 20; none if it holds none."""
    wire = _read(content, _WireErrors)
    entries = wire.errors if wire else []
    return tuple(_error(entry) for entry in entries[:MAX_ERRORS] if isinstance(entry, dict))


def _error(entry: dict[str, Any]) -> ErrorObject:
    def text(value: Any) -> str:
        return _printable(value)[:MAX_DETAIL] if isinstance(value, (str, int)) else ""

    return ErrorObject(
        status=text(entry.get("status")),
        code=text(entry.get("code")),
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


def _by_status(status: int, otherwise: Refusal) -> Refusal:
    if status >= 500:
        return _SERVER
    return _REDIRECT if 300 <= status < 400 else otherwise


def _clock_error(headers: Mapping[str, str], now: datetime) -> str:
    try:
        theirs = parsedate_to_datetime(headers.get("Date", ""))
    except ValueError:
        return ""
    off = now - (theirs if theirs.tzinfo else theirs.replace(tzinfo=UTC))
    if abs(off) <= CLOCK_TOLERANCE:
        return ""
    way = "ahead of" if off > timedelta() else "behind"
    return f"this clock is {abs(off).total_seconds():.0f} seconds {way} Apple's"


def _page(content: bytes, secrets: Iterable[str]) -> str:
    text = _without(content[: 4 * MAX_DETAIL], secrets).decode("utf-8", "replace").strip()
    if text.startswith("<"):
        return "a page instead of an answer, as gateways send it"
    return repr(_printable(text)[:MAX_DETAIL]) if text else ""


def _without(content: bytes, secrets: Iterable[str]) -> bytes:
    for secret in filter(None, secrets):
        content = content.replace(secret.encode(), b"[removed]")
    return content


def _printable(value: str | int) -> str:
    return "".join(character if character.isprintable() else " " for character in str(value))


def _read(content: bytes, cls: type[_W]) -> _W | None:
    try:
        return msgspec.json.decode(content, type=cls)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None


class _WireErrors(msgspec.Struct):
    errors: list[Any]


class _WireOAuthError(msgspec.Struct):
    error: str
    error_description: str | None = None
