"""What goes wrong on purpose: scripted answers for single requests, and switches for states."""

from __future__ import annotations

import re
from collections import defaultdict, deque
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import TYPE_CHECKING, Any

import attrs
import msgspec

from pyade.testing.apple.model import Organization, PortalError, Server
from pyade.testing.apple.wire import JSON_TYPE, TEXT_TYPE, Answer, code_answer, reason

if TYPE_CHECKING:
    from pyade.testing.apple.fake import FakeApple

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


@attrs.frozen(kw_only=True)
class Fault:
    """What happens to one request instead of, or besides, its ordinary answer. Made with the class methods.

    Attributes:
        answer: Sent in place of the ordinary answer; None leaves the ordinary one.
        code: Apple's code to send with ``answer``'s status; quoted in simulator mode.
        drop: True if the connection closes without an answer.
        reach: False if no connection is made.
        effect: True if the request is carried out although its answer is replaced or lost.
        delay_seconds: How late the answer comes.
        repeat_cursor: True if a page carries the cursor of its own request and promises more.
    """

    answer: Answer | None = None
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
        return cls(answer=Answer(status=status or _STATUS_OF_CODE.get(code, 400)), code=code, effect=effect)

    @classmethod
    def rate_limited(cls, retry_after: float | datetime | None = None) -> Fault:
        """Return a 429; *retry_after* is sent as seconds, as an HTTP date, or not at all."""
        headers = {} if retry_after is None else {"Retry-After": _retry_after(retry_after)}
        return cls(answer=Answer(status=429, headers=headers), code="TOO_MANY_REQUESTS")

    @classmethod
    def server_error(
        cls, status: int = 500, *, retry_after: float | datetime | None = None, effect: bool = False
    ) -> Fault:
        """Return a 5xx whose body is its reason phrase, as ``Internal Server Error``."""
        headers = {"Content-Type": TEXT_TYPE}
        if retry_after is not None:
            headers["Retry-After"] = _retry_after(retry_after)
        return cls(answer=Answer(status=status, body=reason(status).encode(), headers=headers), effect=effect)

    @classmethod
    def html(cls, status: int = 502, *, effect: bool = False) -> Fault:
        """Return the page of a gateway, which holds one of Apple's words to tempt substring tests."""
        return cls(
            answer=Answer(
                status=status, body=_HTML % (status, status), headers={"Content-Type": "text/html"}
            ),
            effect=effect,
        )

    @classmethod
    def empty(cls, status: int = 200, *, effect: bool = False) -> Fault:
        """Return an answer without a body."""
        return cls(answer=Answer(status=status), effect=effect)

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
            return cls(answer=Answer(status=status, body=body, headers=headers or {}))
        merged = {"Content-Type": JSON_TYPE, **(headers or {})}
        return cls(answer=Answer(status=status, body=msgspec.json.encode(json), headers=merged))

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

    def replacement(self, *, quoted: bool) -> Answer | None:
        """Return what is sent in place of the ordinary answer, None if that one is."""
        if self.answer is None or not self.code:
            return self.answer
        return code_answer(self.answer.status, self.code, quoted=quoted, headers=self.answer.headers)


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
            msg = (
                f"endpoint {endpoint!r}: a method and a path are needed, such as 'POST /devices/sync', or '*'"
            )
            raise PortalError(msg)
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
        """Answer *result* for each of *serials*, *times* times or, with None, always; 0 stops that."""
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


