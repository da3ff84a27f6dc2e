"""The device assignment service: its headers, page limits, sessions and error codes.

A session is requested from ``/session`` with the OAuth 1.0a secrets of a server token.

Source: Apple, "Authenticating for Automated Device Enrollment".
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from functools import partial
from typing import Final, TypeAlias, TypeVar

import attrs
import httpx
import msgspec

from pyade.apple.error_codes import apple_error, bare_code, describe_owner, is_session_lost
from pyade.apple.http.calls import OPEN_SESSION, Call
from pyade.apple.http.error_codes import retry_after
from pyade.apple.http.exchange import ACCEPT_ENCODING, SESSION_BYTES, HttpCall, HttpReply
from pyade.apple.http.json_bodies import decode_json
from pyade.apple.http.service import RetryPolicy, Service
from pyade.apple.http.sessions import Opened, Opening, Session, SessionCache, sendable_or_none
from pyade.apple.responses import Account
from pyade.core.arguments import ArgumentType, check_returned
from pyade.core.secret import Secret
from pyade.core.token import Token
from pyade.crypto.oauth1 import authorization_header
from pyade.errors import AppleError, ClockError, ResponseError, TokenExpiredError, TransportError
from pyade.flow import CallHook, Flow, Now, RandomBytes, ask

T = TypeVar("T")

MEDIA_TYPE = "application/json;charset=UTF8"
"""In this exact spelling: Apple accepts it, and Apple's simulator accepts nothing else."""

DEFAULT_LIMIT = 1000
MAX_LIMIT = 5000
"""Most devices per page, even if the account advertises more; it never did."""

TokenProvider: TypeAlias = Callable[[], Token]
"""Returns the token to use now; called for each new session, so that a renewed token reaches a client."""

_TOKEN: Final = ArgumentType(lambda value: isinstance(value, Token), "a Token", "Token objects")

SESSION_HEADER = "X-ADM-Auth-Session"


class TokenSessions:
    """The ``SessionSource`` of a server token.

    Args:
        token: The token, or a callable that returns it.
        base_url: Address of the service, with a trailing slash.
        cache: Where sessions are shared.

    Attributes:
        account: The last account that was read; names the organization in errors. None before.
    """

    def __init__(self, token: Token | TokenProvider, base_url: httpx.URL, cache: SessionCache) -> None:
        self._provider = token if callable(token) else None
        self._token = None if callable(token) else token
        self._session: Session | None = None
        self._base_url = base_url
        self._cache = cache
        self.account: Account | None = None

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self._base_url)!r})"

    @property
    def token(self) -> Token:
        """The token in use; calls the provider if there is none yet."""
        if self._token is None and self._provider is not None:
            self._token = self._provider()
        assert self._token is not None  # noqa: S101 - one of the two is given
        return self._token

    def secrets(self) -> tuple[Secret, ...]:
        """Return every secret that must not appear in an error."""
        token, session = self._token, self._session
        own = (token.consumer_secret, token.access_token, token.access_secret) if token else ()
        return (*own, session.secret) if session and session.secret else own

    def current(self, now: datetime) -> Session | None:
        """Return the session in use; None if there is no token yet, or it is expired."""
        return self._session if self._token and not _is_expired(self._token, now) else None

    def choose(self) -> Flow[tuple[Session, Opening]]:
        """Get the token; return its session slot, and the flow that requests a session with it.

        Raises:
            TokenExpiredError: The token is expired.
        """
        token = self._token
        if self._provider is not None:
            token = yield from _call_provider(self._provider)
        assert token is not None  # noqa: S101 - there is a provider, or there was a token
        expiry = token.access_token_expiry
        if expiry is not None and expiry <= (yield from ask(Now())):
            owner = describe_owner(token, self.account)
            detail = f"the token expired at {expiry.isoformat()}, for {owner}"
            next_step = "download a new server token in the portal and import it"
            raise TokenExpiredError(OPEN_SESSION, 0, "", detail, next_step)
        session = self._cache.session(str(self._base_url), token.consumer_key, token.access_token)
        self._token, self._session = token, session
        return session, partial(self._open, token)

    def headers(self, secret: Secret) -> Mapping[str, Secret]:
        """Return the header that carries a session."""
        return {SESSION_HEADER: secret}

    def rotated(self, reply: HttpReply) -> Secret | None:
        """Return the newest session in the headers of *reply*; None if it has none."""
        return sendable_or_none(Secret((reply.headers.get_list(SESSION_HEADER) or [""])[-1]))

    def is_refused(self, reply: HttpReply) -> bool:
        """Return True if *reply* means that its session is no longer valid."""
        return is_session_lost(reply.status, reply.content)

    def _open(self, token: Token, now: datetime) -> Flow[Opened]:
        """Request a session, and once more if Apple refuses the nonce or the timestamp."""
        try:
            return (yield from self._request_session(token, now)), None
        except ClockError:
            # The nonce may have been used by chance, or the clock was set meanwhile.
            now = yield from ask(Now())
        return (yield from self._request_session(token, now)), None

    def _request_session(self, token: Token, now: datetime) -> Flow[Secret]:
        url = str(self._base_url.join("session"))
        nonce = (yield from ask(RandomBytes(16))).hex()
        signed = authorization_header(token, "GET", url, timestamp=int(now.timestamp()), nonce=nonce)
        call = HttpCall(
            operation=OPEN_SESSION,
            method="GET",
            url="/session",
            headers={"Authorization": signed},
            may_act=False,
            max_bytes=SESSION_BYTES,
        )
        reply = yield from ask(call)
        if not reply.is_success or bare_code(reply.content):
            raise apple_error(
                OPEN_SESSION,
                reply.status,
                reply.content,
                session=True,
                retry_after_s=retry_after(reply.headers.get("Retry-After"), now),
                token=token,
                account=self.account,
                secrets=(signed, *self.secrets()),
            )
        secret = _read_session(reply.content)
        if secret is None:
            detail = "the response holds no usable session"
            raise ResponseError(OPEN_SESSION, 200, "", detail, "check base_url")
        return secret


