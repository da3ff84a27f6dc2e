"""The synchronous and the asynchronous connection, which run the flows of a service over httpx.

The rules of this file:

1. No error of httpx is raised or chained: it holds the request, and the request holds secrets.
2. Secrets are revealed only in the function that builds the request, which has returned before anything is
   raised.
3. Each exchange is logged in one line, without the query; of a secret URL only the host is logged.
"""

from __future__ import annotations

import contextlib
import functools
import random as random_module
import re
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from datetime import datetime
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Any, Generic, Self, TypeVar, cast

import httpx

from pyade.apple.http.calls import OPEN_SESSION, Call, SendCall
from pyade.apple.http.deadlines import Limit, StopWorkError, check_stop, pause
from pyade.apple.http.exchange import Body, HttpCall, HttpReply, unsendable
from pyade.apple.http.network import CONFIGURE, Network, lost_connection, open_http, validate_timeout
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
from pyade.loading import lazy_modules
from pyade.text import logger

if TYPE_CHECKING:
    from importlib import metadata

    import anyio
    from anyio import lowlevel

    from pyade.apple.http import watched
else:
    lazy_modules(
        globals(),
        anyio="anyio",
        lowlevel="anyio.lowlevel",
        metadata="importlib.metadata",
        watched="pyade.apple.http.watched",
    )

T = TypeVar("T")
TransportT = TypeVar("TransportT")
WaitT = TypeVar("WaitT")

# Another thread or loop holds the lock of a session for one exchange with Apple. Polling it 50 times a second
# needs no extra thread, and a cancelled task leaves nothing behind.
_POLL_SECONDS = 0.02
# The message of a protocol error quotes the invalid line, which may be the header with the session.
_QUOTED_BYTES = re.compile(r":? *(?:bytearray\()?b['\"].*", re.DOTALL)
_MAX_MESSAGE = 500
# httpx raises InvalidURL for a redirect to an invalid address, even if redirects are not followed.
_LOST = (httpx.RequestError, httpx.InvalidURL, OSError)
_NEVER_SENT = (
    httpx.ConnectError,
    httpx.ConnectTimeout,
    httpx.PoolTimeout,
    httpx.ProxyError,
    httpx.UnsupportedProtocol,
)

_log = logger(__name__)


jitter: Callable[[], float] = random_module.SystemRandom().random
"""Returns a number from 0 to below 1."""


@functools.cache
def default_user_agent() -> str:
    """Return ``pyade/<version>``."""
    try:
        return f"pyade/{metadata.version('pyade-apple')}"
    except metadata.PackageNotFoundError:
        return "pyade/0"


def validate_user_agent(user_agent: str | None) -> str:
    """Return the ``User-Agent`` to send; None is ``pyade/<version>``.

    Raises:
        UserAgentError: It is empty or not printable.
    """
    agent = default_user_agent() if user_agent is None else user_agent.strip()
    if not re.fullmatch(r"[\x20-\x7e]+", agent):
        detail = f"user_agent {user_agent!r}: printable ASCII is allowed, not empty"
        raise UserAgentError(CONFIGURE, 0, "", detail, "name your product, such as contoso-mdm/2.1")
    return agent


def validate_url(address: str, name: str, default: str) -> httpx.URL:
    """Return *address* with a trailing slash, so that a path prefix survives.

    Args:
        address: Such as ``https://mdmenrollment.apple.com``.
        name: Name of the argument, for the error.
        default: Default of the argument, for the error.

    Raises:
        InvalidRequestError: *address* is not an ``http`` or ``https`` URL of host, optional port and path.
    """
    url = httpx.URL("")
    with contextlib.suppress(httpx.InvalidURL, UnicodeError, TypeError):
        read = httpx.URL(address)
        # Finds labels that are empty, too long or no IDNA before the name is resolved.
        read.raw_host.decode("ascii").encode("idna")
        _ = read.host
        url = read
    # Not shown if it may hold a password.
    is_service = url.scheme in ("http", "https") and url.host and (url.port or 0) < 65536
    if not is_service or url.userinfo or url.query or url.fragment:
        shown = repr(address) if "@" not in str(address) else "(not shown)"
        detail = f"{name} {shown}: http or https with a host and an optional path is allowed"
        raise InvalidRequestError(CONFIGURE, 0, "", detail, f"leave it out for {default}")
    # Always rebuilt: "https://host" and "https://host/" must be the same key of a session cache.
    return url.copy_with(raw_path=url.raw_path.rstrip(b"/") + b"/")


