"""Hold the lease of a token during a block: acquire it, renew it in a thread, release it."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
from collections.abc import AsyncIterator, Iterator
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from pyade.core.durations import CLOCK_TOLERANCE
from pyade.core.fleet.lease import LEASE_SECONDS, Lease
from pyade.errors import LeaseLostError, StoreError
from pyade.flow import AsyncRunner, Flow, Now, RandomBytes, Runner, ask
from pyade.loading import lazy_modules
from pyade.text import logger

if TYPE_CHECKING:
    import anyio
    from anyio import to_thread

    from pyade.storage.protocol import Store
else:
    lazy_modules(globals(), anyio="anyio", to_thread="anyio.to_thread")

INTERVAL_SECONDS = LEASE_SECONDS / 3
"""Seconds between renewals: a lease survives two renewals that fail."""

LONGEST = timedelta(hours=6)
"""How long a lease is renewed at most, if the work has no limit of its own.

Work that hangs must not block other workers of its token forever.
"""

_log = logger(__name__)


class StoreTime:
    """Uses the store's clock, unless the caller's differs by more than five minutes (``CLOCK_TOLERANCE``).

    Workers whose clocks differ slightly thus apply the limits at the same time. A larger difference means a
    simulated or a wrong clock, which is used as it is.
    """

    def __init__(self, lease: Lease | None = None) -> None:
        """Use the clock that set the expiry of *lease*, acquired just now; None for the caller's clock."""
        self._lease = lease
        self._offset: timedelta | None = None

    def now(self) -> Flow[datetime]:
        """Return the time, UTC."""
        asked_at = yield from ask(Now())
        if self._offset is None:
            self._offset = self._store_offset(asked_at)
        return asked_at + self._offset

    def _store_offset(self, asked_at: datetime) -> timedelta:
        if self._lease is None:
            return timedelta(0)
        offset = self._lease.expires_at - timedelta(seconds=LEASE_SECONDS) - asked_at
        return offset if abs(offset) <= CLOCK_TOLERANCE else timedelta(0)


def worker_name() -> Flow[str]:
    """Return a unique name for one piece of work: host, process and a random suffix."""
    unique = yield from ask(RandomBytes(4))
    return f"{socket.gethostname()} process {os.getpid()} {unique.hex()}"


@contextlib.contextmanager
def acquire_and_hold(
    runner: Runner, store: Store, token_name: str, *, longest: timedelta = LONGEST
) -> Iterator[Lease]:
    """Acquire the lease of a token, and hold it while the block runs; see ``hold_lease``.

    Raises:
        LeaseHeldError: Another worker holds the token's lease.
        StoreError: The store failed.
    """
    owner = runner.run(worker_name())
    with hold_lease(store, store.acquire_lease(token_name, owner), longest=longest) as lease:
        yield lease


@contextlib.asynccontextmanager
async def acquire_and_hold_async(
    runner: AsyncRunner, store: Store, token_name: str, *, longest: timedelta = LONGEST
) -> AsyncIterator[Lease]:
    """Do the same as ``acquire_and_hold`` without blocking the event loop."""
    owner = await runner.run(worker_name())
    acquired = await _Acquisition(store, token_name, owner).result()
    async with hold_lease_async(store, acquired, longest=longest) as lease:
        yield lease


@contextlib.contextmanager
def hold_lease(
    store: Store, lease: Lease, *, interval: float = INTERVAL_SECONDS, longest: timedelta = LONGEST
) -> Iterator[Lease]:
    """Renew *lease* while the block runs, and release it at the end.

    If the lease is lost, nothing is raised here: the next write with it is refused. If the process is killed,
    the lease expires.

    Args:
        store: Where it was acquired.
        lease: What ``acquire_lease`` returned.
        interval: Seconds between renewals.
        longest: Time after which the lease is no longer renewed, even if the block still runs.
    """
    keeper = _Keeper(store, lease, interval, longest)
    try:
        try:
            keeper.start()
            yield lease
        finally:
            keeper.end()
    finally:
        # Again: Ctrl-C may have interrupted the call above.
        keeper.end()
        keeper.join()


@contextlib.asynccontextmanager
async def hold_lease_async(
    store: Store, lease: Lease, *, interval: float = INTERVAL_SECONDS, longest: timedelta = LONGEST
) -> AsyncIterator[Lease]:
    """Do the same as ``hold_lease`` without blocking the event loop at the end."""
    keeper = _Keeper(store, lease, interval, longest)
    try:
        try:
            keeper.start()
            yield lease
        finally:
            keeper.end()
    finally:
        keeper.end()
        # Shielded from cancellation; if it is cancelled all the same, the thread still releases the lease.
        with anyio.CancelScope(shield=True):
            await to_thread.run_sync(keeper.join)


class _Keeper:
    """The thread that renews a lease until ``end()``, and then releases it.

    A thread also for asynchronous work, so that a slow callback or a blocked event loop does not delay
    renewals. The thread itself releases the lease, even if the caller was interrupted or cancelled.
    """

    def __init__(self, store: Store, lease: Lease, interval: float, longest: timedelta) -> None:
        self._store = store
        self._renewals = int(longest.total_seconds() // interval)
        self._lease = lease
        self._interval = interval
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._work, name=f"lease of {lease.token_name}", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def end(self) -> None:
        self._ended.set()

    def join(self) -> None:
        """Wait until the lease was released."""
        try:
            self._thread.join()
        except RuntimeError:
            # The thread did not start, or Ctrl-C interrupted its start: releasing twice is harmless.
            _release(self._store, self._lease)

    def _work(self) -> None:
        try:
            self._renew()
        finally:
            _release(self._store, self._lease)

    def _renew(self) -> None:
        name = self._lease.token_name
        for _ in range(self._renewals):
            if self._ended.wait(self._interval):
                return
            try:
                self._store.renew_lease(self._lease)
            except LeaseLostError:
                _log.warning("%s: the lease was lost", name)
                return
            except StoreError as error:
                _log.warning("%s: the lease was not renewed: %s", name, type(error).__name__)
        if not self._ended.wait(self._interval):
            _log.warning("%s: the work takes too long, its lease is no longer renewed", name)
            self._ended.wait()


class _Acquisition:
    """Acquires a lease in a worker thread, and releases it if the waiting task was cancelled before.

    ``task.cancel`` of asyncio, on which ``timeout`` and ``wait_for`` are built, ends the wait but not the
    thread.
    """

    def __init__(self, store: Store, token_name: str, owner: str) -> None:
        self._store = store
        self._token_name = token_name
        self._owner = owner
        self._lock = threading.Lock()
        self._lease: Lease | None = None
        self._is_wanted = True

    async def result(self) -> Lease:
        try:
            return await to_thread.run_sync(self._acquire)
        except BaseException:
            with self._lock:
                self._is_wanted = False
                lease = self._lease
            if lease is not None:
                with anyio.CancelScope(shield=True):
                    await to_thread.run_sync(_release, self._store, lease)
            raise

    def _acquire(self) -> Lease:
        lease = self._store.acquire_lease(self._token_name, self._owner)
        with self._lock:
            self._lease = lease
            is_wanted = self._is_wanted
        if not is_wanted:
            _release(self._store, lease)
        return lease


def _release(store: Store, lease: Lease) -> None:
    # A failure is ignored: the lease expires by itself, and the outcome of the work matters more.
    with contextlib.suppress(StoreError):
        store.release_lease(lease)
