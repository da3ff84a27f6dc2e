"""What the synchronous and the asynchronous client share: all but waiting, sending and locks."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, TypeVar

import attrs
import httpx
import msgspec

from pyade.apple.calls import Call
from pyade.apple.connection import checked_url, checked_user_agent, transport_failure
from pyade.apple.flows import SendCall
from pyade.apple.retries import Memory, RetryPolicy, SendOnce, call_flow
from pyade.business.access import AccessTokens, AuthorizationServer, access_flow
from pyade.business.account import BUSINESS_URL, TOKEN_URL, AccountProvider, ApiAccount
from pyade.business.activity_flows import Download
from pyade.business.paging import Page, check_next_page, origin_of
from pyade.business.refusals import api_refusal
from pyade.errors import InvalidRequestError, ResponseError, TransportError
from pyade.flow import Flow, HttpCall, HttpReply, Now, Step, ask

T = TypeVar("T")

MEDIA_TYPE = "application/json"
"""Exactly this: another ``Accept`` was answered with 406 (observed)."""


@attrs.frozen(kw_only=True)
class Brain:
    """A client without its network.

    Attributes:
        provider: Returns the account to use.
        asks: True if the provider is the caller's own, and may block.
        headers: Sent with every request.
        server: Where access tokens come from.
        policy: Retries.
        tokens: The access token in use.
    """

    provider: AccountProvider
    asks: bool
    headers: dict[str, str]
    server: AuthorizationServer
    policy: RetryPolicy
    tokens: AccessTokens = attrs.field(factory=AccessTokens)
    _base_url: str | None = attrs.field(default=None, alias="base_url")
    _memory: Memory = attrs.field(factory=Memory)

    @classmethod
    def checked(
        cls,
        account: ApiAccount | AccountProvider,
        *,
        base_url: str | None,
        token_url: str,
        audience: str,
        scope: str | None,
        user_agent: str | None,
        retries: int,
        deadline_s: float,
    ) -> Brain:
        """Return the brain of a client; the arguments are those of ``BusinessClient``."""
        url = None if base_url is None else str(checked_url(base_url, default=BUSINESS_URL))
        checked_url(token_url, "token_url", TOKEN_URL)
        return cls(
            provider=(lambda: account) if isinstance(account, ApiAccount) else account,
            asks=not isinstance(account, ApiAccount),
            headers={"User-Agent": checked_user_agent(user_agent), "Accept": MEDIA_TYPE},
            server=AuthorizationServer(url=token_url, audience=audience, scope=scope),
            policy=RetryPolicy(retries=retries, deadline_s=deadline_s),
            base_url=url,
        )

    @property
    def base_url(self) -> str:
        """The service: what the caller chose, else that of the account; without a slash at the end."""
        account = self.tokens.account
        return (self._base_url or (account.base_url if account else BUSINESS_URL)).rstrip("/")

    @property
    def flows(self) -> Mapping[type[Step[Any]], Callable[[Any], Flow[Any]]]:
        """For each step that stands for a flow of other steps, what returns that flow."""
        return {
            SendCall: lambda step: self.call_flow(step.call),
            SendOnce: lambda step: self._exchange(step.call),
            Download: lambda step: self._download(step.address.reveal()),
        }

    def call_flow(self, call: Call[T]) -> Flow[T]:
        """Send *call* with an access token and with retries, and return its answer."""
        answer = yield from call_flow(call, self.policy, self._memory)
        if isinstance(answer, Page):
            check_next_page(call.operation, answer, origin_of(httpx.URL(self.base_url)))
        return answer

    def no_answer(
        self, step: HttpCall, request: httpx.Request, error: httpx.RequestError
    ) -> tuple[TransportError, httpx.RequestError | None]:
        """Return the error for a request that got no answer, and its cause if that may be shown."""
        return transport_failure(step.operation, request.url.host, error, may_have_acted=step.may_act)

    def _exchange(self, call: Call[Any]) -> Flow[bytes]:
        """Send *call* once and, after a refused access token, once more with a new one."""
        access = yield from access_flow(self.server, self.tokens)
        reply = yield from ask(self._request(call, access))
        if reply.status == 401:
            access = yield from access_flow(self.server, self.tokens, access)
            reply = yield from ask(self._request(call, access))
            if reply.status == 401:
                self.tokens.forget(access)
        return (yield from self._body(call.operation, reply, (access,)))

    def _request(self, call: Call[Any], access: str) -> HttpCall:
        if not call.path.startswith("/"):
            detail = f"path {call.path!r}: a path with a leading slash is allowed"
            raise InvalidRequestError(
                call.operation, 0, "", detail, "name no host: it would get the access token"
            )
        content = None if call.json is None else msgspec.json.encode(call.json)
        headers = {"Authorization": f"Bearer {access}"}
        return HttpCall(
            operation=call.operation,
            method=call.method,
            url=call.path,
            headers=headers if content is None else {**headers, "Content-Type": MEDIA_TYPE},
            content=content,
            params=call.params,
        )

    def _download(self, address: str) -> Flow[bytes]:
        """Fetch the log at *address*, which Apple signed beforehand: without an access token."""
        operation = "download the log of an activity"
        try:
            url = httpx.URL(address)
        except httpx.InvalidURL:
            url = httpx.URL("")
        # Plain HTTP only where everything is: a fake or a proxy on this machine.
        if not url.host or url.scheme not in {"https", httpx.URL(self.base_url).scheme}:
            raise ResponseError(
                operation, 200, "", "the address of the log is not one of https", "look again"
            )
        reply = yield from ask(HttpCall(operation=operation, method="GET", url=address))
        return (yield from self._body(operation, reply, ()))

    def _body(self, operation: str, reply: HttpReply, secrets: tuple[str, ...]) -> Flow[bytes]:
        if reply.is_success:
            return reply.content
        now: datetime = yield from ask(Now())
        raise api_refusal(operation, reply.status, reply.content, reply.headers, now=now, secrets=secrets)
