"""One call with its retries, as a flow, for any of Apple's services.

The rules of this file:

1. A call is repeated only if that has no further effect: it only reads, or it was never carried out (no
   connection, no session, or 429, with which Apple refuses to act). After a lost response or 5xx a write is
   not repeated here; ``batches`` reads back first. 503 is no exception, with or without ``Retry-After``: a
   gateway may send it for a server that has acted.
2. Apple's ``Retry-After`` takes precedence over the back-off. A wait that would end after the deadline is not
   started.
3. The back-off is exponential with full jitter, so that many clients do not retry at the same time.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any, Self, TypeVar

import attrs
import httpx

from pyade.apple.http.calls import OPEN_SESSION, Call
from pyade.apple.http.exchange import HttpCall, HttpReply, unsendable
from pyade.apple.http.network import CONFIGURE
from pyade.apple.http.sessions import SessionSource, exchange_flow
from pyade.core.secret import Secret
from pyade.errors import (
    AppleError,
    CertificateError,
    DeadlineError,
    InvalidRequestError,
    RateLimitError,
    ResponseError,
    ServerError,
    TransportError,
)
from pyade.flow import Flow, Now, RandomNumber, Wait, ask
from pyade.loading import lazy_modules
from pyade.text import logger

if TYPE_CHECKING:
    import msgspec
else:
    lazy_modules(globals(), msgspec="msgspec")

T = TypeVar("T")

_FIRST_BACKOFF_S = 1.0
_MAX_BACKOFF_S = 30.0

_log = logger(__name__)


@attrs.frozen(kw_only=True)
class RetryPolicy:
    """How long and how often a call is repeated.

    Attributes:
        retries: Tries after the first one.
        deadline_s: Seconds from its start within which the call must end.
    """

    retries: int
    deadline_s: float

    @classmethod
    def checked(cls, retries: object, deadline_s: object) -> Self:
        """Return the policy of a client's arguments.

        Raises:
            InvalidRequestError: *retries* is no int of 0 or more, or *deadline_s* no number above 0 and
                below 1e9.
        """
        if not isinstance(retries, int) or isinstance(retries, bool) or retries < 0:
            detail = f"retries={retries!r}: 0 or more is allowed"
            raise InvalidRequestError(CONFIGURE, 0, "", detail, "leave it out for 3")
        if isinstance(deadline_s, int | float) and not isinstance(deadline_s, bool) and 0 < deadline_s < 1e9:
            return cls(retries=retries, deadline_s=float(deadline_s))
        detail = f"deadline_s={deadline_s!r}: seconds above 0 are allowed"
        raise InvalidRequestError(CONFIGURE, 0, "", detail, "leave it out")


class Service:
    """One of Apple's services: a client without its network.

    A subclass defines what differs between services: how a call is prepared, how its response is read, and
    what an error response means.

    Args:
        source: Where its sessions come from.
        headers: Sent with every request.
        media_type: ``Content-Type`` of the bodies that are sent.
        policy: Retries and deadline.
    """

    def __init__(
        self, source: SessionSource, *, headers: Mapping[str, str], media_type: str, policy: RetryPolicy
    ) -> None:
        self._source = source
        self._media_type = media_type
        self._fallbacks: set[str] = set()
        self.headers: Mapping[str, str] = headers
        self.policy: RetryPolicy = policy

    @property
    def base_url(self) -> str:
        """The address of the service, with a trailing slash, so that a path prefix is kept."""
        raise NotImplementedError

    @property
    def addresses(self) -> tuple[str, ...]:
        """The addresses that the service uses, as far as they are known in advance."""
        return (self.base_url,)

    def prepared(self, call: Call[T]) -> Call[T]:
        """Return *call* with what is known about the service, such as its page limit."""
        return call

    def error_of(self, operation: str, reply: HttpReply, now: datetime, used: Secret) -> AppleError:
        """Return the error for an error response, without the session that was *used* for the request."""
        raise NotImplementedError

    def read(self, call: Call[T], reply: HttpReply) -> T:
        """Return the decoded response of a success."""
        return call.decode(reply.content)

    def call_flow(self, call: Call[T]) -> Flow[T]:
        """Send *call* until it succeeds or must not be repeated, and return its decoded response.

        Raises:
            AppleError: Apple refused.
            TransportError: No complete response arrived.
        """
        started = yield from ask(Now())
        call = self.prepared(call)
        is_fallback = call.path in self._fallbacks and call.fallback_method is not None
        call = _fallback(call) if is_fallback else call
        tries = 0
        while True:
            try:
                reply = yield from self._send(call)
                break
            except (AppleError, TransportError) as error:
                if isinstance(error, AppleError) and error.code in call.by_code:
                    return call.by_code[error.code]
                if isinstance(error, AppleError) and error.status == 405 and call.fallback_method:
                    call, is_fallback = _fallback(call), True
                    continue
                failure = error
            yield from self._pause(failure, call, tries, started)
            tries += 1
        if is_fallback:
            self._fallbacks.add(call.path)
        return self._decoded(call, reply)

    def _send(self, call: Call[Any]) -> Flow[HttpReply]:
        reply, used = yield from exchange_flow(self._source, self._request(call))
        if reply.is_success:
            return reply
        raise self.error_of(call.operation, reply, (yield from ask(Now())), used)

    def _request(self, call: Call[Any]) -> HttpCall:
        if not call.path.startswith("/"):
            detail = f"path {call.path!r}: a path with a leading slash is allowed"
            step = "leave the host out: it would receive the session"
            raise InvalidRequestError(call.operation, 0, "", detail, step)
        content, url, refused = None, "", None
        try:
            # Without params, httpx would drop the query that the path has.
            url = str(httpx.URL(call.path, params=call.params) if call.params else httpx.URL(call.path))
            content = call.content
        except (httpx.InvalidURL, TypeError, ValueError) as error:
            refused = unsendable(call.operation, error)
        if refused is not None:
            raise refused
        return HttpCall(
            operation=call.operation,
            method=call.method,
            url=url,
            headers={} if content is None else {"Content-Type": self._media_type},
            content=content,
            max_bytes=call.max_bytes,
        )

    def _pause(
        self, failure: AppleError | TransportError, call: Call[Any], tries: int, started: datetime
    ) -> Flow[None]:
        """Wait before the next try, or raise *failure* if no further try is allowed."""
        if tries >= self.policy.retries or not _is_repeatable(failure, call):  # rule 1
            raise failure
        if isinstance(failure, AppleError) and failure.retry_after_s is not None:  # rule 2
            seconds = failure.retry_after_s
        else:
            # The exponent is limited: 2.0 to a power above 1023 raises OverflowError.
            longest = min(_MAX_BACKOFF_S, _FIRST_BACKOFF_S * 2.0 ** min(tries, 10))
            seconds = (yield from ask(RandomNumber())) * longest  # rule 3
        now = yield from ask(Now())
        if (now - started).total_seconds() + seconds > self.policy.deadline_s:  # rule 2
            raise failure
        _log.info("%s: %s, trying again in %.1f s", call.operation, type(failure).__name__, seconds)
        yield from ask(Wait(seconds))

    def _decoded(self, call: Call[T], reply: HttpReply) -> T:
        # Raised outside the except block: no frame of its traceback holds the body, which may hold secrets.
        try:
            return self.read(call, reply)
        except (ValueError, RecursionError) as error:
            # Messages of msgspec name a position; those of other errors may quote the body.
            reason = str(error) if isinstance(error, msgspec.MsgspecError) else type(error).__name__
        detail = f"the response cannot be read: {reason}"
        raise ResponseError(call.operation, 200, "", detail, "check base_url")


def _is_repeatable(failure: AppleError | TransportError, call: Call[Any]) -> bool:
    if isinstance(failure, CertificateError | DeadlineError):
        return False
    if isinstance(failure, TransportError):
        return call.repeatable or not failure.effect_unknown
    if isinstance(failure, RateLimitError):
        return True
    return isinstance(failure, ServerError) and (call.repeatable or failure.operation == OPEN_SESSION)


def _fallback(call: Call[T]) -> Call[T]:
    return attrs.evolve(call, method=call.fallback_method or call.method, fallback_method=None)
