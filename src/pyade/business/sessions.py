"""Access tokens of the API: asked for with a client assertion, and renewed before their end.

Rules of this file:

1. A client assertion is made for each access token and lives for minutes: nothing that is signed is kept.
2. It is in the body and not in the query, which access logs keep.

Source: Apple, "Implementing OAuth for the Apple School Manager and Apple Business API"; RFC 6749, 4.4.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from functools import partial
from typing import Any
from urllib.parse import urlencode

import attrs
import httpx
import msgspec

from pyade.apple.http.calls import OPEN_SESSION
from pyade.apple.http.exchange import SESSION_BYTES, HttpCall, HttpReply
from pyade.apple.http.sessions import Opened, Opening, Session, usable
from pyade.apple.json_bodies import decode_json
from pyade.business.account import AccountProvider, ApiAccount
from pyade.business.refusals import token_refusal
from pyade.core.secret import Secret
from pyade.crypto.assertion import client_assertion
from pyade.errors import ResponseError, TransportError
from pyade.flow import CallHook, Flow, NewId, ask

ASSERTION_S = 300
"""Seconds for which a client assertion is good."""

_RENEW_AFTER = 0.8
_LONGEST_S = 86_400.0
_ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"


@attrs.frozen(kw_only=True)
class AuthorizationServer:
    """Where access tokens come from.

    Attributes:
        url: What is asked.
        audience: What client assertions name as their reader.
        scope: None for that of the account.
    """

    url: str
    audience: str
    scope: str | None = None


class AccessTokens:
    """Where the access tokens of an API account come from.

    Args:
        account: The account, or what returns it.
        server: What is asked for them.

    Attributes:
        account: What the newest one was made with; None before the first.
        server: What is asked.
    """

    def __init__(self, account: ApiAccount | AccountProvider, server: AuthorizationServer) -> None:
        self._provider = None if isinstance(account, ApiAccount) else account
        self.account: ApiAccount | None = account if isinstance(account, ApiAccount) else None
        self.server: AuthorizationServer = server
        self._session = Session()

    def current(self, now: datetime) -> Session | None:  # noqa: ARG002 - others look at it
        """Return where the access token is kept, which knows its own end."""
        return self._session

    def choose(self) -> Flow[tuple[Session, Opening]]:
        """Ask for the account; return where its access token is kept, and what asks for one."""
        if self._provider is not None:
            self.account = yield from _provided(self._provider)
        assert self.account is not None  # noqa: S101 - one of the two was given
        return self._session, partial(self._ask, self.account)

    def headers(self, secret: Secret) -> Mapping[str, Secret]:
        """Return the header that carries an access token."""
        return {"Authorization": Secret(f"Bearer {secret.reveal()}")}

    def rotated(self, reply: HttpReply) -> Secret | None:  # noqa: ARG002 - others look at it
        """Return None: no answer brings a newer one."""
        return None

    def is_refused(self, reply: HttpReply) -> bool:
        """Return True if an answer says that its access token is not valid any more."""
        return reply.status == 401

    def _ask(self, account: ApiAccount, now: datetime) -> Flow[Opened]:
        """Ask the authorization server.

        Raises:
            CredentialError: Apple does not accept the account.
            ClockError: It does not, and this clock is wrong.
            AppleError: Anything else that the authorization server says.
            TransportError: It says nothing.
        """
        assertion = client_assertion(
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
            content=_form(account, assertion, self.server.scope or account.scope),
            may_act=False,
            max_bytes=SESSION_BYTES,
        )
        reply = yield from ask(call)
        if not reply.is_success:
            about = f"client id {account.client_id}, key id {account.key_id}"
            raise token_refusal(
                reply.status, reply.content, reply.headers, now=now, about=about, secrets=(assertion,)
            )
        secret, expires_in = _read_access(reply.content)
        if secret is None:
            detail = "the answer holds no usable access token"
            raise ResponseError(OPEN_SESSION, 200, "", detail, "check token_url")
        lifetime = min(max(expires_in, 1.0), _LONGEST_S)
        return secret, now + timedelta(seconds=_RENEW_AFTER * lifetime)


def _provided(provider: AccountProvider) -> Flow[ApiAccount]:
    try:
        return (yield from ask(CallHook(provider, (), "account")))
    except httpx.RequestError as error:
        failure = TransportError(OPEN_SESSION, f"the account provider: {type(error).__name__}", False)
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
    return usable(Secret(wire.access_token)), wire.expires_in


class _WireAccess(msgspec.Struct):
    access_token: str
    expires_in: float = 300.0
    token_type: Any = None
