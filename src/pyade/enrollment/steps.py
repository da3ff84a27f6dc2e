"""What the flows of this room want done, and what performs it, synchronously and asynchronously."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Any, Generic, TypeAlias, TypeVar

import anyio.to_thread
import attrs

from pyade.core.flow import Flow, Now, Step
from pyade.errors import PolicyError, StoreConflictError
from pyade.storage.enrollments import EnrollmentStore

T = TypeVar("T")

ATTEMPTS = 8
"""How often a change of what is stored of a Mac is made before a conflict comes back to the caller."""

Hook: TypeAlias = Callable[..., T | Awaitable[T]]
"""What a caller hands in: a function, or for the asynchronous service also a coroutine function."""


@attrs.frozen
class InStore(Step[T], Generic[T]):
    """Answer with what *work* returns for the store: one transaction of its own per call of the store."""

    work: Callable[[EnrollmentStore], T]


@attrs.frozen
class Compute(Step[T], Generic[T]):
    """Answer with what *work* returns, which keeps a processor busy for a moment."""

    work: Callable[[], T]


@attrs.frozen
class AskCaller(Step[T], Generic[T]):
    """Answer with what the caller's *hook* returns for *arguments*."""

    hook: Hook[T]
    arguments: tuple[Any, ...]


def retried(attempt: Callable[[], Flow[T]], attempts: int = ATTEMPTS) -> Flow[T]:
    """Run *attempt*; again, from its first step, if somebody else changed what it read before its commit.

    Raises:
        StoreConflictError: That happened to all of the *attempts*.
    """
    for _ in range(attempts - 1):
        try:
            return (yield from attempt())
        except StoreConflictError:
            continue
    return (yield from attempt())


class Performer:
    """Performs steps with a store and a clock."""

    def __init__(self, store: EnrollmentStore, clock: Callable[[], datetime]) -> None:
        self._table: dict[type[Step[Any]], Callable[[Any], Any]] = {
            InStore: lambda step: step.work(store),
            Compute: lambda step: step.work(),
            AskCaller: _ask,
            Now: lambda _: clock(),
        }

    def __call__(self, step: Step[Any]) -> Any:
        """Return the answer to *step*."""
        return self._table[type(step)](step)


class AsyncPerformer:
    """Performs steps as ``Performer`` does; what may take a while, in a worker thread."""

    def __init__(self, store: EnrollmentStore, clock: Callable[[], datetime]) -> None:
        self._store = store
        self._clock = clock

    async def __call__(self, step: Step[Any]) -> Any:
        """Return the answer to *step*."""
        if isinstance(step, InStore):
            return await anyio.to_thread.run_sync(step.work, self._store)
        if isinstance(step, Compute):
            return await anyio.to_thread.run_sync(step.work)
        if isinstance(step, AskCaller):
            return await ask_caller(step.hook, *step.arguments)
        return self._clock()


async def ask_caller(hook: Hook[T], *arguments: Any) -> T:
    """Return what *hook* returns: awaited if it is a coroutine function, else called in a worker thread."""
    if inspect.iscoroutinefunction(hook):
        awaited: T = await hook(*arguments)
        return awaited
    returned: Any = await anyio.to_thread.run_sync(hook, *arguments)
    answer: T = await returned if inspect.isawaitable(returned) else returned
    return answer


def _ask(step: AskCaller[Any]) -> Any:
    answer = step.hook(*step.arguments)
    if inspect.isawaitable(answer):
        if inspect.iscoroutine(answer):
            answer.close()
        name = getattr(step.hook, "__name__", type(step.hook).__name__)
        raise PolicyError(f"{name} is asynchronous: use AsyncEnrollmentService, or give a function")
    return answer
