"""``demo()``: a small world to try pyade in, and to test with: one fake of Apple, one fleet, one clock."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import ExitStack
from datetime import datetime
from functools import cached_property
from types import TracebackType
from typing import Any, Final, Self

from pyade.apple.client import AsyncClient, Client
from pyade.apple.http.sessions import SessionCache
from pyade.business import AccountProvider, ApiAccount, AsyncBusinessClient, BusinessClient
from pyade.core.arguments import check_arguments
from pyade.core.token import Token
from pyade.enrollment.device_trust import DeviceTrust
from pyade.flow import utc_now
from pyade.storage import EnrollmentStore, MemoryStore, SQLiteStore
from pyade.testing.apple.fake import FakeApple
from pyade.testing.apple.model import Server
from pyade.testing.business.fake import FakeBusiness
from pyade.testing.clock import FrozenClock
from pyade.testing.errors import PortalError
from pyade.testing.mac.authority import DeviceAuthority
from pyade.testing.mac.fake_mac import FakeMac
from pyade.text import format_utc, pluralize

_APPLE_ID: Final = "it@contoso.com"


@check_arguments
def demo(
    devices: int = 3, *, path: str | os.PathLike[str] | None = None, start: datetime | None = None
) -> World:
    """Return a small world to try pyade in: a fake of Apple with an MDM server, its Macs and its token.

    Nothing reaches the network. The token is in the store; nothing is synced yet.

    Args:
        devices: How many Macs are assigned to the MDM server, 0 or more.
        path: A new SQLite file for the store; None keeps the store in memory.
        start: The time at the beginning, timezone-aware; None for the current time.

    Returns:
        The world. Its clock moves only when you move it.

    Raises:
        DuplicateTokenError: The file has a token ``hq`` already.
        PortalError: *devices* is below 0.
        StoreError: The file cannot be opened.
    """
    clock = FrozenClock(utc_now().replace(microsecond=0) if start is None else start)
    with ExitStack() as undo:
        store = None if path is None else undo.enter_context(SQLiteStore(path, clock=clock))
        world = World(clock, devices=devices, store=store)
        undo.pop_all()
    return world


@check_arguments
class World:
    """One fake of Apple with an MDM server, Macs, a token, a store and a client, all with the same clock.

    Syncers, assigners, services and schedulers use the clock of the client or the store that they are given,
    so they need no ``clock=``. Use it as a context manager, or call ``close``.

    Args:
        clock: The clock of everything in this world.
        devices: How many Macs are assigned to the MDM server, 0 or more.
        store: Where the token is added; None for a new ``MemoryStore`` with *clock*.

    Attributes:
        clock: Advance it to let time pass.
        fake: Apple's portal and its device assignment service.
        server: The MDM server in the portal.
        serials: The serial numbers of the Macs that it began with.
        token: The token of the server, called ``hq``.
        store: Has the token.
        client: A client for the token.
    """

    def __init__(self, clock: FrozenClock, *, devices: int = 3, store: EnrollmentStore | None = None) -> None:
        self.clock: FrozenClock = clock
        self.fake: FakeApple = FakeApple(clock=clock)
        self.server: Server = self.fake.add_server("Contoso MDM", admin_id=_APPLE_ID)
        self.serials: tuple[str, ...] = self.fake.add_devices(devices, server=self.server)
        self.token: Token = self.fake.token(self.server, name="hq", apple_id=_APPLE_ID)
        self.store: EnrollmentStore = MemoryStore(clock=clock) if store is None else store
        self.store.add_token(self.token)
        self.client: Client = self.client_for(self._newest_token)

    def client_for(
        self, token: Token | Callable[[], Token], *, sessions: SessionCache | None = None
    ) -> Client:
        """Return a client for *token* that sends its requests to the fake; for schedulers and services.

        Args:
            token: The token, or a callable that returns it.
            sessions: A cache shared between clients; None for a cache of this client alone.
        """
        transport = self.fake.transport()
        return Client(token, transport=transport, clock=self.clock, sleep=self.clock.sleep, sessions=sessions)

    def async_client_for(
        self, token: Token | Callable[[], Token], *, sessions: SessionCache | None = None
    ) -> AsyncClient:
        """Return what ``client_for`` returns, asynchronous; close it with ``async with``."""
        transport = self.fake.transport()
        return AsyncClient(
            token, transport=transport, clock=self.clock, sleep=self.clock.sleep_async, sessions=sessions
        )

    def async_client(self) -> AsyncClient:
        """Return a new asynchronous client for the token of this world; close it with ``async with``."""
        return self.async_client_for(self._newest_token)

    def _newest_token(self) -> Token:
        return self.store.token(self.token.name)

    @cached_property
    def authority(self) -> DeviceAuthority:
        """Stands in for the certificate authority of Apple's devices; it issues the identities of Macs."""
        return DeviceAuthority.generate()

    @property
    def trust(self) -> DeviceTrust:
        """What an enrollment service needs to trust the Macs of this world: pass it as ``trust=``."""
        return self.authority.trust

    @cached_property
    def business(self) -> FakeBusiness:
        """The Apple Business API over the same fleet."""
        return FakeBusiness(self.fake)

    def business_client(self, account: ApiAccount | AccountProvider | None = None) -> BusinessClient:
        """Return a new client of the Apple Business API that sends its requests to ``business``.

        Args:
            account: The API account, or a callable that returns it; None for a new one.
        """
        return BusinessClient(
            account or self.business.add_account(),
            transport=self.business.transport(),
            clock=self.clock,
            sleep=self.clock.sleep,
        )

    def async_business_client(
        self, account: ApiAccount | AccountProvider | None = None
    ) -> AsyncBusinessClient:
        """Return what ``business_client`` returns, asynchronous; close it with ``async with``."""
        return AsyncBusinessClient(
            account or self.business.add_account(),
            transport=self.business.transport(),
            clock=self.clock,
            sleep=self.clock.sleep_async,
        )

    def mac(self, serial_number: str | None = None, **changes: Any) -> FakeMac:
        """Return a Mac of the fleet in Setup Assistant, after it fetched its profile from Apple.

        Args:
            serial_number: Which one; None for the first.
            changes: Attributes of the Mac, such as ``version="15.4"``; see ``FakeMac``.

        Raises:
            MacError: No profile is assigned to it: run an assignment first.
            PortalError: There is no such device.
        """
        serial = next(iter(self.serials), None) if serial_number is None else serial_number
        if serial is None:
            raise PortalError("the world began without Macs: give the serial number of one")
        return FakeMac.from_apple(self.fake, serial, self.authority, **changes)

    def __repr__(self) -> str:
        """Name the token, and say how many Macs the world began with and what time it is."""
        macs = pluralize(len(self.serials), "Mac")
        return f"<World: {macs}, token {self.token.name!r}, {format_utc(self.clock())}>"

    def close(self) -> None:
        """Close the client and the store."""
        self.client.close()
        self.store.close()

    def __enter__(self) -> Self:
        """Return the world itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the client and the store."""
        self.close()
