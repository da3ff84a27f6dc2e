"""What the synchronous and the asynchronous client have in common: requests out, answers in."""

from __future__ import annotations

import random as random_module
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from importlib import metadata
from typing import Any

import attrs
import httpx

from pyade.apple.auth import SESSION_HEADER, SessionAuth, SessionCache, TokenProvider
from pyade.apple.bodies import ACCEPT_ENCODING, TooLargeError
from pyade.apple.calls import Call
from pyade.apple.flows import OPEN_SESSION
from pyade.apple.refusals import refusal, retry_after
from pyade.apple.responses import DevicePage
from pyade.apple.retries import Memory, RetryPolicy
from pyade.core.token import Token
from pyade.errors import InvalidRequestError, ResponseError, TransportError, UserAgentError

BASE_URL = "https://mdmenrollment.apple.com"
PROTOCOL_VERSION = 10
TIMEOUT = httpx.Timeout(60.0, connect=10.0)
MEDIA_TYPE = "application/json;charset=UTF8"
"""Written exactly like this: Apple takes it, and a simulator takes nothing else."""

_CONFIGURE = "configure the client"
# The words of a protocol error quote the line that broke it, which may be the header with the session.
_QUOTED_BYTES = re.compile(r":? *(?:bytearray\()?b['\"].*", re.DOTALL)
_NEVER_SENT = (
    httpx.ConnectError,
    httpx.ConnectTimeout,
    httpx.PoolTimeout,
    httpx.ProxyError,
    httpx.UnsupportedProtocol,
)


def utc_now() -> datetime:
    """Return the time, UTC."""
    return datetime.now(UTC)


def default_user_agent() -> str:
    """Return ``pyade/<version>``."""
    try:
        return f"pyade/{metadata.version('pyade-apple')}"
    except metadata.PackageNotFoundError:
        return "pyade/0"


jitter: Callable[[], float] = random_module.SystemRandom().random
"""Returns a number from 0 to below 1."""


@attrs.frozen(kw_only=True)
class Settings:
    """What both clients are made of, checked.

    Attributes:
        base_url: With a trailing slash, so that a path prefix survives.
        headers: Sent with every request.
        auth: Sessions.
        policy: Retries.
        memory: What was learned about the service.
        clock: Returns the time, UTC.
    """

    base_url: httpx.URL
    headers: Mapping[str, str]
    auth: SessionAuth
    policy: RetryPolicy
    memory: Memory
    clock: Callable[[], datetime]

    @classmethod
    def checked(
        cls,
        token: Token | TokenProvider,
        *,
        base_url: str,
        sessions: SessionCache | None,
        protocol_version: int,
        user_agent: str | None,
        retries: int,
        deadline_s: float,
        clock: Callable[[], datetime],
    ) -> Settings:
        """Return the settings of a client; the arguments are those of ``Client``."""
        agent = checked_user_agent(user_agent)
        if protocol_version < 1:
            detail = f"protocol_version {protocol_version}: 1 to {PROTOCOL_VERSION} is known"
            raise InvalidRequestError(_CONFIGURE, 0, "", detail, f"leave it out for {PROTOCOL_VERSION}")
        url = checked_url(base_url)
        headers = {
            "User-Agent": agent,
            "Accept": MEDIA_TYPE,
            "Accept-Encoding": ACCEPT_ENCODING,
            "Content-Type": MEDIA_TYPE,
            "X-Server-Protocol-Version": str(protocol_version),
        }
        cache, memory = sessions or SessionCache(), Memory()
        return cls(
            base_url=url,
            headers=headers,
            auth=SessionAuth(token, base_url=url, headers=headers, cache=cache, memory=memory, clock=clock),
            policy=RetryPolicy(retries=retries, deadline_s=deadline_s),
            memory=memory,
            clock=clock,
        )

    def request(self, build: Callable[..., httpx.Request], call: Call[Any]) -> httpx.Request:
        """Return the request of *call*, made with *build* of an httpx client.

        Raises:
            InvalidRequestError: A value cannot be sent at all.
        """
        try:
            return build(call.method, call.path, content=call.content, params=call.params)
        except (httpx.InvalidURL, TypeError, UnicodeEncodeError) as error:
            detail = f"a value cannot be sent: {error}"
        step = "check for values that are no text, are too long, or hold half a character"
        raise InvalidRequestError(call.operation, 0, "", detail, step)

    def body(self, call: Call[Any], response: httpx.Response) -> bytes:
        """Return the body of a success.

        Raises:
            AppleError: The response is a refusal.
        """
        if response.is_success:
            return response.content
        raise refusal(
            call.operation,
            response.status_code,
            response.content,
            retry_after_s=retry_after(response.headers.get("Retry-After"), self.clock()),
            token=self.auth.token,
            account=self.memory.account,
            # The session of the request may be another one than the newest: it was refused, or replaced.
            secrets=(*self.auth.secrets(), response.request.headers.get(SESSION_HEADER, "")),
        )

    def no_answer(
        self, call: Call[Any], request: httpx.Request, error: httpx.RequestError
    ) -> tuple[TransportError | ResponseError, httpx.RequestError | None]:
        """Return the error for a request that got no whole answer, and its cause if that may be shown."""
        try:
            is_own = error.request is request
        except RuntimeError:  # A token provider raised it without one.
            is_own = False
        operation = call.operation if is_own else OPEN_SESSION
        if isinstance(error, TooLargeError):
            return ResponseError(operation, error.status, "", str(error), "check base_url"), None
        return transport_failure(operation, self.base_url.host, error, may_have_acted=is_own)


