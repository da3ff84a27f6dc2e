"""What performs the steps of a service's flows: the two kinds of connection.

Rules of this file:

1. Nothing of httpx is raised or chained: its errors hold the request, and the request holds secrets.
2. Secrets are opened where the request is built, in a function that has returned when anything is raised.
3. One line of the log tells each exchange, without the query and, of an address that is itself a secret,
   without its path.
"""

from __future__ import annotations

import contextlib
import functools
import random as random_module
import re
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from datetime import UTC, datetime
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Any, Generic, Self, TypeVar, cast

import httpx

from pyade.apple.http.calls import OPEN_SESSION, Call, SendCall
from pyade.apple.http.deadlines import Limit, StopWorkError, hear_stop, pause
from pyade.apple.http.exchange import Body, HttpCall, HttpReply, unsendable
from pyade.apple.http.network import CONFIGURE, Network, checked_timeout, open_http
from pyade.apple.http.service import Service
from pyade.apple.http.sessions import Exclusive
from pyade.core.arguments import check_arguments
from pyade.core.secret import Secret
from pyade.errors import (
    ClientError,
    DeadlineError,
    InvalidRequestError,
    PyadeError,
    ResponseError,
    TransportError,
    UserAgentError,
)
from pyade.flow import AsyncRunner, Flow, RandomNumber, Runner, Step
from pyade.loading import modules_when_asked
from pyade.text import logger

if TYPE_CHECKING:
    from importlib import metadata

    import anyio
    from anyio import lowlevel

    from pyade.apple.http import watched
else:
    modules_when_asked(
        globals(),
        anyio="anyio",
        lowlevel="anyio.lowlevel",
        metadata="importlib.metadata",
        watched="pyade.apple.http.watched",
    )

T = TypeVar("T")
TransportT = TypeVar("TransportT")
WaitT = TypeVar("WaitT")

# Another thread or loop holds the lock of a session for one exchange with Apple; trying 50 times a second
# meanwhile needs no thread of its own, and a cancelled task leaves nothing behind.
_POLL_SECONDS = 0.02
# The words of a protocol error quote the line that broke it, which may be the header with the session.
_QUOTED_BYTES = re.compile(r":? *(?:bytearray\()?b['\"].*", re.DOTALL)
_MAX_WORDS = 500
# A redirect to what is no address is found by httpx, although nobody follows it.
_LOST = (httpx.RequestError, httpx.InvalidURL, OSError)
_NEVER_SENT = (
    httpx.ConnectError,
    httpx.ConnectTimeout,
    httpx.PoolTimeout,
    httpx.ProxyError,
    httpx.UnsupportedProtocol,
)

_log = logger(__name__)


def utc_now() -> datetime:
    """Return the time, UTC."""
    return datetime.now(UTC)


jitter: Callable[[], float] = random_module.SystemRandom().random
"""Returns a number from 0 to below 1."""


@functools.cache
def default_user_agent() -> str:
    """Return ``pyade/<version>``."""
    try:
        return f"pyade/{metadata.version('pyade-apple')}"
    except metadata.PackageNotFoundError:
        return "pyade/0"


def checked_user_agent(user_agent: str | None) -> str:
    """Return the ``User-Agent`` to send; None is ``pyade/<version>``.

    Raises:
        UserAgentError: It is empty or not printable.
    """
    agent = default_user_agent() if user_agent is None else user_agent.strip()
    if not re.fullmatch(r"[\x20-\x7e]+", agent):
        detail = f"user_agent {user_agent!r}: printable ASCII is allowed, not empty"
        raise UserAgentError(CONFIGURE, 0, "", detail, "name your product, such as contoso-mdm/2.1")
    return agent


