"""What performs the steps of this room: the common runners, with a client of Apple's service.

What the flows of this room share: their access to the store, and how progress is told.
"""

from __future__ import annotations

import enum
import inspect
from collections.abc import Callable
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Final, Protocol, TypeVar

import attrs

from pyade.apple.http.calls import Call, SendCall
from pyade.core.arguments import ArgumentType, check_returned
from pyade.errors import PolicyError
from pyade.flow import AsyncRunner, Flow, Handlers, Runner, StoreCall, ask
from pyade.storage.protocol import Store
from pyade.text import Printed

if TYPE_CHECKING:
    from pyade.apple.client import AsyncClient, Client
    from pyade.apple.http.network import Network
    from pyade.core.token import Token
    from pyade.storage.protocol import Store

T = TypeVar("T")


class ProgressPhase(enum.StrEnum):
    """What a long piece of work is busy with."""

    FETCH = "fetch"
    SYNC = "sync"
    ASSIGN = "assign"
    REMOVE = "remove"


@attrs.frozen(kw_only=True)
class Progress(Printed):
    """How far a sync or an assignment has come; handed to the ``progress`` callback after each commit.

    Attributes:
        token_name: The token in question.
        phase: Fetching the full list, following changes, assigning or removing a profile.
        pages: Pages, or chunks of an assignment, that are stored so far.
        devices: Device records, or assigned serial numbers, that are stored so far.
        total: How many there will be; None where only Apple knows.
    """

    token_name: str
    phase: ProgressPhase
    pages: int
    devices: int
    total: int | None = None

    def _words(self) -> str:
        total = "" if self.total is None else f" of {self.total:,}"
        requests = "1 request" if self.pages == 1 else f"{self.pages:,} requests"
        return f"{self.token_name}: {self.phase}, {self.devices:,}{total} devices in {requests}"


def in_store(work: Callable[[Store], T]) -> Flow[T]:
    """Return what *work* returns for the store: one transaction of its own per call of the store."""
    return ask(StoreCall(work))


ClientT = TypeVar("ClientT", bound="Client | AsyncClient")


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


def through(client_for: Callable[[Token], ClientT], network: Network) -> Callable[[Token], ClientT]:
    """Return *client_for* with the connections of *network*, if there are any wishes about them.

    Raises:
        PolicyError: It takes none.
    """
    if not network:
        return client_for
    made: Callable[..., ClientT] = client_for
    try:
        inspect.signature(made).bind("token", **network)
    except (TypeError, ValueError):
        names = ", ".join(f"{name}=" for name in network)
    else:
        return partial(made, **network)
    raise PolicyError(f"client_for does not take {names}: pass a class of clients, or make clients with them")


def client_of(client_for: Callable[[Token], Client], token: Token) -> Client:
    """Return the client that *client_for* makes for *token*.

    Raises:
        ArgumentError: What it returned is none; an ``AsyncClient`` is none here.
    """
    return check_returned("client_for", client_for(token), _CLIENT)


def async_client_of(client_for: Callable[[Token], AsyncClient], token: Token) -> AsyncClient:
    """Return the asynchronous client that *client_for* makes for *token*; see ``client_of``."""
    return check_returned("client_for", client_for(token), _ASYNC_CLIENT)


def runner_of(
    apple: Caller,
    store: Store,
    clock: Callable[[], datetime],
    progress: Callable[[Progress], None] | None = None,
) -> Runner:
    """Return the runner of one token's work."""
    handlers: Handlers = {SendCall: lambda step: apple.call(step.call)}
    return Runner(handlers, store=store, clock=clock, progress=progress)


def async_runner_of(
    apple: AsyncCaller,
    store: Store,
    clock: Callable[[], datetime],
    progress: Callable[[Progress], None] | None = None,
) -> AsyncRunner:
    """Return the runner of one token's work, with the store in worker threads."""
    handlers: Handlers = {SendCall: lambda step: apple.call(step.call)}
    return AsyncRunner(handlers, store=store, clock=clock, progress=progress)


# A client of the caller's own is what can be entered and left.
_CLIENT: Final = ArgumentType(lambda value: hasattr(type(value), "__enter__"), "a Client", "clients")
_ASYNC_CLIENT: Final = ArgumentType(
    lambda value: hasattr(type(value), "__aenter__"), "an AsyncClient", "clients"
)
