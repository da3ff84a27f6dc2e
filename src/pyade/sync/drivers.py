"""What performs the steps of this room, once per step type: synchronously and asynchronously."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any, Protocol, TypeVar

import anyio.to_thread

from pyade.apple.calls import Call
from pyade.apple.flows import SendCall
from pyade.core.flow import Now, Step
from pyade.storage.protocol import Store
from pyade.sync.steps import InStore, Progress, Tell

T = TypeVar("T")


class Caller(Protocol):
    """The part of ``Client`` that is used here."""

    @property
    def token_name(self) -> str:
        """The name of the client's token."""
        ...

    def call(self, call: Call[T]) -> T:
        """Send *call* and return what it decodes to."""
        ...


class AsyncCaller(Protocol):
    """The part of ``AsyncClient`` that is used here."""

    @property
    def token_name(self) -> str:
        """The name of the client's token."""
        ...

    async def call(self, call: Call[T]) -> T:
        """Send *call* and return what it decodes to."""
        ...


def ignore(progress: Progress) -> None:
    """Do nothing with *progress*."""


class Performer:
    """Performs steps with a client, a store, a clock and a callback."""

    def __init__(
        self,
        apple: Caller,
        store: Store,
        clock: Callable[[], datetime],
        progress: Callable[[Progress], None] | None,
    ) -> None:
        tell = progress or ignore
        self.table: dict[type[Step[Any]], Callable[[Any], Any]] = {
            SendCall: lambda step: apple.call(step.call),
            InStore: lambda step: step.work(store),
            Now: lambda _: clock(),
            Tell: lambda step: tell(step.progress),
        }

    def __call__(self, step: Step[Any]) -> Any:
        """Return the answer to *step*."""
        return self.table[type(step)](step)


class AsyncPerformer:
    """Performs steps as ``Performer`` does, with the store's work in a worker thread."""

    def __init__(
        self,
        apple: AsyncCaller,
        store: Store,
        clock: Callable[[], datetime],
        progress: Callable[[Progress], None] | None,
    ) -> None:
        tell = progress or ignore

        async def send(step: SendCall[Any]) -> Any:
            return await apple.call(step.call)

        async def in_store(step: InStore[Any]) -> Any:
            return await anyio.to_thread.run_sync(step.work, store)

        async def now(_: Now) -> datetime:
            return clock()

        async def report(step: Tell) -> None:
            tell(step.progress)

        self.table: dict[type[Step[Any]], Callable[[Any], Any]] = {
            SendCall: send,
            InStore: in_store,
            Now: now,
            Tell: report,
        }

    async def __call__(self, step: Step[Any]) -> Any:
        """Return the answer to *step*."""
        return await self.table[type(step)](step)