def checked_url(address: str, name: str, default: str) -> httpx.URL:
    """Return *address* with a trailing slash, so that a path prefix survives.

    Args:
        address: Such as ``https://mdmenrollment.apple.com``.
        name: Of the argument, for the error.
        default: What is used where the caller names none, for the error.

    Raises:
        InvalidRequestError: It is no address of a service.
    """
    url = httpx.URL("")
    with contextlib.suppress(httpx.InvalidURL, UnicodeError, TypeError):
        read = httpx.URL(address)
        # Labels that are empty, too long or no IDNA are found here and not when it is resolved.
        read.raw_host.decode("ascii").encode("idna")
        _ = read.host
        url = read
    # Not shown if it may hold a password.
    is_service = url.scheme in ("http", "https") and url.host and (url.port or 0) < 65536
    if not is_service or url.userinfo or url.query or url.fragment:
        shown = repr(address) if "@" not in str(address) else "(not shown)"
        detail = f"{name} {shown}: http or https, a host and perhaps a path is allowed"
        raise InvalidRequestError(CONFIGURE, 0, "", detail, f"leave it out for {default}")
    # Built anew in each case: "https://host" and "https://host/" must be the same key of a session cache.
    return url.copy_with(raw_path=url.raw_path.rstrip(b"/") + b"/")


class Connection(Generic[TransportT, WaitT]):
    """What both kinds have in common; the arguments are those of the clients."""

    _service: Service

    def _connect(
        self,
        service: Service,
        *,
        transport: TransportT | None,
        timeout: httpx.Timeout | float | None,
        network: Network,
        clock: Callable[[], datetime],
        sleep: Callable[[float], WaitT] | None,
        random: Callable[[], float],
    ) -> None:
        self._service = service
        self._timeout = checked_timeout(timeout)
        self._clock = clock
        self._sleep: Callable[[float], WaitT] | None = sleep
        self._random = random
        self._is_own = transport is None
        self._open(
            addresses=service.addresses,
            headers=service.headers,
            transport=transport,
            network=network,
        )

    def __repr__(self) -> str:
        return f"{type(self).__name__}(base_url={self._service.base_url!r})"

    def _open(self, **options: Any) -> None:
        raise NotImplementedError

    def _limit(self) -> Limit:
        return Limit(self._service.policy.deadline_s)

    @property
    def _flows(self) -> dict[type[Step[Any]], Callable[[Any], Flow[Any]]]:
        """For each step that stands for a flow with a limit of its own, what returns that flow."""
        return {SendCall: lambda step: self._service.call_flow(step.call)}

    def _handlers(self, transmit: Any, exclusive: Any, run: Any) -> dict[type[Step[Any]], Any]:
        return {
            HttpCall: transmit,
            Exclusive: exclusive,
            RandomNumber: lambda _: self._random(),
            **{kind: partial(run, flow_of) for kind, flow_of in self._flows.items()},
        }

    def _request(self, step: HttpCall, limit: Limit, build: Callable[..., httpx.Request]) -> httpx.Request:
        address = step.url.reveal() if isinstance(step.url, Secret) else step.url
        url = httpx.URL(self._service.base_url.rstrip("/") + address if address.startswith("/") else address)
        headers = {
            name: value.reveal() if isinstance(value, Secret) else value
            for name, value in step.headers.items()
        }
        content = step.content.reveal().encode() if isinstance(step.content, Secret) else step.content
        timeout = httpx.Timeout(
            **{kind: limit.within(seconds) for kind, seconds in self._timeout.as_dict().items()}
        )
        return build(step.method, url, headers=headers, content=content, timeout=timeout)

    def _built(
        self, step: HttpCall, limit: Limit, build: Callable[..., httpx.Request]
    ) -> httpx.Request | InvalidRequestError:
        """Return the request of *step*, or the error if a value cannot be sent at all."""
        try:
            return self._request(step, limit, build)
        except (httpx.InvalidURL, TypeError, ValueError) as error:
            return unsendable(step.operation, error)

    def _lost(self, step: HttpCall, error: Exception) -> TransportError:
        """Return the error for a request that got no whole answer; asyncio's TLS raises its own."""
        told = _QUOTED_BYTES.sub("", str(error)[:_MAX_WORDS])
        words = f"{self._host(step)}: {type(error).__name__}" + (f": {told}" if told else "")
        return TransportError(step.operation, words, step.may_act and not isinstance(error, _NEVER_SENT))

    def _late(self, step: HttpCall, limit: Limit, *, was_sent: bool = True) -> DeadlineError:
        """Return the error for a call whose time is over."""
        words = f"{self._host(step)}: no whole answer within {limit.seconds:g} seconds"
        return DeadlineError(step.operation, words, step.may_act and was_sent)

    def _host(self, step: HttpCall) -> str:
        return _host_of(step.url, self._service.base_url).host

    def _tell(self, step: HttpCall, reply: HttpReply) -> HttpReply:
        is_path = isinstance(step.url, str) and step.url.startswith("/")
        base = _host_of(step.url, self._service.base_url)
        place = str(base).rstrip("/") + (str(step.url).partition("?")[0] if is_path else "")
        _log.info(
            "%s: %s %s: %d, %d bytes", step.operation, step.method, place, reply.status, len(reply.content)
        )
        return reply

    def _closed(self) -> ClientError:
        return ClientError(f"{type(self).__name__} is closed", "make a new one")


