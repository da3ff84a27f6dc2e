"""Requests and answers of the fake, independent of how they travel."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import attrs
import msgspec

JSON_TYPE = "application/json;charset=UTF8"
TEXT_TYPE = "text/plain;charset=UTF8"


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
        """Method and path, such as ``POST /devices/sync``: the name used by scripts and counters."""
        return f"{self.method} {self.path}"

    @property
    def protocol_version(self) -> int:
        """The value of ``X-Server-Protocol-Version``; 1, the oldest behaviour, if absent or not a number."""
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
class Answer:
    """One HTTP answer.

    Attributes:
        status: Status code.
        body: The raw body.
        headers: Without ``Content-Length``, which whoever sends it adds.
    """

    status: int
    body: bytes = attrs.field(default=b"", repr=False)
    headers: Mapping[str, str] = attrs.field(factory=dict, repr=False)

    def with_headers(self, headers: Mapping[str, str]) -> Answer:
        """Return the same answer with more headers; its own win."""
        return attrs.evolve(self, headers={**headers, **self.headers})


@attrs.frozen(kw_only=True)
class Outcome:
    """What becomes of a request.

    Attributes:
        answer: None if the connection drops.
        delay_seconds: How late the answer comes.
        reached: False if no connection is made at all.
    """

    answer: Answer | None
    delay_seconds: float = 0
    reached: bool = True


class RefusedError(Exception):
    """Raised by the fake's own parts to answer with an error status.

    Args:
        status: Status code.
        text: Apple's code, or the literal body.
        headers: Extra headers.
    """

    def __init__(self, status: int, text: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(status, text)
        self.status = status
        self.text = text
        self.headers: Mapping[str, str] = headers or {}


def json_answer(value: Any) -> Answer:
    """Return a success with *value* as JSON."""
    return Answer(status=200, body=msgspec.json.encode(value), headers={"Content-Type": JSON_TYPE})


def empty_answer() -> Answer:
    """Return a success without a body."""
    return Answer(status=200, headers={"Content-Type": JSON_TYPE})


def code_answer(status: int, code: str, *, quoted: bool, headers: Mapping[str, str] | None = None) -> Answer:
    """Return an error with *code*: bare as in production, or quoted with a line break as in the simulator."""
    if quoted:
        body, content_type = msgspec.json.encode(code) + b"\n", JSON_TYPE
    else:
        body, content_type = code.encode(), TEXT_TYPE
    return Answer(status=status, body=body, headers={"Content-Type": content_type, **(headers or {})})


def reason(status: int) -> str:
    """Return the reason phrase of *status*, or "" for one that HTTP does not define."""
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return ""
