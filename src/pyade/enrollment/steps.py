"""What the flows of this room want done, and what performs it, synchronously and asynchronously."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Any, Generic, TypeAlias, TypeVar

import anyio.to_thread
import attrs

from pyade.core.flow import Now, Step
from pyade.errors import PolicyError
from pyade.storage.enrollments import EnrollmentStore

T = TypeVar("T")

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
            if inspect.iscoroutinefunction(step.hook):
                return await step.hook(*step.arguments)
            answer = await anyio.to_thread.run_sync(step.hook, *step.arguments)
            return await answer if inspect.isawaitable(answer) else answer
        return self._clock()


def _ask(step: AskCaller[Any]) -> Any:
    answer = step.hook(*step.arguments)
    if inspect.isawaitable(answer):
        if inspect.iscoroutine(answer):
            answer.close()
        name = getattr(step.hook, "__name__", type(step.hook).__name__)
        raise PolicyError(f"{name} is asynchronous: use AsyncEnrollmentService, or give a function")
    return answer
