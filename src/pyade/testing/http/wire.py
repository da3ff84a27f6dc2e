"""Requests and responses of a fake, independent of the transport."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import attrs
import msgspec

JSON_TYPE = "application/json;charset=UTF8"
TEXT_TYPE = "text/plain;charset=UTF8"
UNREADABLE = (msgspec.MsgspecError, RecursionError, UnicodeDecodeError)
"""What msgspec raises for a body that is not JSON, or not of the expected type."""


@attrs.frozen(kw_only=True)
class WireRequest:
    """One HTTP request as it arrived.

    Attributes:
        method: Upper case, such as ``POST``.
        scheme: ``http`` or ``https``.
        host: Host and, if not the default, port, as in the ``Host`` header.
        target: Path and query, percent-encoded as received.
        headers: Names in lower case; several fields of one name are joined with a comma.
        body: The raw body.
    """

    method: str
    scheme: str
    host: str
    target: str
    headers: Mapping[str, str]
    body: bytes = attrs.field(default=b"", repr=False)

    @property
    def path(self) -> str:
        """The path without the query."""
        return urlsplit(self.target).path

    @property
    def query(self) -> list[tuple[str, str]]:
        """The decoded query, in order."""
        return parse_qsl(urlsplit(self.target).query, keep_blank_values=True)

    @property
    def endpoint(self) -> str:
        """Method and path, such as ``POST /devices/sync``: the key of scripts and counters."""
        return f"{self.method} {self.path}"

    @property
    def media_type(self) -> str:
        """The ``Content-Type`` in lower case, without its parameters; "" if there is none."""
        return self.headers.get("content-type", "").partition(";")[0].strip().lower()

    @property
    def protocol_version(self) -> int:
        """The value of ``X-Server-Protocol-Version``; 1, the oldest version, if absent or not a number."""
        text = self.headers.get("x-server-protocol-version", "").strip()
        return int(text) if text.isdecimal() else 1


def join_headers(fields: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Return header *fields* by lower-case name, repeated ones joined with a comma."""
    headers: dict[str, str] = {}
    for name, value in fields:
        key = name.lower()
        headers[key] = f"{headers[key]}, {value}" if key in headers else value
    return headers


@attrs.frozen(kw_only=True)
class WireResponse:
    """One HTTP response.

    Attributes:
        status: Status code.
        body: The raw body.
        headers: Without ``Content-Length``, which the server or transport adds.
    """

    status: int = 200
    body: bytes = attrs.field(default=b"", repr=False)
    headers: Mapping[str, str] = attrs.field(factory=dict, repr=False)

    def with_headers(self, headers: Mapping[str, str]) -> WireResponse:
        """Return the same response with more headers; its own headers take precedence."""
        return attrs.evolve(self, headers={**headers, **self.headers})


@attrs.frozen(kw_only=True)
class ServedResponse:
    """How a fake handled one request.

    Attributes:
        response: What is sent back; None if the connection drops.
        delay_seconds: Seconds before the response is sent.
        reached: False if the connection could not be made.
    """

    response: WireResponse | None
    delay_seconds: float = 0
    reached: bool = True


def json_response(
    value: Any, *, status: int = 200, content_type: str = JSON_TYPE, headers: Mapping[str, str] | None = None
) -> WireResponse:
    """Return a response with *value* as JSON."""
    fields = {"Content-Type": content_type, **(headers or {})}
    return WireResponse(status=status, body=msgspec.json.encode(value), headers=fields)


def reason(status: int) -> str:
    """Return the reason phrase of *status*, or "" for one that HTTP does not define."""
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return ""
