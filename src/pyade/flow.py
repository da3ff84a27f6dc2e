"""Flows, which hold the logic of sync and async once: they yield steps, and runners perform them.

A *flow* is a generator of *steps*. A step is a frozen object that states the type of its result:
``class FetchPage(Step[Page])`` returns a ``Page``. The flow never sends, waits, stores, reads a clock or
draws a random number. ``drive`` and ``drive_async`` run it; an error of a step is raised in the flow, which
decides whether to continue.

The rules of this file:

1. A runner is a table: for each type of step, the function that performs it. The common steps are built in if
   the runner was given what they need (a store, a clock, a way to wait); packages add their own.
2. A step that is not in the table raises ``TypeError``.
3. In ``AsyncRunner`` store calls, computations and plain hooks run in worker threads.
4. A result may be a secret: no frame of a runner holds it while the flow continues. The callers' hooks are
   called in their own module, ``hooks``.
"""

from __future__ import annotations

import base64
import inspect
import os
import uuid
from collections.abc import Awaitable, Callable, Generator, Mapping
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any, Generic, TypeAlias, TypeVar

import attrs

from pyade.core.arguments import TIME, check_returned
from pyade.core.secret import Secret, masked
from pyade.hooks import Hook, call, call_async
from pyade.loading import lazy_modules

if TYPE_CHECKING:
    from anyio import to_thread
else:
    lazy_modules(globals(), to_thread="anyio.to_thread")

T = TypeVar("T")
R = TypeVar("R")


class Step(Generic[T]):
    """A request of a flow to its runner; ``T`` is the type of the result."""

    __slots__ = ()


Flow: TypeAlias = Generator[Step[Any], Any, R]
"""A generator that yields steps, receives their results and returns ``R``."""

Handlers: TypeAlias = Mapping[type[Step[Any]], Callable[[Any], Any]]
"""For each type of step, the function that takes the step and returns its result."""


def ask(step: Step[T]) -> Flow[T]:
    """Yield *step* and return its result with its type.

    ``page = yield from ask(FetchPage(cursor))`` makes ``page`` a ``Page``.
    """
    result: T = yield step
    return result


# The common steps


@attrs.frozen
class Now(Step[datetime]):
    """Return the time, UTC."""


@attrs.frozen
class Wait(Step[None]):
    """Wait for *seconds*."""

    seconds: float


@attrs.frozen
class StoreCall(Step[T], Generic[T]):
    """Call *work* with the store and return its result; each store method is one transaction.

    Each package that has a store has a function ``in_store``, which knows the type of its store.
    """

    work: Callable[[Any], T]


@attrs.frozen
class Compute(Step[T], Generic[T]):
    """Call *work*, which is CPU-bound, and return its result."""

    work: Callable[[], T]


@attrs.frozen
class CallHook(Step[T], Generic[T]):
    """Call the caller's *hook* with *arguments* and return its result; a ``Secret`` is passed as text.

    *name* is the argument as which the hook was passed, for the log.
    """

    hook: Hook[T]
    arguments: tuple[Any, ...] = ()
    name: str = ""


@attrs.frozen
class ReportProgress(Step[None]):
    """Call the progress callback of the caller with *progress*, if there is one."""

    progress: object


@attrs.frozen
class NewId(Step[str]):
    """Return a new random UUID (version 4) as text in lower case."""


@attrs.frozen
class RandomBytes(Step[bytes]):
    """Return *size* random bytes that are suitable for secrets."""

    size: int


@attrs.frozen
class RandomText(Step[Secret]):
    """Return *size* random bytes as URL-safe text that is suitable for secrets."""

    size: int


@attrs.frozen
class RandomNumber(Step[float]):
    """Return a random number from 0 to below 1."""


# The runners


def drive(flow: Flow[R], perform: Callable[[Step[Any]], Any]) -> R:
    """Run *flow* to its end, each step through *perform*, and return what the flow returns."""
    try:
        step = next(flow)
        while True:
            try:
                results = [perform(step)]
            except Exception as exc:  # noqa: BLE001 - the flow decides, and raises what it does not catch
                step = flow.throw(exc)
            else:
                step = flow.send(results.pop())  # rule 4
    except StopIteration as stop:
        result: R = stop.value
        return result
    finally:
        flow.close()


async def drive_async(flow: Flow[R], perform: Callable[[Step[Any]], Awaitable[Any]]) -> R:
    """Run *flow* to its end as ``drive`` does, with an asynchronous *perform*."""
    try:
        step = next(flow)
        while True:
            try:
                results = [await perform(step)]
            except Exception as exc:  # noqa: BLE001 - the flow decides, and raises what it does not catch
                step = flow.throw(exc)
            else:
                step = flow.send(results.pop())  # rule 4
    except StopIteration as stop:
        result: R = stop.value
        return result
    finally:
        flow.close()


