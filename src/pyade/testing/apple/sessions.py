"""Answer ``GET /session``: verify the OAuth signature of a server token and issue session values.

The signature is verified without the code of the client, so that a mistake there shows.

Source: RFC 5849, sections 3.2 and 3.4; Apple, "Authenticating for Automated Device Enrollment" and
"Interpreting Automated Device Enrollment error codes". The bodies of the responses were observed.
"""

from __future__ import annotations

import hmac
import re
from base64 import b64encode
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Literal
from urllib.parse import quote, unquote

import attrs

from pyade.testing.apple.answers import RefusedError
from pyade.testing.apple.model import AppleSettings, Credentials, Identifiers, Server
from pyade.testing.http.wire import WireRequest, WireResponse, json_response

SESSION_HEADER = "x-adm-auth-session"
# Neither number is published.
SESSION_LIFETIME = timedelta(minutes=3)
_CLOCK_SKEW_SECONDS = 300
_REQUIRED = {
    "oauth_consumer_key",
    "oauth_token",
    "oauth_signature_method",
    "oauth_timestamp",
    "oauth_nonce",
    "oauth_signature",
}
_ALLOWED = _REQUIRED | {"oauth_version", "realm"}
_PARAMETER = re.compile(r'\s*([A-Za-z_]+)\s*=\s*"([^"]*)"\s*')
_PARAMETERS = re.compile(rf"{_PARAMETER.pattern}(?:,{_PARAMETER.pattern})*")


@attrs.define(eq=False, kw_only=True)
class Session:
    """One value of ``X-ADM-Auth-Session``.

    Attributes:
        number: 1 for the first value of this fake, and so on.
        credentials: The server token it was opened with.
        issued_at: UTC.
        ends_at: When it expires, UTC.
        uses_left: How many more requests may use it; None for no limit.
    """

    number: int
    credentials: Credentials
    issued_at: datetime
    ends_at: datetime
    uses_left: int | None = None


@attrs.define(eq=False)
class _Issued:
    credentials: Credentials
    state: Literal["current", "superseded", "revoked"] = "current"


class Sessions:
    """Verifies server tokens and stores the sessions opened with them."""

    def __init__(self, settings: AppleSettings, identifiers: Identifiers) -> None:
        self._settings = settings
        self._identifiers = identifiers
        self._issued: list[_Issued] = []
        self._nonces: dict[tuple[str, str, str], datetime] = {}
        self._sessions: dict[str, Session] = {}
        self._count = 0

    def accept(self, credentials: Credentials) -> None:
        """Accept *credentials* from now on, and reject older ones of the same server."""
        for issued in self._issued:
            if issued.credentials.server is credentials.server and issued.state == "current":
                issued.state = "superseded"
        self._issued.append(_Issued(credentials))

    def revoke(self, server: Server) -> None:
        """Reject every token of *server* that was issued so far."""
        for issued in self._issued:
            if issued.credentials.server is server:
                issued.state = "revoked"
        self.forget(server)

    def forget(self, server: Server | None = None) -> None:
        """Drop the sessions of *server*, or all sessions, as if they were never issued."""
        for value in self._values_of(server):
            del self._sessions[value]

    def expire(self, server: Server | None = None) -> None:
        """Expire the sessions of *server*, or all sessions."""
        for value in self._values_of(server):
            self._sessions[value].ends_at = self._sessions[value].issued_at

    def open(self, request: WireRequest, now: datetime) -> WireResponse:
        """Answer ``GET /session``.

        Raises:
            RefusedError: The OAuth request, the token or the organization's terms do not allow it.
        """
        credentials = self._verify(request, now)
        server = credentials.server
        if server.session_refusal is not None:
            raise RefusedError(403, server.session_refusal)
        if server.organization.terms_block_session:
            raise RefusedError(403, "T_C_NOT_SIGNED")
        if self._settings.single_session:
            self.forget(server)
        return json_response({"auth_session_token": self._issue(credentials, now)})

    def check(self, request: WireRequest, now: datetime) -> Session:
        """Return the session of an ordinary *request*, and count one use of it.

        Raises:
            RefusedError: It has no session, or one that is invalid or expired.
        """
        value = request.headers.get(SESSION_HEADER, "")
        if not value:
            raise RefusedError(401, "UNAUTHORIZED")
        session = self._sessions.get(value)
        if session is None or session.credentials is not session.credentials.server.credentials:
            raise RefusedError(403, "FORBIDDEN")
        if now >= session.ends_at or session.uses_left == 0:
            raise RefusedError(401, "UNAUTHORIZED")
        if session.uses_left is not None:
            session.uses_left -= 1
        return session

    def number(self, request: WireRequest) -> int | None:
        """Return the number of the session of *request*, valid or not; None for an unknown one."""
        session = self._sessions.get(request.headers.get(SESSION_HEADER, ""))
        return session.number if session else None

    def rotate(self, session: Session, now: datetime, grace_seconds: float | None) -> str:
        """Return a new session value that replaces *session*.

        Args:
            session: The session of the request.
            now: UTC.
            grace_seconds: How long the old value stays valid; None allows one more use.
        """
        if grace_seconds is None:
            session.uses_left = 1
        else:
            session.ends_at = min(session.ends_at, now + timedelta(seconds=grace_seconds))
        return self._issue(session.credentials, now)

    def _values_of(self, server: Server | None) -> list[str]:
        return [
            value for value, session in self._sessions.items() if server in (None, session.credentials.server)
        ]

    def _issue(self, credentials: Credentials, now: datetime) -> str:
        self._count += 1
        value = self._identifiers.session()
        ends_at = now + SESSION_LIFETIME
        self._sessions[value] = Session(
            number=self._count, credentials=credentials, issued_at=now, ends_at=ends_at
        )
        return value

    def _verify(self, request: WireRequest, now: datetime) -> Credentials:
        parameters = _oauth_parameters(request.headers.get("authorization", ""))
        issued = self._find(parameters["oauth_consumer_key"], parameters["oauth_token"])
        if issued is None or issued.state == "revoked":
            raise RefusedError(401, "token_rejectedUnauthorized")
        credentials = issued.credentials
        expected = _signature(request, parameters, credentials)
        if issued.state == "superseded" or not hmac.compare_digest(
            expected, parameters["oauth_signature"].encode()
        ):
            raise RefusedError(401, "signature_invalidUnauthorized")
        if now >= credentials.expires_at:
            raise RefusedError(401, "token_expiredUnauthorized")
        if abs(int(parameters["oauth_timestamp"]) - now.timestamp()) > _CLOCK_SKEW_SECONDS:
            raise RefusedError(401, "timestamp_refusedUnauthorized")
        nonce = (credentials.consumer_key, parameters["oauth_timestamp"], parameters["oauth_nonce"])
        if nonce in self._nonces:
            raise RefusedError(401, "nonce_usedUnauthorized")
        self._nonces[nonce] = now
        return credentials

    def _find(self, consumer_key: str, access_token: str) -> _Issued | None:
        for issued in reversed(self._issued):
            if (issued.credentials.consumer_key, issued.credentials.access_token) == (
                consumer_key,
                access_token,
            ):
                return issued
        return None


