"""Hold the lease of a token while work goes on."""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import threading
from collections.abc import AsyncIterator, Iterator
from datetime import datetime, timedelta

import anyio
import anyio.to_thread

from pyade.core.inventory import CLOCK_TOLERANCE
from pyade.core.lease import LEASE_SECONDS, Lease
from pyade.errors import LeaseLostError, StoreError
from pyade.flow import AsyncRunner, Flow, Now, RandomBytes, Runner, ask
from pyade.storage.protocol import Store

INTERVAL_SECONDS = LEASE_SECONDS / 3
"""A lease is renewed so often that it outlives two renewals that fail."""

_log = logging.getLogger("pyade.sync")


class StoreTime:
    """The time of a piece of work: the store's, which all workers share, if the caller's is close to it.

    Workers whose clocks are a little apart keep the limits together so. What is further apart is a simulated
    clock, or one that is wrong, and is left alone.
    """

    def __init__(self, lease: Lease | None = None) -> None:
        """Go by the clock that timed *lease*, which was taken a moment ago; None for the caller's."""
        self._lease = lease
        self._offset: timedelta | None = None

    def now(self) -> Flow[datetime]:
        """Return the time, UTC."""
        asked_at = yield from ask(Now())
        if self._offset is None:
            self._offset = self._ahead_of(asked_at)
        return asked_at + self._offset

    def _ahead_of(self, asked_at: datetime) -> timedelta:
        if self._lease is None:
            return timedelta(0)
        offset = self._lease.expires_at - timedelta(seconds=LEASE_SECONDS) - asked_at
        return offset if abs(offset) <= CLOCK_TOLERANCE else timedelta(0)


def worker_name() -> Flow[str]:
    """Return a name for one piece of work: host and process for people, and what makes it unique."""
    unique = yield from ask(RandomBytes(4))
    return f"{socket.gethostname()} process {os.getpid()} {unique.hex()}"


@contextlib.contextmanager
def holding(runner: Runner, store: Store, token_name: str) -> Iterator[Lease]:
    """Acquire the lease of a token, and keep it while the block runs; see ``keeping``.

    Raises:
        LeaseHeldError: Another worker is busy with the token.
        StoreError: The store failed.
    """
    owner = runner.run(worker_name())
    with keeping(store, store.acquire_lease(token_name, owner)) as lease:
        yield lease


@contextlib.asynccontextmanager
async def holding_async(runner: AsyncRunner, store: Store, token_name: str) -> AsyncIterator[Lease]:
    """Do what ``holding`` does, without holding up the event loop."""
    owner = await runner.run(worker_name())
    lease = await anyio.to_thread.run_sync(store.acquire_lease, token_name, owner)
    async with keeping_async(store, lease):
        yield lease


@contextlib.contextmanager
def keeping(store: Store, lease: Lease, *, interval: float = INTERVAL_SECONDS) -> Iterator[Lease]:
    """Renew *lease* while the block runs, and give it back at the end.

    Nothing is raised where it is lost: the next write that carries it is refused. A process that is killed
    gives nothing back, the lease ends by itself.

    Args:
        store: Where it was acquired.
        lease: What ``acquire_lease`` returned.
        interval: Seconds between renewals.
    """
    ended = threading.Event()
    # A thread in both kinds: neither a slow callback nor a blocked event loop keeps it from renewing.
    thread = threading.Thread(
        target=_renew, args=(store, lease, ended, interval), name=f"lease of {lease.token_name}", daemon=True
    )
    thread.start()
    try:
        yield lease
    finally:
        ended.set()
        thread.join()
        # Whatever fails here, the lease ends by itself; the outcome of the work matters more.
        with contextlib.suppress(StoreError):
            store.release_lease(lease)


@contextlib.asynccontextmanager
async def keeping_async(
    store: Store, lease: Lease, *, interval: float = INTERVAL_SECONDS
) -> AsyncIterator[Lease]:
    """Do what ``keeping`` does, without holding up the event loop at the end."""
    keeper = keeping(store, lease, interval=interval)
    keeper.__enter__()
    try:
        yield lease
    finally:
        with anyio.CancelScope(shield=True):
            await anyio.to_thread.run_sync(keeper.__exit__, None, None, None)


def _renew(store: Store, lease: Lease, ended: threading.Event, interval: float) -> None:
    while not ended.wait(interval):
        try:
            store.renew_lease(lease)
        except LeaseLostError:
            _log.warning("%s: the lease was lost", lease.token_name)
            return
        except StoreError as error:
            _log.warning("%s: the lease was not renewed: %s", lease.token_name, type(error).__name__)