class _HandlerTable:
    """Base of both runners: the table of handlers, with the common steps built in."""

    def __init__(
        self,
        handlers: Handlers | None = None,
        *,
        store: object | None = None,
        clock: Callable[[], datetime] | None = None,
        sleep: Callable[[float], object] | None = None,
        progress: Callable[[Any], object] | None = None,
        chance: Callable[[int], bytes] = os.urandom,
        asynchronous: str = "the asynchronous class",
    ) -> None:
        """Make a runner.

        Args:
            handlers: Functions for the steps of a package, or in place of those of common steps.
            store: The argument of ``StoreCall.work``; None if no flow has a store.
            clock: Performs ``Now``; None if no flow needs the time. ``ArgumentError`` if it does not return a
                time with a time zone.
            sleep: Performs ``Wait``, awaited by ``AsyncRunner``; None if no flow waits.
            progress: Called for ``ReportProgress``; None ignores it.
            chance: Returns so many random bytes, for ``NewId`` and the steps with random results.
            asynchronous: The class that takes coroutine functions, for the error of ``Runner`` about one.
        """
        self._asynchronous = asynchronous
        table: dict[type[Step[Any]], Callable[[Any], Any]] = {
            Compute: lambda step: self._block(step.work),
            CallHook: lambda step: self._hook(step.name)(step.hook, *step.arguments),
            ReportProgress: lambda step: None if progress is None else progress(step.progress),
            NewId: lambda _: str(uuid.UUID(bytes=chance(16), version=4)),
            RandomBytes: lambda step: masked(chance(step.size)),
            RandomNumber: lambda _: int.from_bytes(chance(6), "big") / 2**48,
            RandomText: lambda step: _url_safe(chance(step.size)),
        }
        if store is not None:
            table[StoreCall] = lambda step: self._block(step.work, store)
        if clock is not None:
            table[Now] = lambda _: check_returned("clock", clock(), TIME)
        if sleep is not None:
            table[Wait] = lambda step: sleep(step.seconds)
        self._handlers: Handlers = {**table, **(handlers or {})}  # rule 1

    @property
    def steps(self) -> frozenset[type[Step[Any]]]:
        """The types of the steps that it performs."""
        return frozenset(self._handlers)

    def _handler_of(self, step: Step[Any]) -> Callable[[Any], Any]:
        handler = self._handlers.get(type(step))
        if handler is None:  # rule 2
            known = ", ".join(sorted(kind.__name__ for kind in self._handlers))
            raise TypeError(f"this {type(self).__name__} performs {known}, not {type(step).__name__}")
        return handler

    def _block(self, work: Callable[..., Any], *arguments: Any) -> Any:
        raise NotImplementedError

    def _hook(self, name: str) -> Callable[..., Any]:
        """Return the function that calls a hook passed as the argument *name*."""
        raise NotImplementedError


class Runner(_HandlerTable):
    """Performs steps in the calling thread; call it with one step, or ``run`` a flow."""

    def __call__(self, step: Step[T]) -> T:
        """Perform *step* and return its result.

        Raises:
            TypeError: This runner does not know such a step.
        """
        result: T = self._handler_of(step)(step)
        return result

    def run(self, flow: Flow[R]) -> R:
        """Run *flow* to its end and return what it returns."""
        return drive(flow, self)

    def _block(self, work: Callable[..., Any], *arguments: Any) -> Any:
        return work(*arguments)

    def _hook(self, name: str) -> Callable[..., Any]:
        return partial(call, name=name, asynchronous=self._asynchronous)


class AsyncRunner(_HandlerTable):
    """Performs steps as ``Runner`` does, on an event loop; an awaitable result is awaited."""

    async def __call__(self, step: Step[T]) -> T:
        """Perform *step* and return its result.

        Raises:
            TypeError: This runner does not know such a step.
        """
        returned: Any = self._handler_of(step)(step)
        result: T = await returned if inspect.isawaitable(returned) else returned
        return result

    async def run(self, flow: Flow[R]) -> R:
        """Run *flow* to its end and return what it returns."""
        return await drive_async(flow, self)

    def _block(self, work: Callable[..., Any], *arguments: Any) -> Any:
        return to_thread.run_sync(work, *arguments)  # rule 3

    def _hook(self, name: str) -> Callable[..., Any]:
        return partial(call_async, name=name)


def _url_safe(chance: bytes) -> Secret:
    return Secret(base64.urlsafe_b64encode(chance).rstrip(b"=").decode())


def utc_now() -> datetime:
    """Return the current time, UTC."""
    return datetime.now(UTC)


def clock_of(given: Callable[[], datetime] | None, *owners: object) -> Callable[[], datetime]:
    """Return the clock *given*, or None: that of the first of *owners* with one, else the real time.

    So one simulated clock, given to a client or a store, is used by all that works with it.

    Args:
        given: What the caller passed as ``clock``.
        owners: Clients and stores; those of pyade have an attribute ``clock``.
    """
    clocks = (given, *(getattr(owner, "clock", None) for owner in owners), utc_now)
    return next(clock for clock in clocks if clock is not None)
