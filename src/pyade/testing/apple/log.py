"""What the fake was asked: frozen records without secrets."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import attrs
import msgspec

from pyade.testing.apple.wire import Answer, WireRequest

_SECRET_HEADERS = frozenset({"authorization", "proxy-authorization", "cookie", "x-adm-auth-session"})
_SECRET_WORDS = ("secret", "token", "escrow", "password")
_REDACTED = "(redacted)"
_LONGEST_TEXT = 1024


@attrs.frozen(kw_only=True)
class RequestRecord:
    """One request that reached the fake, and how it was answered.

    Attributes:
        number: 1 for the first request, and so on.
        at: When it arrived, by the fake's clock, UTC.
        method: Such as ``POST``.
        path: Without the query.
        query: The decoded query, by name.
        headers: Names in lower case, secrets redacted.
        body: The parsed JSON, else the text (at most 1 KiB of it), None without a body.
        session: Number of the session it carried (1 for the first that was issued); None if it carried none
            that the fake knows.
        server: Name of the server it acted for, "" if the session was not accepted.
        status: Status of the answer; None if the connection was dropped.
        code: Text of an answer that is not a success, at most 1 KiB; "" for a success.
    """

    number: int
    at: datetime
    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: Any = None
    session: int | None = None
    server: str = ""
    status: int | None = None
    code: str = ""

    @property
    def endpoint(self) -> str:
        """Method and path, such as ``POST /devices/sync``."""
        return f"{self.method} {self.path}"


def request_record(
    request: WireRequest,
    answer: Answer | None,
    *,
    number: int,
    at: datetime,
    session: int | None,
    server: str,
) -> RequestRecord:
    """Return the record of *request*, without its secrets."""
    return RequestRecord(
        number=number,
        at=at,
        method=request.method,
        path=request.path,
        query={name: _REDACTED if _is_secret(name) else value for name, value in request.query},
        headers={
            name: _REDACTED if name in _SECRET_HEADERS else value for name, value in request.headers.items()
        },
        body=_parsed(request.body),
        session=session,
        server=server,
        status=None if answer is None else answer.status,
        code=""
        if answer is None or answer.status < 400
        else answer.body.decode(errors="replace").strip()[:_LONGEST_TEXT],
    )


def _parsed(body: bytes) -> Any:
    if not body:
        return None
    try:
        value = msgspec.json.decode(body)
    except (msgspec.DecodeError, RecursionError):
        return body.decode(errors="replace")[:_LONGEST_TEXT]
    if isinstance(value, dict):
        return {key: _REDACTED if _is_secret(key) else item for key, item in value.items()}
    return value


def _is_secret(name: str) -> bool:
    return any(word in name.lower() for word in _SECRET_WORDS)
