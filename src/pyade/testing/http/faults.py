"""What happens to single requests of a fake instead of, or besides, their ordinary answers."""

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
from pyade.testing.http.wire import TEXT_TYPE, WireResponse, json_answer, reason

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
    """What happens to one request instead of, or besides, its ordinary answer. Made with the class methods.

    Attributes:
        answer: Sent in place of the ordinary answer; None leaves the ordinary one.
        code: Apple's code to send with ``answer``'s status, in the form that the service gives it.
        drop: True if the connection closes without an answer.
        reach: False if no connection is made.
        effect: True if the request is carried out although its answer is replaced or lost.
        delay_seconds: How late the answer comes.
        repeat_cursor: True if a page carries the cursor of its own request and promises more.
    """

    answer: WireResponse | None = None
    code: str = ""
    drop: bool = False
    reach: bool = True
    effect: bool = False
    delay_seconds: float = 0
    repeat_cursor: bool = False

    @classmethod
    def refused(cls, code: str, status: int | None = None, *, effect: bool = False) -> Fault:
        """Return an answer with one of Apple's codes.

        Args:
            code: Such as ``T_C_NOT_SIGNED``.
            status: Left out, the status that Apple sends with that code; 400 for unknown ones.
            effect: True if the request is carried out all the same.
        """
        return cls(
            answer=WireResponse(status=status or _STATUS_OF_CODE.get(code, 400)), code=code, effect=effect
        )

    @classmethod
    def rate_limited(cls, retry_after: float | datetime | None = None) -> Fault:
        """Return a 429; *retry_after* is sent as seconds, as an HTTP date, or not at all."""
        headers = {} if retry_after is None else {"Retry-After": _retry_after(retry_after)}
        return cls(answer=WireResponse(status=429, headers=headers), code="TOO_MANY_REQUESTS")

    @classmethod
    def server_error(
        cls, status: int = 500, *, retry_after: float | datetime | None = None, effect: bool = False
    ) -> Fault:
        """Return a 5xx whose body is its reason phrase, as ``Internal Server Error``."""
        headers = {"Content-Type": TEXT_TYPE}
        if retry_after is not None:
            headers["Retry-After"] = _retry_after(retry_after)
        return cls(
            answer=WireResponse(status=status, body=reason(status).encode(), headers=headers), effect=effect
        )

    @classmethod
    def html(cls, status: int = 502, *, effect: bool = False) -> Fault:
        """Return the page of a gateway, which holds one of Apple's words to tempt substring tests."""
        return cls(
            answer=WireResponse(
                status=status, body=_HTML % (status, status), headers={"Content-Type": "text/html"}
            ),
            effect=effect,
        )

    @classmethod
    def empty(cls, status: int = 200, *, effect: bool = False) -> Fault:
        """Return an answer without a body."""
        return cls(answer=WireResponse(status=status), effect=effect)

    @classmethod
    def answered(
        cls,
        status: int = 200,
        *,
        json: Any = None,
        body: bytes = b"",
        headers: Mapping[str, str] | None = None,
    ) -> Fault:
        """Return any answer: *json*, or a raw *body* if that is None."""
        if json is None:
            return cls(answer=WireResponse(status=status, body=body, headers=headers or {}))
        return cls(answer=json_answer(json, status=status, headers=headers))

    @classmethod
    def dropped(cls, *, effect: bool) -> Fault:
        """Return a lost connection, before the request is carried out or, with *effect*, right after."""
        return cls(drop=True, effect=effect)

    @classmethod
    def unreachable(cls) -> Fault:
        """Return a connection that cannot be made; the HTTP server, which can only close it, does that."""
        return cls(drop=True, reach=False)

    @classmethod
    def slow(cls, seconds: float) -> Fault:
        """Return a delay: the request is carried out, its ordinary answer comes *seconds* later."""
        return cls(delay_seconds=seconds)

    @classmethod
    def repeated_cursor(cls) -> Fault:
        """Return the page of a fetch or sync with the cursor that was sent and ``more_to_follow`` true."""
        return cls(repeat_cursor=True)


class Script:
    """The faults that wait for requests, by endpoint."""

    def __init__(self) -> None:
        self._waiting: dict[str, deque[Fault | None]] = defaultdict(deque)
        self._standing: dict[str, Fault | None] = {}

    def add(self, endpoint: str, faults: Iterable[Fault | None], *, forever: bool) -> None:
        """Queue *faults* for *endpoint*; without any, forget what waits for it.

        Raises:
            PortalError: *endpoint* is not a method and a path.
        """
        if endpoint != "*" and not re.fullmatch(r"[A-Z]+ /[^?\s]*", endpoint):
            raise PortalError(
                f"endpoint {endpoint!r}: a method and a path are needed, such as 'POST /devices/sync', or '*'"
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
        """Return the fault for this request, which uses it up; None for an ordinary request."""
        for name in (endpoint, "*"):
            if self._waiting.get(name):
                return self._waiting[name].popleft()
            if name in self._standing:
                return self._standing[name]
        return None


@attrs.frozen
class ScriptedResult:
    """A scripted result of one device; None leaves the device out of the answer."""

    result: str | None

    def put(self, results: dict[str, str], serial: str) -> None:
        """Write the result into an answer."""
        if self.result is not None:
            results[serial] = self.result


class DeviceFaults:
    """Results of single devices that are decided before anything happens to them."""

    def __init__(self) -> None:
        self._results: dict[str, tuple[ScriptedResult, int | None]] = {}

    def set(self, serials: Iterable[str], result: str | None, times: int | None) -> None:
        """WireResponse *result* for each of *serials*, *times* times or, with None, always; 0 stops that."""
        for serial in serials:
            self._results[serial] = (ScriptedResult(result), times)

    def take(self, serial: str) -> ScriptedResult | None:
        """Return the result for this request, None if none was decided."""
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