class Connection(Generic[TransportT, WaitT]):
    """Base of both connections; the arguments are those of the clients."""

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
        self._timeout = validate_timeout(timeout)
        self.clock: Callable[[], datetime] = clock
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
        """The types of steps that run as a flow with its own time limit, each with what returns the flow."""
        return {SendCall: lambda step: self._service.call_flow(step.call)}

    def _handlers(self, transmit: Any, exclusive: Any, run: Any) -> dict[type[Step[Any]], Any]:
        return {
            HttpCall: transmit,
            Exclusive: exclusive,
            RandomNumber: lambda _: self._random(),
            **{kind: partial(run, flow_of) for kind, flow_of in self._flows.items()},
        }

    def _build_request(
        self, step: HttpCall, limit: Limit, build: Callable[..., httpx.Request]
    ) -> httpx.Request:
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

    def _try_build(
        self, step: HttpCall, limit: Limit, build: Callable[..., httpx.Request]
    ) -> httpx.Request | InvalidRequestError:
        """Return the request of *step*, or the error if a value cannot be sent."""
        try:
            return self._build_request(step, limit, build)  # rule 2
        except (httpx.InvalidURL, TypeError, ValueError) as error:
            return unsendable(step.operation, error)

    def _lost(self, step: HttpCall, error: Exception) -> TransportError:
        """Return the error for a request without a complete response, from httpx or asyncio TLS (rule 1)."""
        message = _QUOTED_BYTES.sub("", str(error)[:_MAX_MESSAGE])
        text = f"{self._host(step)}: {type(error).__name__}" + (f": {message}" if message else "")
        unknown = step.may_act and not isinstance(error, _NEVER_SENT)
        return lost_connection(step.operation, text, error, effect_unknown=unknown)

    def _late(self, step: HttpCall, limit: Limit, *, was_sent: bool = True) -> DeadlineError:
        """Return the error for a call whose time is over."""
        text = f"{self._host(step)}: no complete response within {limit.seconds:g} seconds"
        return DeadlineError(step.operation, text, step.may_act and was_sent)

    def _host(self, step: HttpCall) -> str:
        return _host_of(step.url, self._service.base_url).host

    def _log_exchange(self, step: HttpCall, reply: HttpReply) -> HttpReply:
        is_path = isinstance(step.url, str) and step.url.startswith("/")
        base = _host_of(step.url, self._service.base_url)
        place = str(base).rstrip("/") + (str(step.url).partition("?")[0] if is_path else "")  # rule 3
        _log.info(
            "%s: %s %s: %d, %d bytes", step.operation, step.method, place, reply.status, len(reply.content)
        )
        return reply

    def _closed(self) -> ClientError:
        return ClientError(f"{type(self).__name__} is closed", "make a new one")


@check_arguments
class SyncConnection(Connection[httpx.BaseTransport, object]):
    """Runs the flows of a service in the calling thread."""

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
        """Send *call* with a session and retries, and return its decoded response."""
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
        return Runner(handlers, clock=self.clock, sleep=self._sleep or pause)

    def _exclusive(self, limit: Limit, step: Exclusive) -> Secret:
        while step.session.lock.locked():
            if limit.remaining <= 0:
                raise _no_session(limit)
            pause(_POLL_SECONDS)
        # A with statement, since Ctrl-C between acquire() and try would leave the lock locked.
        with step.session.lock:
            return self._within(limit).run(step.flow)

    def _transmit(self, limit: Limit, step: HttpCall) -> HttpReply:
        check_stop()
        reply = self._send(step, limit) if limit.remaining > 0 else self._late(step, limit, was_sent=False)
        if isinstance(reply, HttpReply):
            return self._log_exchange(step, reply)
        if limit.is_stopped:
            raise StopWorkError
        raise reply

    def _send(self, step: HttpCall, limit: Limit) -> HttpReply | PyadeError:
        request = self._try_build(step, limit, self._http.build_request)
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
    """Runs the flows of a service on an event loop, of asyncio or trio."""

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
        """Send *call* with a session and retries, and return its decoded response."""
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
        return AsyncRunner(handlers, clock=self.clock, sleep=self._sleep or anyio.sleep)

    async def _exclusive(self, limit: Limit, step: Exclusive) -> Secret:
        # One task of this client polls the lock, the others wait for that task.
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
        reply = self._late(step, limit, was_sent=False) if is_late else await self._send(step, limit)
        if isinstance(reply, HttpReply):
            return self._log_exchange(step, reply)
        raise reply

    async def _send(self, step: HttpCall, limit: Limit) -> HttpReply | PyadeError:
        request = self._try_build(step, limit, self._http.build_request)
        if isinstance(request, PyadeError) or self._http.is_closed:
            return request if isinstance(request, PyadeError) else self._closed()
        if (wrong_loop := self._check_loop()) is not None:
            return wrong_loop
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

    def _check_loop(self) -> ClientError | None:
        """Return the error if the open connections belong to another event loop; else None."""
        loop = lowlevel.current_token()
        if self._is_own and self._loop not in (None, loop):
            name = type(self).__name__
            return ClientError(f"this {name} was used in another event loop", "make one for each event loop")
        self._loop = loop
        return None


def _parts(response: httpx.Response) -> Generator[bytes, None, None]:
    """Yield the raw bytes of a response as they arrive; the decoded body if httpx has read it."""
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
    text = f"no session within {limit.seconds:g} seconds, another call is requesting it"
    return DeadlineError(OPEN_SESSION, text, False)


def _host_of(address: str | Secret, base_url: str) -> httpx.URL:
    """Return the URL of the host of *address*, without path and query."""
    text = address.reveal() if isinstance(address, Secret) else address
    with contextlib.suppress(httpx.InvalidURL):
        return httpx.URL(base_url if text.startswith("/") else text).copy_with(raw_path=b"/", fragment=None)
    return httpx.URL("")
