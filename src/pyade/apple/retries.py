"""One call with its retries, as a flow.

Rules of this file:

1. A call is repeated where that cannot do more than sending it once: it only reads, or it never was carried
   out (no connection, no session, or 429, which Apple answers instead of acting). After a lost answer or 5xx
   a write is not repeated here; ``flows`` reads back first. 503 is no exception, ``Retry-After`` or not: a
   gateway may answer it for a server that has acted.
2. Apple's ``Retry-After`` wins over the back-off. A wait that would end after the deadline is not begun.
3. The back-off is exponential with full jitter, so that many clients do not come back together.
"""

from __future__ import annotations

import logging
from datetime import datetime
from typing import Any, TypeVar

import attrs
import msgspec

from pyade.apple.calls import Call
from pyade.apple.flows import OPEN_SESSION
from pyade.apple.refusals import bare_code, refusal
from pyade.apple.responses import Account
from pyade.errors import AppleError, RateLimitError, ResponseError, ServerError, TransportError
from pyade.flow import Flow, Now, RandomNumber, Step, Wait, ask

T = TypeVar("T")
log: logging.Logger = logging.getLogger(__name__)

DEFAULT_LIMIT = 1000
_FIRST_BACKOFF_S = 1.0
_MAX_BACKOFF_S = 30.0


@attrs.frozen
class SendOnce(Step[bytes]):
    """Send *call* once; answer with the body of a success, or raise what Apple or the transport said."""

    call: Call[Any]


@attrs.frozen(kw_only=True)
class RetryPolicy:
    """How long and how often a call is repeated.

    Attributes:
        retries: Tries after the first one.
        deadline_s: Seconds from the start of the call within which the last try begins.
    """

    retries: int
    deadline_s: float


@attrs.define
class Memory:
    """What a client learned about the service it talks to.

    Attributes:
        account: Of the last call that read it, for its page limits.
        fallbacks: Paths whose documented method was refused with 405, where the other one worked.
    """

    account: Account | None = None
    fallbacks: set[str] = attrs.field(factory=set)


def call_flow(call: Call[T], policy: RetryPolicy, memory: Memory) -> Flow[T]:
    """Send *call* until it succeeds or must not be repeated, and return what its answer decodes to.

    Raises:
        AppleError: Apple refused.
        TransportError: No answer came.
    """
    started = yield from ask(Now())
    call = _prepared(call, memory)
    tries, is_fallback = 0, False
    while True:
        try:
            content = yield from ask(SendOnce(call))
            break
        except (AppleError, TransportError) as error:
            if isinstance(error, AppleError) and error.code in call.by_code:
                return call.by_code[error.code]
            if isinstance(error, AppleError) and error.status == 405 and call.fallback_method:
                call, is_fallback = _fallback(call), True
                continue
            failure = error
        yield from _pause(failure, call, tries, policy, started)
        tries += 1
    if is_fallback:
        memory.fallbacks.add(call.path)
    answer = _decode(call, content)
    if isinstance(answer, Account):
        memory.account = answer
    return answer


def _pause(
    failure: AppleError | TransportError, call: Call[Any], tries: int, policy: RetryPolicy, started: datetime
) -> Flow[None]:
    """Wait before the next try, or raise *failure* if there must be none."""
    if tries >= policy.retries or not _is_repeatable(failure, call):
        raise failure
    if isinstance(failure, AppleError) and failure.retry_after_s is not None:
        seconds = failure.retry_after_s
    else:
        seconds = (yield from ask(RandomNumber())) * min(_MAX_BACKOFF_S, _FIRST_BACKOFF_S * 2.0**tries)
    now = yield from ask(Now())
    if (now - started).total_seconds() + seconds > policy.deadline_s:
        raise failure
    log.info("%s: %s, trying again in %.1f s", call.operation, type(failure).__name__, seconds)
    yield from ask(Wait(seconds))


def _is_repeatable(failure: AppleError | TransportError, call: Call[Any]) -> bool:
    if isinstance(failure, TransportError):
        return call.repeatable or not failure.effect_unknown
    if isinstance(failure, RateLimitError):
        return True
    return isinstance(failure, ServerError) and (call.repeatable or failure.operation == OPEN_SESSION)


def _fallback(call: Call[T]) -> Call[T]:
    return attrs.evolve(call, method=call.fallback_method or call.method, fallback_method=None)


def _prepared(call: Call[T], memory: Memory) -> Call[T]:
    """Return *call* with what the client learned: page limits and methods."""
    if call.path in memory.fallbacks and call.fallback_method:
        return _fallback(call)
    if not call.paged:
        return call
    url = memory.account.url(call.path) if memory.account else None
    maximum = (url and url.maximum_limit) or DEFAULT_LIMIT
    body = dict(call.json or {})
    limit = body.get("limit") or (url and url.default_limit) or maximum
    return attrs.evolve(call, json={**body, "limit": min(limit, maximum)})


def _decode(call: Call[T], content: bytes) -> T:
    code = bare_code(content)
    if code in call.by_code:
        return call.by_code[code]
    if code:
        # Seen with status 200: a code where the answer should be.
        raise refusal(call.operation, 200, content)
    try:
        return call.decode(content)
    except (ValueError, RecursionError) as error:
        # The words of msgspec name a place; those of others may quote the body, and are not chained either.
        reason = str(error) if isinstance(error, msgspec.MsgspecError) else type(error).__name__
        detail = f"the answer cannot be read: {reason}"
        raise ResponseError(call.operation, 200, "", detail, "check base_url") from None
