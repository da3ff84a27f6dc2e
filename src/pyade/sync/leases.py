"""Hold the lease of a token while work goes on."""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
import socket
import threading
from collections.abc import AsyncIterator, Iterator

import anyio
import anyio.to_thread

from pyade.core.lease import LEASE_SECONDS, Lease
from pyade.errors import LeaseLostError, StoreError
from pyade.storage.protocol import Store

INTERVAL_SECONDS = LEASE_SECONDS / 3
"""A lease is renewed so often that it outlives two renewals that fail."""

_log = logging.getLogger("pyade.sync")


def worker_name() -> str:
    """Return a name for one piece of work: host and process for people, and what makes it unique."""
    return f"{socket.gethostname()} process {os.getpid()} {secrets.token_hex(4)}"


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
    # A thread in both drivers: neither a slow callback nor a blocked event loop keeps it from renewing.
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
