"""What performs the steps of this room: the common runners, with a client of Apple's service."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Final, Protocol, TypeVar

from pyade.apple.http.calls import Call, SendCall
from pyade.core.annotations import Kind
from pyade.core.kinds import returned
from pyade.errors import PolicyError
from pyade.flow import AsyncRunner, Handlers, Runner
from pyade.loading import modules_when_asked

if TYPE_CHECKING:
    from pyade.apple.client import AsyncClient, Client
    from pyade.apple.http.network import Network
    from pyade.apple.responses import Account
    from pyade.core.token import Token
    from pyade.storage.protocol import Store
    from pyade.sync import token_steps as steps
    from pyade.sync.steps import Progress
else:
    modules_when_asked(globals(), steps="pyade.sync.token_steps")

T = TypeVar("T")
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
    return returned("client_for", client_for(token), _CLIENT)


def async_client_of(client_for: Callable[[Token], AsyncClient], token: Token) -> AsyncClient:
    """Return the asynchronous client that *client_for* makes for *token*; see ``client_of``."""
    return returned("client_for", client_for(token), _ASYNC_CLIENT)


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


def account_handlers(client_for: Callable[[Token], Client]) -> Handlers:
    """Return what performs ``ReadAccount``, with a client for each token."""

    def read(step: steps.ReadAccount) -> Account:
        with client_of(client_for, step.token) as client:
            return client.account()

    return {steps.ReadAccount: read}


def async_account_handlers(client_for: Callable[[Token], AsyncClient]) -> Handlers:
    """Return what performs ``ReadAccount``, with an asynchronous client for each token."""

    async def read(step: steps.ReadAccount) -> Account:
        async with async_client_of(client_for, step.token) as client:
            return await client.account()

    return {steps.ReadAccount: read}


# A client of the caller's own is what can be entered and left.
_CLIENT: Final = Kind(lambda value: hasattr(type(value), "__enter__"), "a Client", "clients")
_ASYNC_CLIENT: Final = Kind(lambda value: hasattr(type(value), "__aenter__"), "an AsyncClient", "clients")
