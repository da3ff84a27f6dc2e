"""Device assignment as a service: its headers, its page limits, and what its refusals mean."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from functools import partial
from typing import TypeVar

import attrs
import httpx

from pyade.apple.http.calls import Call
from pyade.apple.http.exchange import ACCEPT_ENCODING, HttpReply
from pyade.apple.http.service import RetryPolicy, Service
from pyade.apple.refusals import bare_code, refusal, retry_after
from pyade.apple.responses import Account
from pyade.apple.sessions import TokenSessions
from pyade.core.secret import Secret
from pyade.errors import AppleError

T = TypeVar("T")

MEDIA_TYPE = "application/json;charset=UTF8"
"""Written exactly like this: Apple takes it, and a simulator takes nothing else."""

DEFAULT_LIMIT = 1000
MAX_LIMIT = 5000
"""Devices per page at most, whatever the account says; more was never advertised."""


class DeviceAssignment(Service):
    """Apple's device assignment service.

    Args:
        source: Of its sessions.
        base_url: With a trailing slash.
        user_agent: Product and version.
        protocol_version: 1 to 10.
        policy: Retries.
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
        """Where it is, with a trailing slash."""
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
        """Return what a success says; a bare code in it is a refusal or a result."""
        code = bare_code(reply.content)
        if code in call.by_code:
            return call.by_code[code]
        if code:
            # Seen with status 200: a code where the answer should be.
            raise refusal(call.operation, reply.status, reply.content)
        answer = super().read(call, reply)
        if isinstance(answer, Account):
            self.sessions.account = answer
        return answer

    def refusal(self, operation: str, reply: HttpReply, now: datetime, used: Secret) -> AppleError:
        """Return what a refusal means."""
        return refusal(
            operation,
            reply.status,
            reply.content,
            retry_after_s=retry_after(reply.headers.get("Retry-After"), now),
            token=self.sessions.token,
            account=self.sessions.account,
            # The session of the request may be another one than the newest: it was refused, or replaced.
            secrets=(*self.sessions.secrets(), used),
        )
