"""Hold the lease of a token while work goes on."""

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
from pyade.loading import modules_when_asked
from pyade.text import logger

if TYPE_CHECKING:
    import anyio
    from anyio import to_thread

    from pyade.storage.protocol import Store
else:
    modules_when_asked(globals(), anyio="anyio", to_thread="anyio.to_thread")

INTERVAL_SECONDS = LEASE_SECONDS / 3
"""A lease is renewed so often that it outlives two renewals that fail."""

LONGEST = timedelta(hours=6)
"""How long a lease is renewed at most, where the work has no limit of its own.

Work that hangs must not keep the others from its token for ever.
"""

_log = logger(__name__)


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
def holding(
    runner: Runner, store: Store, token_name: str, *, longest: timedelta = LONGEST
) -> Iterator[Lease]:
    """Acquire the lease of a token, and keep it while the block runs; see ``keeping``.

    Raises:
        LeaseHeldError: Another worker is busy with the token.
        StoreError: The store failed.
    """
    owner = runner.run(worker_name())
    with keeping(store, store.acquire_lease(token_name, owner), longest=longest) as lease:
        yield lease


@contextlib.asynccontextmanager
async def holding_async(
    runner: AsyncRunner, store: Store, token_name: str, *, longest: timedelta = LONGEST
) -> AsyncIterator[Lease]:
    """Do what ``holding`` does, without holding up the event loop."""
    owner = await runner.run(worker_name())
    acquired = await _Acquisition(store, token_name, owner).result()
    async with keeping_async(store, acquired, longest=longest) as lease:
        yield lease


@contextlib.contextmanager
def keeping(
    store: Store, lease: Lease, *, interval: float = INTERVAL_SECONDS, longest: timedelta = LONGEST
) -> Iterator[Lease]:
    """Renew *lease* while the block runs, and give it back at the end.

    Nothing is raised where it is lost: the next write that carries it is refused. A process that is killed
    gives nothing back, the lease ends by itself.

    Args:
        store: Where it was acquired.
        lease: What ``acquire_lease`` returned.
        interval: Seconds between renewals.
        longest: After which it is not renewed any more, although the block still runs.
    """
    keeper = _Keeper(store, lease, interval, longest)
    try:
        try:
            keeper.start()
            yield lease
        finally:
            keeper.end()
    finally:
        # Once more: Ctrl-C may have come before the line above had its effect.
        keeper.end()
        keeper.join()


@contextlib.asynccontextmanager
async def keeping_async(
    store: Store, lease: Lease, *, interval: float = INTERVAL_SECONDS, longest: timedelta = LONGEST
) -> AsyncIterator[Lease]:
    """Do what ``keeping`` does, without holding up the event loop at the end."""
    keeper = _Keeper(store, lease, interval, longest)
    try:
        try:
            keeper.start()
            yield lease
        finally:
            keeper.end()
    finally:
        keeper.end()
        # Cancelled once more it waits no longer; the thread goes on and gives the lease back all the same.
        with anyio.CancelScope(shield=True):
            await to_thread.run_sync(keeper.join)


class _Keeper:
    """The thread that renews a lease and, once it was told to end, gives it back.

    A thread in both kinds: neither a slow callback nor a blocked event loop keeps it from renewing. The
    thread itself gives the lease back, also where what started it was interrupted or cancelled meanwhile.
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
        """Wait until the lease was given back."""
        try:
            self._thread.join()
        except RuntimeError:
            # It did not start, or Ctrl-C came while it did: giving back twice does no harm.
            _give_back(self._store, self._lease)

    def _work(self) -> None:
        try:
            self._renew()
        finally:
            _give_back(self._store, self._lease)

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
            _log.warning("%s: the work takes too long, its lease is not renewed any more", name)
            self._ended.wait()


class _Acquisition:
    """Acquires a lease in a worker thread, and gives back what comes after nobody waits for it any more.

    ``task.cancel`` of asyncio, on which ``timeout`` and ``wait_for`` are built, ends the waiting and not the
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
                    await to_thread.run_sync(_give_back, self._store, lease)
            raise

    def _acquire(self) -> Lease:
        lease = self._store.acquire_lease(self._token_name, self._owner)
        with self._lock:
            self._lease = lease
            is_wanted = self._is_wanted
        if not is_wanted:
            _give_back(self._store, lease)
        return lease


def _give_back(store: Store, lease: Lease) -> None:
    # Whatever fails here, the lease ends by itself; the outcome of the work matters more.
    with contextlib.suppress(StoreError):
        store.release_lease(lease)
