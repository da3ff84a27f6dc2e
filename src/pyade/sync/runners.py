"""What the flows of ``sync`` and ``assignment`` share: runners with a client, store access, progress."""

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
from pyade.text import Printed, pluralize

if TYPE_CHECKING:
    from pyade.apple.client import AsyncClient, Client
    from pyade.apple.http.network import Network
    from pyade.core.token import Token

T = TypeVar("T")


class ProgressPhase(enum.StrEnum):
    """The kind of work under way."""

    FETCH = "fetch"
    SYNC = "sync"
    ASSIGN = "assign"
    REMOVE = "remove"


@attrs.frozen(kw_only=True)
class Progress(Printed):
    """Progress of a sync or an assignment; passed to the ``progress`` callback after each commit.

    Attributes:
        token_name: The token.
        phase: Fetching the full list, following changes, assigning or removing a profile.
        pages: Pages, or chunks of an assignment, stored so far.
        devices: Device records, or assigned serial numbers, stored so far.
        total: Final number of *devices*; None if only Apple knows it.
    """

    token_name: str
    phase: ProgressPhase
    pages: int
    devices: int
    total: int | None = None

    def _words(self) -> str:
        devices = pluralize(self.devices, "device")
        if self.total is not None:
            devices = f"{self.devices:,} of {pluralize(self.total, 'device')}"
        return f"{self.token_name}: {self.phase}, {devices} in {pluralize(self.pages, 'request')}"


def in_store(work: Callable[[Store], T]) -> Flow[T]:
    """Run *work* with the store and return its result; each call of the store is its own transaction."""
    return ask(StoreCall(work))


ClientT = TypeVar("ClientT", bound="Client | AsyncClient")


class Caller(Protocol):
    """The part of ``Client`` that is used here."""

    @property
    def token_name(self) -> str:
        """The name of the client's token."""
        ...

    def call(self, call: Call[T]) -> T:
        """Send *call* and return its decoded response."""
        ...


class AsyncCaller(Protocol):
    """The part of ``AsyncClient`` that is used here."""

    @property
    def token_name(self) -> str:
        """The name of the client's token."""
        ...

    async def call(self, call: Call[T]) -> T:
        """Send *call* and return its decoded response."""
        ...


def with_network(client_for: Callable[[Token], ClientT], network: Network) -> Callable[[Token], ClientT]:
    """Return *client_for* with the settings of *network* bound to it; unchanged if *network* is empty.

    Raises:
        PolicyError: *client_for* does not accept these arguments.
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
        ArgumentError: It did not return a client; an ``AsyncClient`` is refused here.
    """
    return check_returned("client_for", client_for(token), _CLIENT)


def client_of_async(client_for: Callable[[Token], AsyncClient], token: Token) -> AsyncClient:
    """Return the asynchronous client that *client_for* makes for *token*; see ``client_of``."""
    return check_returned("client_for", client_for(token), _ASYNC_CLIENT)


def runner_of(
    apple: Caller,
    store: Store,
    clock: Callable[[], datetime],
    progress: Callable[[Progress], None] | None = None,
) -> Runner:
    """Return the runner for the work of one token."""
    handlers: Handlers = {SendCall: lambda step: apple.call(step.call)}
    return Runner(handlers, store=store, clock=clock, progress=progress)


def runner_of_async(
    apple: AsyncCaller,
    store: Store,
    clock: Callable[[], datetime],
    progress: Callable[[Progress], None] | None = None,
) -> AsyncRunner:
    """Return the asynchronous runner for the work of one token, with the store in worker threads."""
    handlers: Handlers = {SendCall: lambda step: apple.call(step.call)}
    return AsyncRunner(handlers, store=store, clock=clock, progress=progress)


# The caller's own class of clients is accepted if it is a context manager.
_CLIENT: Final = ArgumentType(lambda value: hasattr(type(value), "__enter__"), "a Client", "clients")
_ASYNC_CLIENT: Final = ArgumentType(
    lambda value: hasattr(type(value), "__aenter__"), "an AsyncClient", "clients"
)
