"""The base class of fake web services: it answers requests, as scripted or by default, and logs them."""

from __future__ import annotations

import ssl
import threading
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

import attrs
import msgspec

from pyade.core.arguments import check_arguments
from pyade.testing.http.faults import Fault, Script
from pyade.testing.http.server import FakeTransport, LoopbackServer
from pyade.testing.http.wire import UNREADABLE, ServedResponse, WireRequest, WireResponse
from pyade.text import short_repr

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
        headers: Names in lower case, with secrets redacted.
        body: The parsed JSON, else the text (at most 1 KiB of it), None without a body.
        session: Number of the session it carried (1 for the first that was issued); None if it carried no
            session that the fake knows.
        server: Name of the server it acted for, "" if the session was not accepted.
        status: Status of the response; None if the connection was dropped.
        code: Text of a response that is not a success, at most 1 KiB; "" for a success.
    """

    def __repr__(self) -> str:
        return short_repr(self)

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


@attrs.define(eq=False)
class Exchange:
    """The state of one request while the fake answers it.

    Attributes:
        request: As it arrived.
        now: When, UTC.
        id: Unique id of the request; the service may put it into the response.
        repeat_cursor: True if a page must carry the cursor of the request.
        session: The session that the service accepted; None without one.
    """

    request: WireRequest
    now: datetime
    id: str = ""
    repeat_cursor: bool = False
    session: Any = None


@check_arguments
class FakeService(ABC):
    """A web service in memory: through ``transport()`` in the same process, through ``serve()`` over HTTP.

    A subclass sets ``clock`` and ``_lock``.

    Attributes:
        clock: Returns the time, UTC.
    """

    clock: Callable[[], datetime]
    _lock: threading.RLock

    def __init__(self) -> None:
        self._script = Script()
        self._records: list[RequestRecord] = []
        self._arrived = 0

    def transport(self) -> FakeTransport:
        """Return an httpx transport to this fake, for synchronous and asynchronous clients."""
        return FakeTransport(self.handle, self.clock)

    def serve(
        self, *, real_delays: bool = False, port: int = 0, tls: ssl.SSLContext | None = None
    ) -> LoopbackServer:
        """Return a real HTTP server on 127.0.0.1; use it with ``with``, then ``base_url``.

        Args:
            real_delays: True waits for real before slow responses; False only moves a ``FrozenClock``.
            port: Its port; 0 for a free one.
            tls: A server's context with a certificate for 127.0.0.1, to speak HTTPS; it may require client
                certificates.

        Returns:
            The server, which starts with ``with``.
        """
        return LoopbackServer(self.handle, self.clock, real_delays=real_delays, port=port, tls=tls)

    def script(self, endpoint: str, *faults: Fault | None, forever: bool = False) -> None:
        """Script the next requests of an endpoint, which need not exist in the fake.

        Args:
            endpoint: Method and path, such as ``POST /devices/sync``, or ``*`` for any request.
            faults: One per request, in order; None lets a request through. Without any, the script of the
                endpoint is cleared.
            forever: True applies the last one to all later requests too.

        Raises:
            PortalError: *endpoint* is not a method and a path.
        """
        with self._lock:
            self._script.add(endpoint, faults, forever=forever)

    def handle(self, request: WireRequest) -> ServedResponse:
        """Handle *request* and log it."""
        with self._lock:
            fault = self._script.take(request.endpoint) or Fault()
            exchange = Exchange(request, self.clock(), self._new_id(), fault.repeat_cursor)
            scripted = (
                self._error_response(fault.response, fault.code)
                if fault.response and fault.code
                else fault.response
            )
            response = None
            if fault.effect or not (fault.drop or scripted):
                response = self._perform(exchange)
            response = None if fault.drop else scripted or response
            if response is not None:
                response = response.with_headers(self._headers(exchange))
            if fault.reach:
                self._arrived += 1
                self._records.append(self._record(exchange, response, self._arrived))
            return ServedResponse(response=response, delay_seconds=fault.delay_seconds, reached=fault.reach)

    @property
    def requests(self) -> tuple[RequestRecord, ...]:
        """All logged requests, in order of arrival."""
        with self._lock:
            return tuple(self._records)

    @property
    def counts(self) -> Counter[str]:
        """Number of logged requests by method and path, such as ``apple.counts["GET /session"]``."""
        return Counter(record.endpoint for record in self.requests)

    def clear_requests(self) -> None:
        """Clear the request log; the numbering continues."""
        with self._lock:
            self._records.clear()

    @abstractmethod
    def _perform(self, exchange: Exchange) -> WireResponse:
        """Carry out a request and return its ordinary response."""

    @abstractmethod
    def _error_response(self, response: WireResponse, code: str) -> WireResponse:
        """Return *response* with one of Apple's codes, in the error format of this service."""

    @abstractmethod
    def _headers(self, exchange: Exchange) -> Mapping[str, str]:
        """Return the headers of every response."""

    def _new_id(self) -> str:
        return ""

    def _record(self, exchange: Exchange, response: WireResponse | None, number: int) -> RequestRecord:
        """Return the log entry of a request, with its secrets redacted."""
        request = exchange.request
        return RequestRecord(
            number=number,
            at=exchange.now,
            method=request.method,
            path=request.path,
            query={name: _REDACTED if _is_secret(name) else value for name, value in request.query},
            headers={
                name: _REDACTED if name in _SECRET_HEADERS else value
                for name, value in request.headers.items()
            },
            body=_parse_body(request.body),
            status=None if response is None else response.status,
            code=""
            if response is None or response.status < 400
            else response.body.decode(errors="replace").strip()[:_LONGEST_TEXT],
        )


def _parse_body(body: bytes) -> Any:
    if not body:
        return None
    try:
        value = msgspec.json.decode(body)
    except UNREADABLE:
        return body.decode(errors="replace")[:_LONGEST_TEXT]
    if isinstance(value, dict):
        return {key: _REDACTED if _is_secret(key) else item for key, item in value.items()}
    return value


def _is_secret(name: str) -> bool:
    return any(word in name.lower() for word in _SECRET_WORDS)
