"""How both clients of the Apple School Manager and Apple Business API are made."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Generic, TypeVar

import httpx

from pyade.apple.connection import TIMEOUT, jitter, utc_now
from pyade.business.account import AUDIENCE, TOKEN_URL, AccountProvider, ApiAccount
from pyade.business.brain import Brain

TransportT = TypeVar("TransportT")
WaitT = TypeVar("WaitT")


class BusinessConnection(Generic[TransportT, WaitT]):
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
        user_agent: str | None = None,
        timeout: httpx.Timeout | float = TIMEOUT,
        retries: int = 3,
        deadline_s: float = 120.0,
        clock: Callable[[], datetime] = utc_now,
        sleep: Callable[[float], WaitT] | None = None,
        random: Callable[[], float] = jitter,
    ) -> None:
        """Take what the synchronous and the asynchronous class have in common.

        Args:
            account: The API account, or a callable that returns it; asked for each access token, so that a
                new key reaches a running client. For the asynchronous class, too, it is an ordinary callable,
                and is asked in a thread.
            base_url: Of the service, of a proxy for it, or of a fake; None for that of the account.
            token_url: What is asked for access tokens.
            audience: What client assertions name as their reader, whatever ``token_url`` is.
            scope: ``business.api`` or ``school.api``; None for that of the account.
            transport: Any httpx transport; None for the network.
            user_agent: Product and version; None for ``pyade/<version>``.
            timeout: Seconds without a connection or a byte of the answer; or httpx's own object.
            retries: Tries after the first one, for calls that are safe to repeat.
            deadline_s: Seconds from the start of a call within which its last try begins.
            clock: Returns the time, UTC.
            sleep: Waits a number of seconds, awaited by the asynchronous class; None waits on this
                machine's clock.
            random: Returns a number from 0 to below 1, for the jitter between tries.

        Raises:
            UserAgentError: ``user_agent`` is empty or not printable.
            InvalidRequestError: An address cannot be used.
        """
        self._brain = Brain.checked(
            account,
            base_url=base_url,
            token_url=token_url,
            audience=audience,
            scope=scope,
            user_agent=user_agent,
            retries=retries,
            deadline_s=deadline_s,
        )
        self._clock = clock
        self._sleep: Callable[[float], WaitT] | None = sleep
        self._random = random
        self._open(transport, timeout)

    def __repr__(self) -> str:
        return f"{type(self).__name__}(base_url={self._brain.base_url!r})"

    def _open(self, transport: TransportT | None, timeout: httpx.Timeout | float) -> None:
        raise NotImplementedError
