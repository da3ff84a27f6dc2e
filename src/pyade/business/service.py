"""The Apple School Manager and Apple Business API as a service: its headers, its lists and its logs."""

from __future__ import annotations

from datetime import datetime
from typing import TypeVar

import httpx

from pyade.apple.http.calls import Call
from pyade.apple.http.exchange import ACCEPT_ENCODING, HttpCall, HttpReply
from pyade.apple.http.service import RetryPolicy, Service
from pyade.business.account import BUSINESS_URL
from pyade.business.log import MAX_LOG_BYTES
from pyade.business.paging import Page, origin_of, warn_of_next_page
from pyade.business.refusals import api_refusal
from pyade.business.sessions import AccessTokens
from pyade.core.secret import Secret
from pyade.errors import AppleError, ResponseError
from pyade.flow import Flow, Now, ask

T = TypeVar("T")

MEDIA_TYPE = "application/json"
"""Exactly this: another ``Accept`` was answered with 406 (observed)."""


class BusinessApi(Service):
    """The Apple School Manager and Apple Business API.

    Args:
        source: Of its access tokens.
        base_url: With a trailing slash; None for that of the account.
        user_agent: Product and version.
        policy: Retries.
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
        """Where it is: what the caller chose, else that of the account; with a slash at the end."""
        account = self._tokens.account
        return str(self._base_url or f"{account.base_url if account else BUSINESS_URL}/")

    @property
    def addresses(self) -> tuple[str, ...]:
        """The API and its authorization server."""
        return self.base_url, self._tokens.server.url

    def read(self, call: Call[T], reply: HttpReply) -> T:
        """Return what a success says."""
        answer = super().read(call, reply)
        if isinstance(answer, Page):
            warn_of_next_page(call.operation, answer, origin_of(httpx.URL(self.base_url)))
        return answer

    def refusal(self, operation: str, reply: HttpReply, now: datetime, used: Secret) -> AppleError:
        """Return what a refusal means."""
        return api_refusal(operation, reply.status, reply.content, reply.headers, now=now, secrets=(used,))

    def download_flow(self, address: Secret) -> Flow[bytes]:
        """Fetch the log at *address*, which Apple signed beforehand: without an access token."""
        operation = "download the log of an activity"
        if not _is_safe(address, self.base_url):
            detail = "the address of the log is not one of https"
            raise ResponseError(operation, 200, "", detail, "look again")
        call = HttpCall(operation=operation, method="GET", url=address, max_bytes=MAX_LOG_BYTES)
        reply = yield from ask(call)
        if reply.is_success:
            return reply.content
        raise self.refusal(operation, reply, (yield from ask(Now())), address)


def _is_safe(address: Secret, base_url: str) -> bool:
    """Return True for https; plain HTTP is for a fake or a proxy on this machine."""
    try:
        url = httpx.URL(address.reveal())
    except httpx.InvalidURL:
        return False
    return bool(url.host) and (url.scheme == "https" or (url.scheme == "http" and _is_plain(base_url)))


def _is_plain(base_url: str) -> bool:
    return base_url.startswith("http:")