@check_arguments
class SyncConnection(Connection[httpx.BaseTransport, object]):
    """Performs the steps of a service's flows, in the calling thread."""

    def _open(self, **options: Any) -> None:
        self._http = open_http(httpx.Client, **options)
        if self._is_own:
            watched.watch(self._http)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def call(self, call: Call[T]) -> T:
        """Send *call*, with a session and with retries, and return its answer."""
        return self.drive(self._service.call_flow(call))

    def drive(self, flow: Flow[T]) -> T:
        """Run a flow that yields ``SendCall`` and common steps, and return its result."""
        return self._runner.run(flow)

    @property
    def _runner(self) -> Runner:
        return self._within(self._limit())

    def _within(self, limit: Limit) -> Runner:
        handlers = self._handlers(
            partial(self._transmit, limit),
            partial(self._exclusive, limit),
            lambda flow_of, step: self.drive(flow_of(step)),
        )
        return Runner(handlers, clock=self._clock, sleep=self._sleep or pause)

    def _exclusive(self, limit: Limit, step: Exclusive) -> Secret:
        while step.session.lock.locked():
            if limit.remaining <= 0:
                raise _no_session(limit)
            pause(_POLL_SECONDS)
        # A with statement, since Ctrl-C between acquire() and try would leave the lock held.
        with step.session.lock:
            return self._within(limit).run(step.flow)

    def _transmit(self, limit: Limit, step: HttpCall) -> HttpReply:
        hear_stop()
        answer = self._sent(step, limit) if limit.remaining > 0 else self._late(step, limit, was_sent=False)
        if isinstance(answer, HttpReply):
            return self._tell(step, answer)
        if limit.is_stopped:
            raise StopWorkError
        raise answer

    def _sent(self, step: HttpCall, limit: Limit) -> HttpReply | PyadeError:
        request = self._built(step, limit, self._http.build_request)
        if isinstance(request, PyadeError) or self._http.is_closed:
            return request if isinstance(request, PyadeError) else self._closed()
        try:
            with limit.watched(), contextlib.closing(self._http.send(request, stream=True)) as response:
                body = Body(step, response)
                for part in _parts(response):
                    if not body.take(part):
                        break
                    if limit.remaining <= 0:
                        return self._late(step, limit)
                return HttpReply(status=response.status_code, headers=response.headers, content=body.end())
        except _LOST as error:
            is_late = limit.remaining <= 0 and not isinstance(error, _NEVER_SENT)
            return self._late(step, limit) if is_late else self._lost(step, error)
        except ResponseError as error:
            return error


