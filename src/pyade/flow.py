"""One brain for sync and async: flows yield steps, runners perform them.

A *flow* is a generator of *steps*. A step is a frozen object that names its answer:
``class FetchPage(Step[Page])`` is answered with a ``Page``. The flow never sends, waits, stores, reads a
clock or draws a random number. ``drive`` and ``drive_async`` run it; an error of a step is thrown into the
flow, which alone decides whether to go on.

The rules of this file:

1. A runner is a table: for each type of step, the function that performs it. The common steps are built in as
   far as the runner was given what they need (a store, a clock, a way to wait); a room adds those of its own.
2. A step that is not in the table is a ``TypeError``, never an answer.
3. In ``AsyncRunner`` the store, computing and plain hooks work in worker threads.
4. An answer may be a secret: no frame of a runner holds it while the flow goes on. The callers' hooks have a
   file of their own, ``hooks``.
"""

from __future__ import annotations

import base64
import inspect
import os
import uuid
from collections.abc import Awaitable, Callable, Generator, Mapping
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Any, Generic, TypeAlias, TypeVar

import attrs

from pyade.core.arguments import TIME, check_returned
from pyade.core.secret import Secret, masked
from pyade.hooks import Hook as Hook  # noqa: PLC0414 - others have it from here
from pyade.hooks import call, call_async
from pyade.loading import modules_when_asked

if TYPE_CHECKING:
    from anyio import to_thread
else:
    modules_when_asked(globals(), to_thread="anyio.to_thread")

T = TypeVar("T")
R = TypeVar("R")


class Step(Generic[T]):
    """Something that a flow wants done; ``T`` is what it gets back."""

    __slots__ = ()


Flow: TypeAlias = Generator[Step[Any], Any, R]
"""A generator that yields steps, receives their answers and returns ``R``."""

Handlers: TypeAlias = Mapping[type[Step[Any]], Callable[[Any], Any]]
"""For each type of step, the function that takes the step and returns its answer."""


def ask(step: Step[T]) -> Flow[T]:
    """Yield *step* and return its answer with its type.

    ``page = yield from ask(FetchPage(cursor))`` makes ``page`` a ``Page``.
    """
    answer: T = yield step
    return answer


# The common steps


@attrs.frozen
class Now(Step[datetime]):
    """Answer with the time, UTC."""


@attrs.frozen
class Wait(Step[None]):
    """Wait for *seconds*."""

    seconds: float


@attrs.frozen
class StoreCall(Step[T], Generic[T]):
    """Answer with what *work* returns for the store: one transaction of its own per call of the store.

    Each room that has a store has a function ``in_store``, which knows the type of its store.
    """

    work: Callable[[Any], T]


@attrs.frozen
class Compute(Step[T], Generic[T]):
    """Answer with what *work* returns, which keeps a processor busy for a moment."""

    work: Callable[[], T]


@attrs.frozen
class CallHook(Step[T], Generic[T]):
    """Answer with what the caller's *hook* returns for *arguments*; a ``Secret`` is opened for it.

    *name* is the argument that it was given as, for the log.
    """

    hook: Hook[T]
    arguments: tuple[Any, ...] = ()
    name: str = ""


@attrs.frozen
class ReportProgress(Step[None]):
    """Hand *progress* to the callback of the caller, if there is one."""

    progress: object


@attrs.frozen
class NewId(Step[str]):
    """Answer with a new random UUID (version 4) as text in lower case."""


@attrs.frozen
class RandomBytes(Step[bytes]):
    """Answer with *size* random bytes, good enough for secrets."""

    size: int


@attrs.frozen
class RandomText(Step[Secret]):
    """Answer with *size* random bytes as text for an address, good enough for secrets."""

    size: int


@attrs.frozen
class RandomNumber(Step[float]):
    """Answer with a random number from 0 to below 1."""


# What performs them


def drive(flow: Flow[R], perform: Callable[[Step[Any]], Any]) -> R:
    """Run *flow* to its end, each step through *perform*, and return what the flow returns."""
    try:
        step = next(flow)
        while True:
            try:
                answers = [perform(step)]
            except Exception as exc:  # noqa: BLE001 - the flow decides, and what it does not catch comes back
                step = flow.throw(exc)
            else:
                step = flow.send(answers.pop())  # rule 4
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
                answers = [await perform(step)]
            except Exception as exc:  # noqa: BLE001 - the flow decides, and what it does not catch comes back
                step = flow.throw(exc)
            else:
                step = flow.send(answers.pop())  # rule 4
    except StopIteration as stop:
        result: R = stop.value
        return result
    finally:
        flow.close()