def _oauth_parameters(header: str) -> dict[str, str]:
    """Return the decoded parameters of an ``Authorization`` *header*, ``realm`` left out."""
    malformed = RefusedError(400, "oauth_problem_adviceBad Request")
    scheme, _, rest = header.partition(" ")
    if scheme.lower() != "oauth" or not _PARAMETERS.fullmatch(rest):
        raise malformed
    parameters: dict[str, str] = {}
    for name, value in _PARAMETER.findall(rest):
        if name not in _ALLOWED or name in parameters:
            raise malformed
        parameters[name] = unquote(value)
    parameters.pop("realm", None)
    if not all(parameters.get(name) for name in _REQUIRED):
        raise malformed
    if parameters["oauth_signature_method"] != "HMAC-SHA1" or parameters.get("oauth_version", "1.0") != "1.0":
        raise malformed
    if not re.fullmatch(r"[0-9]{1,15}", parameters["oauth_timestamp"]):
        raise malformed
    return parameters


def _signature(request: WireRequest, parameters: dict[str, str], credentials: Credentials) -> bytes:
    signed = [(name, value) for name, value in parameters.items() if name != "oauth_signature"]
    base = "&".join(
        (request.method, _escape(_base_url(request)), _escape(_normalise([*signed, *request.query])))
    )
    key = f"{_escape(credentials.consumer_secret)}&{_escape(credentials.access_secret)}"
    return b64encode(hmac.digest(key.encode(), base.encode(), "sha1"))


def _base_url(request: WireRequest) -> str:
    host = request.host.lower().removesuffix(":443" if request.scheme == "https" else ":80")
    return f"{request.scheme}://{host}{request.path}"


def _normalise(parameters: Iterable[tuple[str, str]]) -> str:
    return "&".join(
        f"{name}={value}"
        for name, value in sorted((_escape(name), _escape(value)) for name, value in parameters)
    )


def _escape(text: str) -> str:
    return quote(text, safe="-._~")


@attrs.define
class Rotation:
    """How many further responses carry a new session, and how long the old one stays valid.

    Attributes:
        left: Number of responses; None for all.
        grace_seconds: Seconds that the old session stays valid; None allows one more use.
    """

    left: int | None = 0
    grace_seconds: float | None = None
