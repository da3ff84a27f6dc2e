"""Requests of the Apple School Manager and Apple Business API: access tokens, headers, lists and logs.

The rules of this file:

1. Make a new client assertion for each access token, valid for minutes; never store a signed value.
2. Send it in the body, not in the query, because access logs contain queries.

Source: Apple, "Implementing OAuth for the Apple School Manager and Apple Business API"; RFC 6749, 4.4.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from functools import partial
from typing import Any, TypeVar
from urllib.parse import urlencode

import attrs
import httpx
import msgspec

from pyade.apple.http.calls import OPEN_SESSION, Call
from pyade.apple.http.exchange import ACCEPT_ENCODING, SESSION_BYTES, HttpCall, HttpReply
from pyade.apple.http.json_bodies import decode_json
from pyade.apple.http.service import RetryPolicy, Service
from pyade.apple.http.sessions import Opened, Opening, Session, sendable_or_none
from pyade.business.account import BUSINESS_URL, AccountProvider, ApiAccount
from pyade.business.activities import MAX_LOG_BYTES
from pyade.business.error_codes import api_error, token_error
from pyade.business.paging import Page, origin_of, warn_of_next_page
from pyade.core.secret import Secret
from pyade.crypto.jwt import client_assertion
from pyade.errors import AppleError, ResponseError, TransportError
from pyade.flow import CallHook, Flow, NewId, Now, ask

T = TypeVar("T")

MEDIA_TYPE = "application/json"
"""Exactly this: Apple answers another ``Accept`` with 406 (observed)."""

ASSERTION_S = 300
"""Seconds for which a client assertion is valid."""

_RENEW_AFTER = 0.8
_LONGEST_S = 86_400.0
_ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"


@attrs.frozen(kw_only=True)
class AuthorizationServer:
    """The server that issues access tokens.

    Attributes:
        url: Its address.
        audience: The ``aud`` claim of client assertions.
        scope: None for that of the account.
    """

    url: str
    audience: str
    scope: str | None = None


class AccessTokens:
    """Requests access tokens for an API account, and renews them before they expire.

    Args:
        account: The account, or a callable that returns it.
        server: The server that issues the tokens.

    Attributes:
        account: The account of the newest token; None before the first.
        server: The server that issues the tokens.
    """

    def __init__(self, account: ApiAccount | AccountProvider, server: AuthorizationServer) -> None:
        self._provider = None if isinstance(account, ApiAccount) else account
        self.account: ApiAccount | None = account if isinstance(account, ApiAccount) else None
        self.server: AuthorizationServer = server
        self._session = Session()

    def current(self, now: datetime) -> Session | None:  # noqa: ARG002 - part of the interface
        """Return the session that holds the access token and its expiry."""
        return self._session

    def choose(self) -> Flow[tuple[Session, Opening]]:
        """Get the account; return the session that holds its access token, and the flow that requests one."""
        if self._provider is not None:
            self.account = yield from _call_provider(self._provider)
        assert self.account is not None  # noqa: S101 - one of the two was given
        return self._session, partial(self._ask, self.account)

    def headers(self, secret: Secret) -> Mapping[str, Secret]:
        """Return the header that carries an access token."""
        return {"Authorization": Secret(f"Bearer {secret.reveal()}")}

    def rotated(self, reply: HttpReply) -> Secret | None:  # noqa: ARG002 - part of the interface
        """Return None: no response contains a newer token."""
        return None

    def is_refused(self, reply: HttpReply) -> bool:
        """Return True if a response means that its access token is no longer valid."""
        return reply.status == 401

    def _ask(self, account: ApiAccount, now: datetime) -> Flow[Opened]:
        """Request an access token from the authorization server.

        Raises:
            CredentialError: Apple does not accept the account.
            ClockError: Apple does not accept the account, and the clock of this machine is wrong.
            AppleError: The authorization server answered with another error.
            TransportError: The authorization server did not answer.
        """
        assertion = client_assertion(  # rule 1
            account.private_key,
            client_id=account.client_id,
            key_id=account.key_id,
            audience=self.server.audience,
            issued_at=int(now.timestamp()),
            lifetime_s=ASSERTION_S,
            jti=(yield from ask(NewId())),
        )
        call = HttpCall(
            operation=OPEN_SESSION,
            method="POST",
            url=self.server.url,
            headers={"Content-Type": "application/x-www-form-urlencoded"},
            content=_form(account, assertion, self.server.scope or account.scope),  # rule 2
            may_act=False,
            max_bytes=SESSION_BYTES,
        )
        reply = yield from ask(call)
        if not reply.is_success:
            about = f"client id {account.client_id}, key id {account.key_id}"
            raise token_error(
                reply.status, reply.content, reply.headers, now=now, about=about, secrets=(assertion,)
            )
        secret, expires_in = _read_access(reply.content)
        if secret is None:
            detail = "the response has no usable access token"
            raise ResponseError(OPEN_SESSION, 200, "", detail, "check token_url")
        lifetime = min(max(expires_in, 1.0), _LONGEST_S)
        return secret, now + timedelta(seconds=_RENEW_AFTER * lifetime)


def _call_provider(provider: AccountProvider) -> Flow[ApiAccount]:
    try:
        return (yield from ask(CallHook(provider, (), "account")))
    except httpx.RequestError as error:
        failure = TransportError(OPEN_SESSION, f"the account provider raised {type(error).__name__}", False)
    raise failure


def _form(account: ApiAccount, assertion: Secret, scope: str) -> Secret:
    return Secret(
        urlencode(
            {
                "grant_type": "client_credentials",
                "client_id": account.client_id,
                "client_assertion_type": _ASSERTION_TYPE,
                "client_assertion": assertion.reveal(),
                "scope": scope,
            }
        )
    )


def _read_access(content: bytes) -> tuple[Secret | None, float]:
    try:
        wire = decode_json(content, _WireAccess)
    except msgspec.DecodeError:
        return None, 0.0
    return sendable_or_none(Secret(wire.access_token)), wire.expires_in


class _WireAccess(msgspec.Struct):
    access_token: str
    expires_in: float = 300.0
    token_type: Any = None


class BusinessApi(Service):
    """The Apple School Manager and Apple Business API.

    Args:
        source: Supplies access tokens.
        base_url: With a trailing slash; None for that of the account.
        user_agent: Product and version.
        policy: When to retry.
    """

    def __init__(
        self, source: AccessTokens, *, base_url: httpx.URL | None, user_agent: str, policy: RetryPolicy
    ) -> None:
        headers = {"User-Agent": user_agent, "Accept": MEDIA_TYPE, "Accept-Encoding": ACCEPT_ENCODING}
        super().__init__(source, headers=headers, media_type=MEDIA_TYPE, policy=policy)
        self._tokens = source
        self._base_url = base_url

    @property
    def base_url(self) -> str:
        """Address of the API, with a trailing slash: the one from the caller, else that of the account."""
        account = self._tokens.account
        return str(self._base_url or f"{account.base_url if account else BUSINESS_URL}/")

    @property
    def addresses(self) -> tuple[str, ...]:
        """Addresses of the API and of its authorization server."""
        return self.base_url, self._tokens.server.url

    def read(self, call: Call[T], reply: HttpReply) -> T:
        """Return the decoded body of a successful response."""
        decoded = super().read(call, reply)
        if isinstance(decoded, Page):
            warn_of_next_page(call.operation, decoded, origin_of(httpx.URL(self.base_url)))
        return decoded

    def error_of(self, operation: str, reply: HttpReply, now: datetime, used: Secret) -> AppleError:
        """Return the exception for an error response."""
        return api_error(operation, reply.status, reply.content, reply.headers, now=now, secrets=(used,))

    def download_flow(self, address: Secret) -> Flow[bytes]:
        """Fetch the log at *address*, a presigned URL that needs no access token."""
        operation = "download the log of an activity"
        if not _is_safe(address, self.base_url):
            detail = "the address of the log is not an https URL"
            raise ResponseError(operation, 200, "", detail, "read the activity again, and check base_url")
        call = HttpCall(operation=operation, method="GET", url=address, max_bytes=MAX_LOG_BYTES)
        reply = yield from ask(call)
        if reply.is_success:
            return reply.content
        raise self.error_of(operation, reply, (yield from ask(Now())), address)


def _is_safe(address: Secret, base_url: str) -> bool:
    """Return True for https; plain HTTP is only allowed for a fake or a proxy on this machine."""
    try:
        url = httpx.URL(address.reveal())
    except httpx.InvalidURL:
        return False
    return bool(url.host) and (url.scheme == "https" or (url.scheme == "http" and _is_plain_http(base_url)))


def _is_plain_http(base_url: str) -> bool:
    return base_url.startswith("http:")
