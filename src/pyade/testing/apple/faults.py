"""Switches of a ``FakeApple`` for failing states; faults of single requests are in ``http.faults``."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from datetime import datetime

from pyade.core.arguments import check_arguments
from pyade.testing.apple.model import Organization, Server
from pyade.testing.apple.paging import Pager
from pyade.testing.apple.portal import FakePortal
from pyade.testing.apple.sessions import Rotation, Sessions
from pyade.testing.errors import PortalError
from pyade.testing.http.faults import DeviceFaults


@check_arguments
class Faults:
    """Switches of a ``FakeApple`` for failing states, which last until they are switched off.

    Servers and organizations are given as objects or by name; omitted, the switch applies to all of them.
    """

    def __init__(
        self,
        portal: FakePortal,
        lock: threading.RLock,
        *,
        sessions: Sessions,
        rotation: Rotation,
        pager: Pager,
        device_faults: DeviceFaults,
    ) -> None:
        self._portal, self._lock = portal, lock
        self._sessions, self._rotation, self._pager = sessions, rotation, pager
        self._device_faults = device_faults

    # Sessions

    def rotate_session(self, times: int | None = 1, *, grace_seconds: float | None = None) -> None:
        """Send a new session with the next *times* responses to ordinary requests; None for every response.

        The old session stays valid for one more request or, with *grace_seconds*, for that long. 0 *times*
        stops the rotation.
        """
        with self._lock:
            self._rotation.left, self._rotation.grace_seconds = times, grace_seconds

    def forget_sessions(self, server: Server | str | None = None) -> None:
        """Drop all sessions as if they were never issued: 403 ``FORBIDDEN``."""
        with self._lock:
            self._sessions.forget(self._server(server))

    def expire_sessions(self, server: Server | str | None = None) -> None:
        """End all sessions: 401 ``UNAUTHORIZED``."""
        with self._lock:
            self._sessions.expire(self._server(server))

    # Tokens and terms

    def revoke_token(self, server: Server | str | None = None) -> None:
        """Reject the server's tokens with ``token_rejected`` until a new one is generated."""
        with self._lock:
            for found in self._servers(server):
                self._sessions.revoke(found)

    def remove_token_owner(self, server: Server | str | None = None) -> None:
        """Let ``/session`` answer 403 ``FORBIDDEN``, as if the user who made the token was removed."""
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
        """Publish new terms: 403 ``T_C_NOT_SIGNED`` until ``accept_terms``.

        Args:
            organization: Which organization; omitted, all.
            session: True if ``/session`` refuses.
            calls: True if the other endpoints refuse, also with a live session.
        """
        with self._lock:
            names = list(self._portal.organizations) if organization is None else [organization]
            for name in names:
                found = self._portal.organization(name)
                found.terms_block_session, found.terms_block_calls = session, calls

    def accept_terms(self, organization: Organization | str | None = None) -> None:
        """Accept the terms, as an administrator does in the portal."""
        self.change_terms(organization, session=False, calls=False)

    # Cursors and pages

    def forget_cursors(self, server: Server | str | None = None) -> None:
        """Make every cursor ``INVALID_CURSOR``."""
        with self._lock:
            self._pager.forget(self._server(server))

    def expire_cursors(self, server: Server | str | None = None) -> None:
        """Make every cursor ``EXPIRED_CURSOR``."""
        with self._lock:
            self._pager.expire(self._server(server))

    def repeat_records(self, serials: Iterable[str], server: Server | str | None = None) -> None:
        """Let the next sync report the last operation of each of *serials* again, with its old date.

        Raises:
            PortalError: One of them has no operation.
        """
        with self._lock:
            missing = set(wanted := list(serials))
            for found in self._servers(server):
                last = {operation.serial_number: operation for operation in found.operations}
                found.operations.extend(last[serial] for serial in wanted if serial in last)
                missing -= last.keys()
            if missing:
                raise PortalError(f"{', '.join(sorted(missing))} has no operation on these servers")

    def hide_from_sync(self, serials: Iterable[str], server: Server | str | None = None) -> None:
        """Leave *serials* out of sync but not out of fetch and details; replaces the previous list."""
        with self._lock:
            hidden = set(serials)
            for found in self._servers(server):
                found.hidden_from_sync = hidden

    # Device results

    def device_result(self, serials: Iterable[str], result: str | None, *, times: int | None = 1) -> None:
        """Script the results of *serials* without changing the devices.

        It applies to requests that define, assign or remove a profile, disown or lock.

        Args:
            serials: Which devices.
            result: Such as ``FAILED``, or a value that Apple does not use yet; None leaves the device out.
            times: For how many requests of each device; None for all, 0 stops it.
        """
        with self._lock:
            self._device_faults.set(serials, result, times)

    def throttle(self, serials: Iterable[str], until: datetime) -> None:
        """Throttle *serials* until a time; a time in the past ends the throttling."""
        with self._lock:
            for serial in serials:
                self._portal.device(serial)
                self._portal.devices[serial].throttled_until = until

    def _refuse_session(self, server: Server | str | None, code: str | None) -> None:
        with self._lock:
            for found in self._servers(server):
                found.session_refusal = code

    def _server(self, server: Server | str | None) -> Server | None:
        return None if server is None else self._portal.server(server)

    def _servers(self, server: Server | str | None) -> list[Server]:
        return list(self._portal.servers.values()) if server is None else [self._portal.server(server)]