def _call_provider(provider: TokenProvider) -> Flow[Token]:
    try:
        return check_returned("token", (yield from ask(CallHook(provider, (), "token"))), _TOKEN)
    except httpx.RequestError as error:
        failure = TransportError(OPEN_SESSION, f"the token provider: {type(error).__name__}: {error}", False)
    raise failure


def _read_session(content: bytes) -> Secret | None:
    try:
        return sendable_or_none(Secret(decode_json(content, _WireSession).auth_session_token))
    except msgspec.DecodeError:
        return None


def _is_expired(token: Token, now: datetime) -> bool:
    return token.access_token_expiry is not None and token.access_token_expiry <= now


class _WireSession(msgspec.Struct):
    auth_session_token: str


class DeviceAssignment(Service):
    """Apple's device assignment service.

    Args:
        source: Where its sessions come from.
        base_url: Address, with a trailing slash.
        user_agent: Product and version.
        protocol_version: 1 to 10.
        policy: Retries and deadline.
    """

    def __init__(
        self,
        source: TokenSessions,
        *,
        base_url: httpx.URL,
        user_agent: str,
        protocol_version: int,
        policy: RetryPolicy,
    ) -> None:
        headers = {
            "User-Agent": user_agent,
            "Accept": MEDIA_TYPE,
            "Accept-Encoding": ACCEPT_ENCODING,
            "Content-Type": MEDIA_TYPE,
            "X-Server-Protocol-Version": str(protocol_version),
        }
        super().__init__(source, headers=headers, media_type=MEDIA_TYPE, policy=policy)
        self._base_url = str(base_url)
        self.sessions: TokenSessions = source

    @property
    def base_url(self) -> str:
        """The address of the service, with a trailing slash."""
        return self._base_url

    def prepared(self, call: Call[T]) -> Call[T]:
        """Return *call* with the page limit that the account advertised."""
        if not call.paged:
            return call
        account = self.sessions.account
        url = account.url(call.path) if account else None
        maximum = min((url and url.maximum_limit) or DEFAULT_LIMIT, MAX_LIMIT)
        body = dict(call.json or {})
        limit = min(body.get("limit") or (url and url.default_limit) or maximum, maximum)
        decode: Callable[..., T] = call.decode
        return attrs.evolve(
            call,
            json={**body, "limit": limit},
            max_records=limit,
            decode=partial(decode, limit=limit),
        )

    def read(self, call: Call[T], reply: HttpReply) -> T:
        """Return the decoded body of a success; a body that is a bare code is a refusal or a result."""
        code = bare_code(reply.content)
        if code in call.by_code:
            return call.by_code[code]
        if code:
            # Seen with status 200: a code instead of the response.
            raise apple_error(call.operation, reply.status, reply.content)
        response = super().read(call, reply)
        if isinstance(response, Account):
            self.sessions.account = response
        return response

    def error_of(self, operation: str, reply: HttpReply, now: datetime, used: Secret) -> AppleError:
        """Return the error for an error response."""
        return apple_error(
            operation,
            reply.status,
            reply.content,
            retry_after_s=retry_after(reply.headers.get("Retry-After"), now),
            token=self.sessions.token,
            account=self.sessions.account,
            # The request may have used an older session than the newest, which was refused or replaced.
            secrets=(*self.sessions.secrets(), used),
        )