def transport_failure(
    operation: str, host: str, error: httpx.RequestError, *, may_have_acted: bool
) -> tuple[TransportError, httpx.RequestError | None]:
    """Return the error for a request that got no answer, and its cause if that may be shown.

    Args:
        operation: What was asked.
        host: Who was asked.
        error: What httpx said.
        may_have_acted: False if it does no harm to ask again.
    """
    words = _QUOTED_BYTES.sub("", str(error))
    kind = type(error).__name__
    failure = TransportError(
        operation,
        f"{host}: {kind}: {words}" if words else f"{host}: {kind}",
        may_have_acted and not isinstance(error, _NEVER_SENT),
    )
    return failure, error if words == str(error) else None


def next_cursor(sent: str | None, page: DevicePage, operation: str) -> str | None:
    """Return the cursor of the page that follows *page*; None if it was the last one.

    Raises:
        ResponseError: Apple promised more and sent the cursor back that it was sent: asking again would
            never end.
    """
    if not page.more_to_follow:
        return None
    if page.cursor == sent:
        detail = "Apple promised more devices with the cursor that it was sent"
        step = "keep what came and go on later; if it stays so, discard the cursor and fetch the full list"
        raise ResponseError(operation, 200, "", detail, step)
    return page.cursor


def checked_user_agent(user_agent: str | None) -> str:
    """Return the ``User-Agent`` to send; None is ``pyade/<version>``.

    Raises:
        UserAgentError: It is empty or not printable.
    """
    agent = default_user_agent() if user_agent is None else user_agent.strip()
    if not re.fullmatch(r"[\x20-\x7e]+", agent):
        detail = f"user_agent {user_agent!r}: printable ASCII is allowed, not empty"
        raise UserAgentError(_CONFIGURE, 0, "", detail, "name your product, such as contoso-mdm/2.1")
    return agent


def checked_url(address: str, name: str = "base_url", default: str = BASE_URL) -> httpx.URL:
    """Return *address* with a trailing slash, so that a path prefix survives.

    Args:
        address: Such as ``https://mdmenrollment.apple.com``.
        name: Of the argument, for the error.
        default: What is used where the caller names none, for the error.

    Raises:
        InvalidRequestError: It is no address of a service.
    """
    try:
        url = httpx.URL(address)
        # Labels that are empty, too long or no IDNA are found here and not when it is resolved.
        url.raw_host.decode("ascii").encode("idna")
        _ = url.host
    except (httpx.InvalidURL, UnicodeError):
        url = httpx.URL("")
    # Not shown if it may hold a password.
    is_service = url.scheme in ("http", "https") and url.host and (url.port or 0) < 65536
    if not is_service or url.userinfo or url.query or url.fragment:
        shown = repr(address) if "@" not in address else "(not shown)"
        detail = f"{name} {shown}: http or https, a host and perhaps a path is allowed"
        raise InvalidRequestError(_CONFIGURE, 0, "", detail, f"leave it out for {default}")
    # Built anew in each case: "https://host" and "https://host/" must be the same key of a session cache.
    return url.copy_with(raw_path=url.raw_path.rstrip(b"/") + b"/")