class Faults:
    """The switches of a ``FakeApple``: states that go wrong and stay so until they are put right.

    Servers and organizations are given as objects or by name; left out, all of them are meant.
    """

    def __init__(self, apple: FakeApple) -> None:
        self._apple = apple

    # Sessions

    def rotate_session(self, times: int | None = 1, *, grace_seconds: float | None = None) -> None:
        """Let the next *times* answers of ordinary calls carry a new session, None for every answer.

        The old value is good for one more request or, with *grace_seconds*, for that long. 0 *times* stops.
        """
        with self._apple.lock:
            self._apple.rotation.left, self._apple.rotation.grace_seconds = times, grace_seconds

    def forget_sessions(self, server: Server | str | None = None) -> None:
        """Drop all sessions, as the simulator does on a restart: 403 ``FORBIDDEN``."""
        with self._apple.lock:
            self._apple.sessions.forget(self._server(server))

    def expire_sessions(self, server: Server | str | None = None) -> None:
        """End all sessions: 401 ``UNAUTHORIZED``."""
        with self._apple.lock:
            self._apple.sessions.expire(self._server(server))

    # Tokens and terms

    def revoke_token(self, server: Server | str | None = None) -> None:
        """Reject the server's tokens: ``token_rejected``, until a new one is generated."""
        with self._apple.lock:
            for found in self._servers(server):
                self._apple.sessions.revoke(found)

    def remove_token_owner(self, server: Server | str | None = None) -> None:
        """Let ``/session`` answer 403 ``FORBIDDEN``: the portal user who made the token is gone."""
        self._refuse_session(server, "FORBIDDEN")

    def deny_access(self, server: Server | str | None = None) -> None:
        """Let ``/session`` answer 403 ``ACCESS_DENIED``."""
        self._refuse_session(server, "ACCESS_DENIED")

    def restore_access(self, server: Server | str | None = None) -> None:
        """Undo ``remove_token_owner`` and ``deny_access``."""
        self._refuse_session(server, None)

    def change_terms(
        self, organization: Organization | str | None = None, *, session: bool = True, calls: bool = True
    ) -> None:
        """Let Apple ask for new terms: 403 ``T_C_NOT_SIGNED``, until ``accept_terms``.

        Args:
            organization: Which organization; left out, all.
            session: True if ``/session`` refuses.
            calls: True if the other calls refuse, also those with a live session.
        """
        with self._apple.lock:
            names = list(self._apple.organizations) if organization is None else [organization]
            for name in names:
                found = self._apple.organization(name)
                found.terms_block_session, found.terms_block_calls = session, calls

    def accept_terms(self, organization: Organization | str | None = None) -> None:
        """Let an administrator accept the terms."""
        self.change_terms(organization, session=False, calls=False)

    # Cursors and pages

    def forget_cursors(self, server: Server | str | None = None) -> None:
        """Make every cursor ``INVALID_CURSOR``."""
        with self._apple.lock:
            self._apple.pager.forget(self._server(server))

    def expire_cursors(self, server: Server | str | None = None) -> None:
        """Make every cursor ``EXPIRED_CURSOR``."""
        with self._apple.lock:
            self._apple.pager.expire(self._server(server))

    def repeat_records(self, serials: Iterable[str], server: Server | str | None = None) -> None:
        """Let the next sync deliver the last operation of each of *serials* once more, with its old date.

        Raises:
            PortalError: Nothing ever happened to one of them.
        """
        with self._apple.lock:
            missing = set(wanted := list(serials))
            for found in self._servers(server):
                last = {operation.serial_number: operation for operation in found.operations}
                found.operations.extend(last[serial] for serial in wanted if serial in last)
                missing -= last.keys()
            if missing:
                msg = f"nothing ever happened to {', '.join(sorted(missing))} on these servers"
                raise PortalError(msg)

    def hide_from_sync(self, serials: Iterable[str], server: Server | str | None = None) -> None:
        """Leave *serials* out of sync, while fetch and details show them; replaces an earlier choice."""
        with self._apple.lock:
            hidden = set(serials)
            for found in self._servers(server):
                found.hidden_from_sync = hidden

    # Device results

    def device_result(self, serials: Iterable[str], result: str | None, *, times: int | None = 1) -> None:
        """Decide the results of *serials* wherever there is one per device; nothing happens to them.

        That is in requests that define, assign or remove a profile, disown or lock.

        Args:
            serials: Which devices.
            result: Such as ``FAILED`` or a word that does not exist yet; None leaves the device out.
            times: In how many requests each; None for always, 0 stops it.
        """
        with self._apple.lock:
            self._apple.device_faults.set(serials, result, times)

    def throttle(self, serials: Iterable[str], until: datetime) -> None:
        """Throttle *serials* until a time; a time that has passed ends it."""
        with self._apple.lock:
            for serial in serials:
                self._apple.device(serial)
                self._apple.devices[serial].throttled_until = until

    def _refuse_session(self, server: Server | str | None, code: str | None) -> None:
        with self._apple.lock:
            for found in self._servers(server):
                found.session_refusal = code

    def _server(self, server: Server | str | None) -> Server | None:
        return None if server is None else self._apple.server(server)

    def _servers(self, server: Server | str | None) -> list[Server]:
        return list(self._apple.servers.values()) if server is None else [self._apple.server(server)]


def _retry_after(value: float | datetime) -> str:
    if isinstance(value, datetime):
        return format_datetime(value.astimezone(UTC), usegmt=True)
    return str(int(value)) if value == int(value) else str(value)