class _Table:
    """What both runners are: a table, with the common steps built in."""

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
            handlers: Performs the steps of a room, or a common step in another way.
            store: What ``StoreCall`` works on; None where no flow has a store.
            clock: Answers ``Now``; None where no flow asks for the time. ``ArgumentError`` if what it returns
                is no time with a time zone.
            sleep: Performs ``Wait``, awaited by ``AsyncRunner``; None where no flow waits.
            progress: Called for ``ReportProgress``; None tells nobody.
            chance: Returns so many random bytes, for ``NewId`` and the steps with random answers.
            asynchronous: What takes coroutine functions, for the error of ``Runner`` about one.
        """
        self._asynchronous = asynchronous
        table: dict[type[Step[Any]], Callable[[Any], Any]] = {
            Compute: lambda step: self._block(step.work),
            CallHook: lambda step: self._hook(step.name)(step.hook, *step.arguments),
            ReportProgress: lambda step: None if progress is None else progress(step.progress),
            NewId: lambda _: str(uuid.UUID(bytes=chance(16), version=4)),
            RandomBytes: lambda step: masked(chance(step.size)),
            RandomNumber: lambda _: int.from_bytes(chance(6), "big") / 2**48,
            RandomText: lambda step: _text(chance(step.size)),
        }
        if store is not None:
            table[StoreCall] = lambda step: self._block(step.work, store)
        if clock is not None:
            table[Now] = lambda _: check_returned("clock", clock(), TIME)
        if sleep is not None:
            table[Wait] = lambda step: sleep(step.seconds)
        self._handlers: Handlers = {**table, **(handlers or {})}

    @property
    def steps(self) -> frozenset[type[Step[Any]]]:
        """The types of the steps that it performs."""
        return frozenset(self._handlers)

    def _handler_of(self, step: Step[Any]) -> Callable[[Any], Any]:
        handler = self._handlers.get(type(step))
        if handler is None:
            known = ", ".join(sorted(kind.__name__ for kind in self._handlers))
            raise TypeError(f"this {type(self).__name__} performs {known}, not {type(step).__name__}")
        return handler

    def _block(self, work: Callable[..., Any], *arguments: Any) -> Any:
        raise NotImplementedError

    def _hook(self, name: str) -> Callable[..., Any]:
        """Return what calls a hook of that name."""
        raise NotImplementedError


class Runner(_Table):
    """Performs steps one after the other; call it with one step, or ``run`` a flow."""

    def __call__(self, step: Step[T]) -> T:
        """Return the answer to *step*.

        Raises:
            TypeError: This runner does not know such a step.
        """
        answer: T = self._handler_of(step)(step)
        return answer

    def run(self, flow: Flow[R]) -> R:
        """Run *flow* to its end and return what it returns."""
        return drive(flow, self)

    def _block(self, work: Callable[..., Any], *arguments: Any) -> Any:
        return work(*arguments)

    def _hook(self, name: str) -> Callable[..., Any]:
        return partial(call, name=name, asynchronous=self._asynchronous)


class AsyncRunner(_Table):
    """Performs steps as ``Runner`` does, on an event loop; an answer that can be awaited is awaited."""

    async def __call__(self, step: Step[T]) -> T:
        """Return the answer to *step*.

        Raises:
            TypeError: This runner does not know such a step.
        """
        returned: Any = self._handler_of(step)(step)
        answer: T = await returned if inspect.isawaitable(returned) else returned
        return answer

    async def run(self, flow: Flow[R]) -> R:
        """Run *flow* to its end and return what it returns."""
        return await drive_async(flow, self)

    def _block(self, work: Callable[..., Any], *arguments: Any) -> Any:
        return to_thread.run_sync(work, *arguments)

    def _hook(self, name: str) -> Callable[..., Any]:
        return partial(call_async, name=name)


def _text(chance: bytes) -> Secret:
    return Secret(base64.urlsafe_b64encode(chance).rstrip(b"=").decode())
