"""Access tokens: made once, shared, renewed once.

Rules of this file:

1. One access token per client. It is made under a lock: whoever waited for the lock uses what the holder
   made, and shares the holder's failure, since asking too often is refused, too.
2. It is renewed before its end, and whenever the API refuses it; the request is then repeated once.
3. The account is asked for at each new access token, and a client assertion is made for each and lives for
   minutes: nothing that is signed is kept.
4. An access token goes to the API's own host only, never to the authorization server or to a log.

Source: Apple, "Implementing OAuth for the Apple School Manager and Apple Business API"; RFC 6749, 4.4.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlencode

import attrs
import msgspec

from pyade.apple.flows import OPEN_SESSION
from pyade.business.account import ApiAccount
from pyade.business.refusals import token_refusal
from pyade.crypto.client_assertion import client_assertion
from pyade.errors import AppleError, ResponseError, TransportError
from pyade.flow import Flow, HttpCall, NewId, Now, Step, ask

ASSERTION_S = 300
"""Seconds for which a client assertion is good."""

_RENEW_AFTER = 0.8
_LONGEST_S = 86_400.0
_ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"


@attrs.frozen
class AskApiAccount(Step[ApiAccount]):
    """Answer with the API account to use now; may block."""


@attrs.frozen
class Exclusive(Step[str]):
    """Run *flow* while nobody else runs one of this client, and answer with its result."""

    flow: Flow[str]


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


@attrs.define
class AccessTokens:
    """The access token of a client, and what went wrong with the last attempt to get one.

    Attributes:
        account: What the newest one was made with.
    """

    account: ApiAccount | None = None
    _access: str | None = attrs.field(default=None, repr=False)
    _renew_at: datetime | None = None
    _failure: AppleError | TransportError | None = attrs.field(default=None, repr=False)
    _failures: int = 0

    def usable(self, now: datetime, refused: str | None) -> str | None:
        """Return the access token if it is still good and not the *refused* one."""
        if self._access is None or self._access == refused or self._renew_at is None:
            return None
        return self._access if now < self._renew_at else None

    def keep(self, account: ApiAccount, access: str, renew_at: datetime) -> None:
        """Use *access* from now on."""
        self.account, self._access, self._renew_at = account, access, renew_at

    def forget(self, access: str) -> None:
        """Never use *access* again."""
        if self._access == access:
            self._access = None

    @property
    def failures(self) -> int:
        """How often there was no access token."""
        return self._failures

    @property
    def failure(self) -> AppleError | TransportError | None:
        """Why, the last time."""
        return self._failure

    def fail(self, failure: AppleError | TransportError) -> None:
        """Let those who wait for the lock share *failure*, so that each need not find out for itself."""
        self._failure = failure
        self._failures += 1


def access_flow(server: AuthorizationServer, tokens: AccessTokens, refused: str | None = None) -> Flow[str]:
    """Return an access token that is not the *refused* one.

    Raises:
        CredentialError: Apple does not accept the account.
        ClockError: It does not, and this clock is wrong.
        AppleError: Anything else that the authorization server says.
        TransportError: It says nothing.
    """
    access = tokens.usable((yield from ask(Now())), refused)
    if access is not None:
        return access
    return (yield from ask(Exclusive(_renew(server, tokens, refused, tokens.failures))))


def _renew(server: AuthorizationServer, tokens: AccessTokens, refused: str | None, seen: int) -> Flow[str]:
    """Make a new access token, unless somebody did or failed to while the caller waited for the lock."""
    now = yield from ask(Now())
    if (made := tokens.usable(now, refused)) is not None:
        return made
    if tokens.failure is not None and tokens.failures != seen:
        raise attrs.evolve(tokens.failure)
    account = yield from ask(AskApiAccount())
    try:
        answer = yield from _ask(server, account, now)
    except (AppleError, TransportError) as error:
        # A copy, since the error itself drags its frames along.
        tokens.fail(attrs.evolve(error))
        raise
    lifetime = min(max(answer.expires_in, 1.0), _LONGEST_S)
    tokens.keep(account, answer.access_token, now + timedelta(seconds=_RENEW_AFTER * lifetime))
    return answer.access_token


def _ask(server: AuthorizationServer, account: ApiAccount, now: datetime) -> Flow[_WireAccess]:
    jti = yield from ask(NewId())
    assertion = client_assertion(
        account.private_key,
        client_id=account.client_id,
        key_id=account.key_id,
        audience=server.audience,
        issued_at=int(now.timestamp()),
        lifetime_s=ASSERTION_S,
        jti=jti,
    )
    form = {
        "grant_type": "client_credentials",
        "client_id": account.client_id,
        "client_assertion_type": _ASSERTION_TYPE,
        "client_assertion": assertion.reveal(),
        "scope": server.scope or account.scope,
    }
    # In the body and not in the query, which access logs keep.
    reply = yield from ask(
        HttpCall(
            operation=OPEN_SESSION,
            method="POST",
            url=server.url,
            headers={"Content-Type": "application/x-www-form-urlencoded"},
            content=urlencode(form).encode(),
            may_act=False,
        )
    )
    if reply.status != 200:
        about = f"client id {account.client_id}, key id {account.key_id}"
        raise token_refusal(
            reply.status, reply.content, reply.headers, now=now, about=about, secrets=(assertion.reveal(),)
        )
    try:
        answer = msgspec.json.decode(reply.content, type=_WireAccess)
    except (ValueError, RecursionError):
        answer = _WireAccess(access_token="")
    if not answer.access_token or not answer.access_token.isascii() or not answer.access_token.isprintable():
        detail = "the answer holds no usable access token"
        raise ResponseError(OPEN_SESSION, 200, "", detail, "check token_url")
    return answer


class _WireAccess(msgspec.Struct):
    access_token: str
    expires_in: float = 300.0
    token_type: Any = None
