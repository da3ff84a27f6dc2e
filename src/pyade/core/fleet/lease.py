"""Leases: one worker at a time may write for a token, also if workers die or sleep.

A worker takes the lease of a token, renews it while it works, and passes it to every write. A lease expires
by itself, so that a worker that died blocks the others only briefly; its number, the fence, is never used
twice, so that a worker that only slept cannot write any more after its lease ended.

Stores load the stored lease, call one of these functions inside the transaction of the write, and store the
result. All times are by the store's clock, never by a worker's.

Source: M. Kleppmann, "How to do distributed locking": a lock that expires needs a fencing token.
"""

from __future__ import annotations

from datetime import datetime, timedelta

import attrs

from pyade.core.arguments import check_arguments
from pyade.errors import LeaseHeldError, LeaseLostError, StoreError

LEASE_SECONDS = 60.0
"""How long a lease lasts unless it is renewed."""

MAXIMUM_SECONDS = 600.0
"""The longest a lease may last; one that ends later was written before the store's clock was set back."""


@check_arguments
@attrs.frozen(kw_only=True)
class Lease:
    """The right to write for a token.

    Attributes:
        token_name: The token.
        owner: The worker that holds it, such as host and process id, for administrators to read.
        fence: Grows with every lease that the store issues; no two leases have the same.
        expires_at: When it expires unless it is renewed, by the store's clock, UTC.
    """

    token_name: str
    owner: str
    fence: int
    expires_at: datetime

    def is_current(self, now: datetime) -> bool:
        """Return True if it is valid at *now*, the time of the store."""
        return now < self.expires_at <= now + timedelta(seconds=MAXIMUM_SECONDS)


@check_arguments
@attrs.frozen(kw_only=True)
class LeaseHolder:
    """The holder of a token's lease.

    Attributes:
        owner: The worker, as in ``Lease``.
        remaining: Time until the lease expires, unless the worker renews or releases it; independent of the
            clock.
    """

    owner: str
    remaining: timedelta


def held(stored: Lease | None, *, now: datetime) -> LeaseHolder | None:
    """Return the holder of the *stored* lease at *now*, the time of the store; None if it is free."""
    if stored is None or not stored.is_current(now):
        return None
    return LeaseHolder(owner=stored.owner, remaining=stored.expires_at - now)


def check_free(stored: Lease | None, owner: str, *, now: datetime) -> None:
    """Check that *owner* may take the lease of a token.

    The same owner always may: it lost its lease in a restart.

    Raises:
        LeaseHeldError: Another owner has a valid lease.
    """
    if stored is not None and stored.owner != owner and stored.is_current(now):
        raise LeaseHeldError(
            f"{stored.token_name!r} is worked on by {stored.owner!r} until {stored.expires_at.isoformat()}",
            owner=stored.owner,
            expires_at=stored.expires_at,
            remaining_s=(stored.expires_at - now).total_seconds(),
        )


def check_held(stored: Lease | None, lease: Lease, *, now: datetime) -> None:
    """Check that *lease*, or a renewal of it, is the stored lease of the token, and still valid.

    Raises:
        LeaseLostError: It expired, or another worker took the lease since.
    """
    if stored is None or stored.fence != lease.fence:
        raise LeaseLostError(
            f"the lease of {lease.owner!r} on {lease.token_name!r} was released or taken over: "
            "nothing was written, leave the token to the other worker"
        )
    if not stored.is_current(now):
        raise LeaseLostError(
            f"the lease of {lease.owner!r} on {lease.token_name!r} ended at {stored.expires_at.isoformat()}: "
            "nothing was written, take a new one"
        )


def expiry(seconds: float, *, now: datetime) -> datetime:
    """Return when a lease that is taken or renewed *now* ends.

    Raises:
        StoreError: *seconds* is not above 0 or is more than 600.
    """
    if not 0 < seconds <= MAXIMUM_SECONDS:
        raise StoreError(f"a lease of {seconds} seconds: allowed is more than 0, up to {MAXIMUM_SECONDS:g}")
    return now + timedelta(seconds=seconds)
