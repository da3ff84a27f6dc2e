"""How both clients of the Apple School Manager and Apple Business API are made."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

import httpx

from pyade.apple.http.connection import Connection, checked_url, checked_user_agent, jitter, utc_now
from pyade.apple.http.network import TIMEOUT
from pyade.apple.http.service import RetryPolicy
from pyade.business.account import AUDIENCE, BUSINESS_URL, TOKEN_URL, AccountProvider, ApiAccount
from pyade.business.activity_flows import Download
from pyade.business.service import BusinessApi
from pyade.business.sessions import AccessTokens, AuthorizationServer
from pyade.core.kinds import checks_kinds
from pyade.flow import Flow, Step

TransportT = TypeVar("TransportT")
WaitT = TypeVar("WaitT")


@checks_kinds(but=("retries", "deadline_s", "proxy", "verify", "limits", "timeout"))
class BusinessConnection(Connection[TransportT, WaitT]):
    """What both clients are made from."""

    def __init__(
        self,
        account: ApiAccount | AccountProvider,
        *,
        base_url: str | None = None,
        token_url: str = TOKEN_URL,
        audience: str = AUDIENCE,
        scope: str | None = None,
        transport: TransportT | None = None,
        proxy: str | httpx.URL | httpx.Proxy | None = None,
        verify: bool | str | Path | ssl.SSLContext = True,
        limits: httpx.Limits | None = None,
        http2: bool = False,
        user_agent: str | None = None,
        timeout: httpx.Timeout | float | None = TIMEOUT,
        retries: int = 3,
        deadline_s: float = 120.0,
        clock: Callable[[], datetime] = utc_now,
        sleep: Callable[[float], WaitT] | None = None,
        random: Callable[[], float] = jitter,
    ) -> None:
        """Take what the synchronous and the asynchronous class have in common.

        Args:
            account: The API account, or a callable that returns it; asked for each access token, so that a
                new key reaches a running client. The asynchronous class asks it in a thread, or awaits it.
            base_url: Of the service, of a proxy for it, or of a fake; None for that of the account.
            token_url: What is asked for access tokens.
            audience: What client assertions name as their reader, whatever ``token_url`` is.
            scope: ``business.api`` or ``school.api``; None for that of the account.
            transport: Any httpx transport; None for the network, with the following four.
            proxy: Address of a proxy; None for what ``HTTPS_PROXY`` and its like say. An address of this
                machine is asked without those.
            verify: The certificates to trust, a file or folder, or an ``ssl.SSLContext``, which may hold a
                client certificate, too; True for those of httpx, or of ``SSL_CERT_FILE``.
            limits: How many connections are open and kept; None for those of httpx.
            http2: True to offer HTTP/2, which needs ``httpx[http2]``.
            user_agent: Product and version; None for ``pyade/<version>``.
            timeout: Seconds without a connection or a byte of the answer, or httpx's own object; None for
                what is left of ``deadline_s``.
            retries: Tries after the first one, for calls that are safe to repeat.
            deadline_s: Seconds within which a call must end, with its access token, its tries and the last
                byte of its answer.
            clock: Returns the time, UTC.
            sleep: Waits a number of seconds, awaited by the asynchronous class; None waits on this
                machine's clock.
            random: Returns a number from 0 to below 1, for the jitter between tries.

        Raises:
            UserAgentError: ``user_agent`` is empty or not printable.
            InvalidRequestError: An argument, or a variable of the environment, cannot be used.
        """
        url = None if base_url is None else checked_url(base_url, "base_url", BUSINESS_URL)
        checked_url(token_url, "token_url", TOKEN_URL)
        server = AuthorizationServer(url=token_url, audience=audience, scope=scope)
        self._api = BusinessApi(
            AccessTokens(account, server),
            base_url=url,
            user_agent=checked_user_agent(user_agent),
            policy=RetryPolicy.checked(retries, deadline_s),
        )
        self._connect(
            self._api,
            transport=transport,
            timeout=timeout,
            network={"proxy": proxy, "verify": verify, "limits": limits, "http2": http2},
            clock=clock,
            sleep=sleep,
            random=random,
        )

    @property
    def _flows(self) -> dict[type[Step[Any]], Callable[[Any], Flow[Any]]]:
        return {**super()._flows, Download: lambda step: self._api.download_flow(step.address)}