@check_arguments
class AsyncConnection(Connection[httpx.AsyncBaseTransport, Awaitable[object]]):
    """Performs the steps of a service's flows on an event loop, asyncio's or trio's."""

    def _open(self, **options: Any) -> None:
        self._http = open_http(httpx.AsyncClient, **options)
        self._turn: anyio.Lock | None = None
        self._loop: object = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def call(self, call: Call[T]) -> T:
        """Send *call*, with a session and with retries, and return its answer."""
        return await self.drive(self._service.call_flow(call))

    async def drive(self, flow: Flow[T]) -> T:
        """Run a flow that yields ``SendCall`` and common steps, and return its result."""
        return await self._runner.run(flow)

    @property
    def _runner(self) -> AsyncRunner:
        return self._within(self._limit())

    def _within(self, limit: Limit) -> AsyncRunner:
        handlers = self._handlers(
            partial(self._transmit, limit),
            partial(self._exclusive, limit),
            lambda flow_of, step: self.drive(flow_of(step)),
        )
        return AsyncRunner(handlers, clock=self._clock, sleep=self._sleep or anyio.sleep)

    async def _exclusive(self, limit: Limit, step: Exclusive) -> Secret:
        # One task of this client tries for the lock, the others wait for that task.
        turn = self._turn = self._turn or anyio.Lock()
        with anyio.move_on_after(limit.within(None)) as scope:
            await turn.acquire()
        if scope.cancelled_caught:
            raise _no_session(limit)
        try:
            while not step.session.lock.acquire(blocking=False):
                if limit.remaining <= 0:
                    raise _no_session(limit)
                await anyio.sleep(_POLL_SECONDS)
            try:
                return await self._within(limit).run(step.flow)
            finally:
                step.session.lock.release()
        finally:
            turn.release()

    async def _transmit(self, limit: Limit, step: HttpCall) -> HttpReply:
        is_late = limit.remaining <= 0
        answer = self._late(step, limit, was_sent=False) if is_late else await self._sent(step, limit)
        if isinstance(answer, HttpReply):
            return self._tell(step, answer)
        raise answer

    async def _sent(self, step: HttpCall, limit: Limit) -> HttpReply | PyadeError:
        request = self._built(step, limit, self._http.build_request)
        if isinstance(request, PyadeError) or self._http.is_closed:
            return request if isinstance(request, PyadeError) else self._closed()
        if (stranger := self._other_loop()) is not None:
            return stranger
        try:
            with anyio.move_on_after(limit.within(None)):
                async with (
                    contextlib.aclosing(await self._http.send(request, stream=True)) as response,
                    contextlib.aclosing(_parts_async(response)) as parts,
                ):
                    body = Body(step, response)
                    async for part in parts:
                        if not body.take(part):
                            break
                    status, headers = response.status_code, response.headers
                    return HttpReply(status=status, headers=headers, content=body.end())
        except _LOST as error:
            return self._lost(step, error)
        except ResponseError as error:
            return error
        return self._late(step, limit)

    def _other_loop(self) -> ClientError | None:
        """Return the error if another event loop made the connections that are kept here."""
        loop = lowlevel.current_token()
        if self._is_own and self._loop not in (None, loop):
            name = type(self).__name__
            return ClientError(f"this {name} was used in another event loop", "make one for each event loop")
        self._loop = loop
        return None


def _parts(response: httpx.Response) -> Generator[bytes, None, None]:
    """Yield the bytes of an answer as they come; all at once where httpx has read them."""
    if response.is_stream_consumed:
        yield response.content
    else:
        yield from response.iter_raw()


async def _parts_async(response: httpx.Response) -> AsyncGenerator[bytes, None]:
    if response.is_stream_consumed:
        yield response.content
        return
    raw = response.aiter_raw()
    # httpx annotates its generator as an iterator, which cannot be closed.
    async with contextlib.aclosing(cast("AsyncGenerator[bytes, None]", raw)):
        async for part in raw:
            yield part


def _no_session(limit: Limit) -> DeadlineError:
    words = f"no session within {limit.seconds:g} seconds, for which another call asks"
    return DeadlineError(OPEN_SESSION, words, False)


def _host_of(address: str | Secret, base_url: str) -> httpx.URL:
    """Return the address of the host that is asked, without path and query."""
    text = address.reveal() if isinstance(address, Secret) else address
    with contextlib.suppress(httpx.InvalidURL):
        return httpx.URL(base_url if text.startswith("/") else text).copy_with(raw_path=b"/", fragment=None)
    return httpx.URL("")
