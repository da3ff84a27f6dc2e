"""``FakeApple``: the portal and Apple's device assignment service in one object."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from email.utils import format_datetime
from typing import Unpack

import attrs

from pyade.core.arguments import check_arguments
from pyade.core.token import Token
from pyade.flow import utc_now
from pyade.testing.apple.actions import DeviceActions, verify_jwt
from pyade.testing.apple.answers import RefusedError
from pyade.testing.apple.endpoints import Endpoints
from pyade.testing.apple.faults import Faults
from pyade.testing.apple.lifecycle import DeviceLifecycle
from pyade.testing.apple.model import AppleSettings, Credentials, Identifiers, Server
from pyade.testing.apple.paging import Pager
from pyade.testing.apple.profiles import Profiles
from pyade.testing.apple.sessions import Rotation, Sessions
from pyade.testing.apple.token_file import TokenFileForm, accept_certificate, build_token_file
from pyade.testing.errors import PortalError
from pyade.testing.http.faults import DeviceFaults
from pyade.testing.http.service import Exchange, FakeService, RequestRecord
from pyade.testing.http.wire import JSON_TYPE, WireResponse, json_response, reason


@check_arguments
class FakeApple(FakeService, DeviceLifecycle):
    """Apple's device assignment service with its portal, in memory, for tests and demonstrations.

    It keeps organizations, servers, devices, profiles, sessions and cursors, enforces Apple's limits and
    answers as Apple does, through ``transport()`` in the same process or through ``serve()`` over real HTTP.
    An unknown path is answered with 404 and logged in ``requests``.

    Example::

        apple = FakeApple(clock=clock)
        server = apple.add_server("hq")
        apple.add_devices(3, server=server)
        with Client(apple.token(server, name="hq"), transport=apple.transport(), clock=clock) as client:
            client.fetch_devices()

    Args:
        clock: Returns the time, UTC; a ``FrozenClock`` makes every value reproducible. Omitted, real time.
        seed: Determines ids, secrets and cursors; the same seed and clock give the same values.

    Attributes:
        clock: Returns the time, UTC.
        settings: Behaviour that lasts, such as page sizes.
        faults: Switches for failing states; use ``script`` for single requests.
        organizations: The organizations by name.
        servers: The MDM servers by name.
        devices: The devices by serial number, assigned to a server or not.
    """

    def __init__(self, *, clock: Callable[[], datetime] | None = None, seed: int = 0) -> None:
        settings = AppleSettings()
        FakeService.__init__(self)
        DeviceLifecycle.__init__(self, clock or utc_now, Identifiers(seed), settings)
        self._sessions: Sessions = Sessions(settings, self._identifiers)
        self._pager: Pager = Pager(settings, self._identifiers)
        self._device_faults: DeviceFaults = DeviceFaults()
        self._rotation: Rotation = Rotation()
        self.faults: Faults = Faults(
            self,
            self._lock,
            sessions=self._sessions,
            rotation=self._rotation,
            pager=self._pager,
            device_faults=self._device_faults,
        )
        profiles = Profiles(self, self._identifiers, self._device_faults)
        actions = DeviceActions(self, self._device_faults)
        self._endpoints = Endpoints(settings, self._pager, profiles, actions, self._replacements)
        self._used_jwts: set[str] = set()

    # Tokens

    def token(
        self, server: Server | str | None = None, *, name: str = "hq", apple_id: str = "it@contoso.com"
    ) -> Token:
        """Return a token with the current secrets of *server*; no older token is superseded.

        Args:
            server: Which server; omitted, the only one.
            name: The name of the token.
            apple_id: The Apple ID used in the portal.
        """
        with self._lock:
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

        Generating it supersedes the previous token, imported or not, as in the portal.

        Args:
            server: Which server; None for the only one.
            certificate_pem: The certificate that was uploaded, PEM, with an RSA key.
            change_consumer_key: True if another portal user generates it.
            form: The format of the file, see ``TokenFileForm``; omitted, Apple's format.

        Raises:
            PortalError: The portal does not accept the certificate.
        """
        with self._lock:
            upload = accept_certificate(certificate_pem)
            self.server(server).token_key = upload.public_key
            credentials = self.generate_token(server, change_consumer_key=change_consumer_key)
            return build_token_file(credentials, upload, self._identifiers, **form)

    def _accept_credentials(self, credentials: Credentials) -> None:
        """Accept *credentials* in ``/session`` from now on."""
        self._sessions.accept(credentials)

    def redeem_jwt(self, jwt: str) -> Server:
        """Redeem a JWT for ``com.apple.maid``, as a device does when it signs in to a Managed Apple Account.

        Args:
            jwt: The MDM server's response to ``GetToken``.

        Returns:
            The server that made it.

        Raises:
            PortalError: Apple would refuse it: not signed with RS256 and the key of the newest uploaded
                certificate, of another issuer, too old, or used before. The message never holds the JWT.
        """
        with self._lock:
            found, jti = verify_jwt(jwt, self.servers.values(), now=self.clock())
            if jti in self._used_jwts:
                raise PortalError("the JWT was used before: make one per request")
            self._used_jwts.add(jti)
            return found

    # The web service

    def _perform(self, exchange: Exchange) -> WireResponse:
        try:
            return self._route(exchange)
        except RefusedError as refused:
            return refused.response()

    def _route(self, exchange: Exchange) -> WireResponse:
        request, now = exchange.request, exchange.now
        methods = self._endpoints.methods(request.path)
        if not methods:
            raise RefusedError(404, reason(404))
        if request.method not in methods:
            raise RefusedError(405, reason(405), {"Allow": ", ".join(methods)})
        if request.path == "/session":
            return self._sessions.open(request, now)
        session = exchange.session = self._sessions.check(request, now)
        server = session.credentials.server
        if server.organization.terms_block_calls:
            raise RefusedError(403, "T_C_NOT_SIGNED")
        self._endpoints.check_agent(request)
        result = self._endpoints.perform(request, server, now, repeat_cursor=exchange.repeat_cursor)
        return (
            json_response(result) if result is not None else WireResponse(headers={"Content-Type": JSON_TYPE})
        )

    def _error_response(self, response: WireResponse, code: str) -> WireResponse:
        return RefusedError(response.status, code, response.headers).response()

    def _headers(self, exchange: Exchange) -> Mapping[str, str]:
        headers = {"Date": format_datetime(exchange.now, usegmt=True)}
        if exchange.session is not None and self._rotation.left != 0:
            if self._rotation.left is not None:
                self._rotation.left -= 1
            grace = self._rotation.grace_seconds
            headers["X-ADM-Auth-Session"] = self._sessions.rotate(exchange.session, exchange.now, grace)
        return headers

    def _record(self, exchange: Exchange, response: WireResponse | None, number: int) -> RequestRecord:
        return attrs.evolve(
            super()._record(exchange, response, number),
            session=self._sessions.number(exchange.request),
            server=exchange.session.credentials.server.name if exchange.session else "",
        )
