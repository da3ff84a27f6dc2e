"""Faults of single requests of a fake: what replaces, delays or drops the ordinary response."""

from __future__ import annotations

import re
from collections import defaultdict, deque
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Any

import attrs

from pyade.core.arguments import check_arguments
from pyade.testing.errors import PortalError
from pyade.testing.http.wire import TEXT_TYPE, WireResponse, json_response, reason

_STATUS_OF_CODE = {
    "UNAUTHORIZED": 401,
    "FORBIDDEN": 403,
    "ACCESS_DENIED": 403,
    "T_C_NOT_SIGNED": 403,
    "APPLE_SEED_FOR_IT_TURNED_OFF": 403,
    "DEVICE_NOT_FOUND": 404,
    "PROFILE_NOT_FOUND": 404,
    "TOO_MANY_REQUESTS": 429,
}
_HTML = b"<html><head><title>%d</title></head><body><h1>%d</h1><p>FORBIDDEN gateway</p></body></html>"


@check_arguments
@attrs.frozen(kw_only=True)
class Fault:
    """What replaces, delays or drops the ordinary response to one request. Made with the class methods.

    Attributes:
        response: Sent in place of the ordinary response; None leaves the ordinary one.
        code: Apple's code to send with ``response``'s status, in the form that the service gives it.
        drop: True closes the connection without a response.
        reach: False refuses the connection.
        effect: True carries the request out although its response is replaced or lost.
        delay_seconds: Seconds before the response is sent.
        repeat_cursor: True returns a page with the cursor of its own request and ``more_to_follow`` true.
    """

    response: WireResponse | None = None
    code: str = ""
    drop: bool = False
    reach: bool = True
    effect: bool = False
    delay_seconds: float = 0
    repeat_cursor: bool = False

    @classmethod
    def refused(cls, code: str, status: int | None = None, *, effect: bool = False) -> Fault:
        """Return a response with one of Apple's codes.

        Args:
            code: Such as ``T_C_NOT_SIGNED``.
            status: Omitted, the status that Apple sends with that code; 400 for unknown ones.
            effect: True carries the request out nevertheless.
        """
        return cls(
            response=WireResponse(status=status or _STATUS_OF_CODE.get(code, 400)), code=code, effect=effect
        )

    @classmethod
    def rate_limited(cls, retry_after: float | datetime | None = None) -> Fault:
        """Return a 429; *retry_after* is sent as seconds, as an HTTP date, or not at all."""
        headers = {} if retry_after is None else {"Retry-After": _retry_after(retry_after)}
        return cls(response=WireResponse(status=429, headers=headers), code="TOO_MANY_REQUESTS")

    @classmethod
    def server_error(
        cls, status: int = 500, *, retry_after: float | datetime | None = None, effect: bool = False
    ) -> Fault:
        """Return a 5xx whose body is its reason phrase, as ``Internal Server Error``."""
        headers = {"Content-Type": TEXT_TYPE}
        if retry_after is not None:
            headers["Retry-After"] = _retry_after(retry_after)
        return cls(
            response=WireResponse(status=status, body=reason(status).encode(), headers=headers), effect=effect
        )

    @classmethod
    def html(cls, status: int = 502, *, effect: bool = False) -> Fault:
        """Return the HTML page of a gateway; one of Apple's codes is in its text, not as its code."""
        return cls(
            response=WireResponse(
                status=status, body=_HTML % (status, status), headers={"Content-Type": "text/html"}
            ),
            effect=effect,
        )

    @classmethod
    def empty(cls, status: int = 200, *, effect: bool = False) -> Fault:
        """Return a response without a body."""
        return cls(response=WireResponse(status=status), effect=effect)

    @classmethod
    def answered(
        cls,
        status: int = 200,
        *,
        json: Any = None,
        body: bytes = b"",
        headers: Mapping[str, str] | None = None,
    ) -> Fault:
        """Return any response: *json*, or a raw *body* if that is None."""
        if json is None:
            return cls(response=WireResponse(status=status, body=body, headers=headers or {}))
        return cls(response=json_response(json, status=status, headers=headers))

    @classmethod
    def dropped(cls, *, effect: bool) -> Fault:
        """Return a connection that drops before the request is carried out or, with *effect*, after it."""
        return cls(drop=True, effect=effect)

    @classmethod
    def unreachable(cls) -> Fault:
        """Return a connection that cannot be made; the HTTP server can only close it instead."""
        return cls(drop=True, reach=False)

    @classmethod
    def slow(cls, seconds: float) -> Fault:
        """Return a delay: the request is carried out, and its ordinary response is sent *seconds* later."""
        return cls(delay_seconds=seconds)

    @classmethod
    def repeated_cursor(cls) -> Fault:
        """Return the page of a fetch or sync with the cursor that was sent and ``more_to_follow`` true."""
        return cls(repeat_cursor=True)


class Script:
    """The queue of scripted faults of each endpoint."""

    def __init__(self) -> None:
        self._waiting: dict[str, deque[Fault | None]] = defaultdict(deque)
        self._standing: dict[str, Fault | None] = {}

    def add(self, endpoint: str, faults: Iterable[Fault | None], *, forever: bool) -> None:
        """Queue *faults* for *endpoint*; without any, clear its queue.

        Raises:
            PortalError: *endpoint* is not a method and a path.
        """
        if endpoint != "*" and not re.fullmatch(r"[A-Z]+ /[^?\s]*", endpoint):
            raise PortalError(
                f"endpoint {endpoint!r}: give a method and a path, such as 'POST /devices/sync', or '*'"
            )
        queued = list(faults)
        self._standing.pop(endpoint, None)
        if not queued:
            self._waiting.pop(endpoint, None)
            return
        if forever:
            self._standing[endpoint] = queued.pop()
        self._waiting[endpoint].extend(queued)

    def take(self, endpoint: str) -> Fault | None:
        """Remove and return the next fault for *endpoint*; None for an ordinary request."""
        for name in (endpoint, "*"):
            if self._waiting.get(name):
                return self._waiting[name].popleft()
            if name in self._standing:
                return self._standing[name]
        return None


@attrs.frozen
class ScriptedResult:
    """A scripted result of one device.

    Attributes:
        result: Apple's result; None leaves the device out of the response.
    """

    result: str | None

    def put(self, results: dict[str, str], serial: str) -> None:
        """Write the result into a response."""
        if self.result is not None:
            results[serial] = self.result


class DeviceFaults:
    """Scripted results of single devices; the fake returns them without changing the device."""

    def __init__(self) -> None:
        self._results: dict[str, tuple[ScriptedResult, int | None]] = {}

    def set(self, serials: Iterable[str], result: str | None, times: int | None) -> None:
        """Return *result* for each of *serials*, *times* times or, with None, always; 0 stops that."""
        for serial in serials:
            self._results[serial] = (ScriptedResult(result), times)

    def take(self, serial: str) -> ScriptedResult | None:
        """Return the scripted result of a device for this request; None if there is none."""
        result, left = self._results.get(serial, (None, 0))
        if left is not None:
            if left <= 1:
                self._results.pop(serial, None)
            elif result is not None:
                self._results[serial] = (result, left - 1)
        return None if left == 0 else result


def _retry_after(value: float | datetime) -> str:
    if isinstance(value, datetime):
        return format_datetime(value.astimezone(UTC), usegmt=True)
    return str(int(value)) if value == int(value) else str(value)
