"""``FakeApple``: the portal and Apple's device assignment service in one object."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Unpack

import attrs

from pyade.core.token import Token
from pyade.testing.apple.actions import DeviceActions
from pyade.testing.apple.endpoints import Endpoints
from pyade.testing.apple.faults import DeviceFaults, Fault, Faults, Script
from pyade.testing.apple.http_server import LoopbackServer
from pyade.testing.apple.identifiers import Identifiers
from pyade.testing.apple.jwt import verify_jwt
from pyade.testing.apple.life import DeviceLife
from pyade.testing.apple.log import RequestRecord, request_record
from pyade.testing.apple.model import Credentials, PortalError, Server
from pyade.testing.apple.paging import Pager
from pyade.testing.apple.profiles import Profiles
from pyade.testing.apple.sessions import Session, Sessions
from pyade.testing.apple.settings import AppleSettings
from pyade.testing.apple.token_file import TokenFileForm, accept_certificate, build_token_file
from pyade.testing.apple.transport import FakeTransport
from pyade.testing.apple.wire import (
    Answer,
    Outcome,
    RefusedError,
    WireRequest,
    code_answer,
    empty_answer,
    json_answer,
    reason,
)


@attrs.define
class Rotation:
    """How many further answers carry a new session, and how long the old one stays good."""

    left: int | None = 0
    grace_seconds: float | None = None


@attrs.define
class _Handling:
    """What is known about a request while it is handled."""

    session: Session | None = None


class FakeApple(DeviceLife):
    """Apple's device assignment service with its portal, in memory, for tests and demonstrations.

    It keeps organizations, servers, devices, profiles, sessions and cursors, enforces Apple's limits and
    answers as Apple does, through ``transport()`` in the same process or through ``serve()`` over real HTTP.
    A path that it does not have is answered with 404 and shows in ``requests``.

    Example::

        apple = FakeApple(clock=clock)
        server = apple.add_server("hq")
        apple.add_devices(3, server=server)
        with Client(apple.token(server, name="hq"), transport=apple.transport(), clock=clock) as client:
            client.fetch_devices()

    Args:
        clock: Returns the time, UTC; a ``FrozenClock`` makes every value reproducible. Left out, real time.
        seed: Other ids, secrets and cursors for each seed, the same ones for the same seed and clock.
        simulator: Behave like Apple's simulator instead of the production service.

    Attributes:
        settings: Standing behaviour.
        faults: Switches for states that go wrong; ``script`` is for single requests.
    """

    def __init__(
        self, *, clock: Callable[[], datetime] | None = None, seed: int = 0, simulator: bool = False
    ) -> None:
        settings = AppleSettings(simulator=simulator)
        super().__init__(clock or _real_time, Identifiers(seed, simulator=simulator), settings)
        self.sessions: Sessions = Sessions(settings, self.identifiers)
        self.pager: Pager = Pager(settings, self.identifiers)
        self.device_faults: DeviceFaults = DeviceFaults()
        self.rotation: Rotation = Rotation()
        self.faults: Faults = Faults(self)
        profiles = Profiles(self, self.device_faults)
        actions = DeviceActions(self, self.device_faults)
        self._endpoints = Endpoints(settings, self.pager, profiles, actions, self.replacements)
        self._used_jwts: set[str] = set()
        self._script = Script()
        self._records: list[RequestRecord] = []
        self._counts: Counter[str] = Counter()
        self._arrived = 0

    # Tokens

    def token(
        self, server: Server | str | None = None, *, name: str = "hq", apple_id: str = "admin@contoso.example"
    ) -> Token:
        """Return the secrets that are valid for *server* now as a ready token; nothing is superseded.

        Args:
            server: Which server; left out, the only one.
            name: The token's own name.
            apple_id: The Apple ID used in the portal.
        """
        with self.lock:
            found = self.server(server)
            credentials = found.credentials or self.generate_token(found)
            return Token(
                name=name,
                consumer_key=credentials.consumer_key,
                consumer_secret=credentials.consumer_secret,
                access_token=credentials.access_token,
                access_secret=credentials.access_secret,
                access_token_expiry=credentials.expires_at,
                apple_id=apple_id,
                consented_at=self.clock(),
            )

    def issue_token(
        self,
        server: Server | str | None,
        certificate_pem: bytes,
        *,
        change_consumer_key: bool = False,
        **form: Unpack[TokenFileForm],
    ) -> bytes:
        """Return a new server token as the ``.p7m`` file that the portal offers for download.

        Generating it supersedes the token before, imported or not, as in the portal.

        Args:
            server: Which server; None for the only one.
            certificate_pem: The certificate that was uploaded, PEM, with an RSA key.
            change_consumer_key: True as if another portal user generated it.
            form: How the file is written, see ``TokenFileForm``; left out, as Apple does.

        Raises:
            PortalError: The portal does not accept the certificate.
        """
        with self.lock:
            upload = accept_certificate(certificate_pem)
            self.server(server).token_key = upload.public_key
            credentials = self.generate_token(server, change_consumer_key=change_consumer_key)
            return build_token_file(credentials, upload, self.identifiers, **form)

    def credentials_issued(self, credentials: Credentials) -> None:
        """Accept *credentials* in ``/session`` from now on."""
        self.sessions.know(credentials)

    def redeem_jwt(self, jwt: str) -> Server:
        """Use up a JWT for ``com.apple.maid``, as a device does that signs in to a Managed Apple Account.

        Args:
            jwt: What the MDM server answered ``GetToken`` with.

        Returns:
            The server that made it.

        Raises:
            PortalError: Apple would not accept it: not RS256 with the key of the certificate that was
                uploaded last, another issuer, too old, or used before. The JWT is not shown.
        """
        with self.lock:
            found, jti = verify_jwt(
                jwt, self.servers.values(), now=self.clock(), seconds=self.settings.jwt_seconds
            )
            if jti in self._used_jwts:
                msg = "the JWT was used before: make one per request"
                raise PortalError(msg)
            self._used_jwts.add(jti)
            return found

    # The web service

    def transport(self) -> FakeTransport:
        """Return an httpx transport that leads to this fake, for synchronous and asynchronous clients."""
        return FakeTransport(self.handle, self.clock)

    def serve(self, *, real_delays: bool = False) -> LoopbackServer:
        """Return a real HTTP server on a free port of 127.0.0.1; use it with ``with``, then ``base_url``.

        Args:
            real_delays: True if slow answers really come late; otherwise they only move a ``FrozenClock``.
        """
        return LoopbackServer(self.handle, self.clock, real_delays=real_delays)

    def script(self, endpoint: str, *faults: Fault | None, forever: bool = False) -> None:
        """Decide what happens to the next requests of an endpoint, also of one that the fake does not have.

        Args:
            endpoint: Method and path, such as ``POST /devices/sync``, or ``*`` for any request.
            faults: One per request, in order; None lets a request through. Without any, none wait any more.
            forever: True if the last one holds for all requests after it.

        Raises:
            PortalError: *endpoint* is not a method and a path.
        """
        with self.lock:
            self._script.add(endpoint, faults, forever=forever)

    def handle(self, request: WireRequest) -> Outcome:
        """Return what becomes of *request*, and log it."""
        with self.lock:
            now = self.clock()
            number = self.sessions.number(request)
            handling = _Handling()
            fault = self._script.take(request.endpoint) or Fault()
            replacement = fault.replacement(quoted=self.settings.simulator)
            answer: Answer | None = None
            if fault.effect or not (fault.drop or replacement):
                answer = self._perform(request, now, handling, repeat_cursor=fault.repeat_cursor)
            answer = None if fault.drop else replacement or answer
            if answer is not None:
                answer = self._finish(answer, handling, now)
            if fault.reach:
                self._log(request, answer, now, number, handling)
            return Outcome(answer=answer, delay_seconds=fault.delay_seconds, reached=fault.reach)

    # The log

    @property
    def requests(self) -> tuple[RequestRecord, ...]:
        """Every request so far, in order of arrival."""
        with self.lock:
            return tuple(self._records)

    @property
    def counts(self) -> Counter[str]:
        """How many requests each endpoint got, by method and path: ``apple.counts["GET /session"]``."""
        with self.lock:
            return Counter(self._counts)

    def clear_requests(self) -> None:
        """Forget the requests so far; numbering goes on."""
        with self.lock:
            self._records.clear()
            self._counts.clear()

    def _perform(
        self, request: WireRequest, now: datetime, handling: _Handling, *, repeat_cursor: bool
    ) -> Answer:
        try:
            return self._route(request, now, handling, repeat_cursor=repeat_cursor)
        except RefusedError as refused:
            is_code = refused.text.replace("_", "").isupper()
            quoted = self.settings.simulator and is_code
            return code_answer(refused.status, refused.text, quoted=quoted, headers=refused.headers)

    def _route(
        self, request: WireRequest, now: datetime, handling: _Handling, *, repeat_cursor: bool
    ) -> Answer:
        methods = self._endpoints.methods(request.path)
        if not methods:
            raise RefusedError(404, reason(404))
        if request.method not in methods:
            raise RefusedError(
                405, "" if self.settings.simulator else reason(405), {"Allow": ", ".join(methods)}
            )
        if request.path == "/session":
            return self.sessions.open(request, now)
        session = handling.session = self.sessions.check(request, now)
        server = session.credentials.server
        if server.organization.terms_block_calls:
            raise RefusedError(403, "T_C_NOT_SIGNED")
        self._endpoints.check_agent(request)
        result = self._endpoints.perform(request, server, now, repeat_cursor=repeat_cursor)
        return empty_answer() if result is None else json_answer(result)

    def _finish(self, answer: Answer, handling: _Handling, now: datetime) -> Answer:
        headers = {
            "Date": now.isoformat(timespec="seconds")
            if self.settings.simulator
            else format_datetime(now, usegmt=True)
        }
        if handling.session is not None and self.rotation.left != 0:
            if self.rotation.left is not None:
                self.rotation.left -= 1
            headers["X-ADM-Auth-Session"] = self.sessions.rotate(
                handling.session, now, self.rotation.grace_seconds
            )
        return answer.with_headers(headers)

    def _log(
        self,
        request: WireRequest,
        answer: Answer | None,
        now: datetime,
        number: int | None,
        handling: _Handling,
    ) -> None:
        self._counts[request.endpoint] += 1
        self._arrived += 1
        server = handling.session.credentials.server.name if handling.session else ""
        self._records.append(
            request_record(request, answer, number=self._arrived, at=now, session=number, server=server)
        )


def _real_time() -> datetime:
    return datetime.now(UTC)
