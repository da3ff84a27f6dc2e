"""One brain for sync and async: flows yield what they want done, drivers do it.

A *flow* is a generator of *steps*. A step is a frozen object that names its answer:
``class FetchPage(Step[Page])`` is answered with a ``Page``. The flow never sends, waits, stores or reads a
clock. ``drive`` and ``drive_async`` perform the steps; an error of a step is thrown into the flow, which
alone decides whether to go on.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Generator
from datetime import datetime
from typing import Any, Generic, TypeAlias, TypeVar

import attrs

T = TypeVar("T")
R = TypeVar("R")


class Step(Generic[T]):
    """Something that a flow wants done; ``T`` is what it gets back."""

    __slots__ = ()


@attrs.frozen
class Now(Step[datetime]):
    """Answer with the time, UTC."""


Flow: TypeAlias = Generator[Step[Any], Any, R]
"""A generator that yields steps, receives their answers and returns ``R``."""


def ask(step: Step[T]) -> Flow[T]:
    """Yield *step* and return its answer with its type.

    ``page = yield from ask(FetchPage(cursor))`` makes ``page`` a ``Page``.
    """
    answer: T = yield step
    return answer


def drive(flow: Flow[R], perform: Callable[[Step[Any]], Any]) -> R:
    """Run *flow* to its end, each step through *perform*, and return what the flow returns."""
    try:
        step = next(flow)
        while True:
            try:
                answer = perform(step)
            except Exception as exc:  # noqa: BLE001 - the flow decides, and what it does not catch comes back
                step = flow.throw(exc)
            else:
                step = flow.send(answer)
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
                answer = await perform(step)
            except Exception as exc:  # noqa: BLE001 - the flow decides, and what it does not catch comes back
                step = flow.throw(exc)
            else:
                step = flow.send(answer)
    except StopIteration as stop:
        result: R = stop.value
        return result
    finally:
        flow.close()
