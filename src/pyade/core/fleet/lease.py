"""Which worker may write for a token, and until when: one at a time, whatever happens to it.

A worker takes the lease of a token, renews it while it works, and hands it to every write. A lease ends by
itself, so that a worker which died blocks nobody for long; its number, the fence, is never given twice, so
that a worker which only slept cannot write any more once its lease ended.

Stores load what they have, call one of these functions inside the transaction of the write, and store what
comes back. All times are the store's, never a worker's.

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
"""The longest a lease may last; one that ends later was written before the store's clock was moved back."""


@check_arguments
@attrs.frozen(kw_only=True)
class Lease:
    """The right to write for a token.

    Attributes:
        token_name: The token.
        owner: Who holds it, such as host and process id, for people to read.
        fence: Grows with every lease that the store gives out; no two leases have the same.
        expires_at: From when it no longer counts unless it is renewed, by the store's clock, UTC.
    """

    token_name: str
    owner: str
    fence: int
    expires_at: datetime

    def is_current(self, now: datetime) -> bool:
        """Return True if it counts at *now*, the time of the store."""
        return now < self.expires_at <= now + timedelta(seconds=MAXIMUM_SECONDS)


@check_arguments
@attrs.frozen(kw_only=True)
class Held:
    """That a worker holds the lease of a token.

    Attributes:
        owner: Who.
        remaining: For how long, unless it renews the lease or gives it back; the same by every clock.
    """

    owner: str
    remaining: timedelta


def held(stored: Lease | None, *, now: datetime) -> Held | None:
    """Return who holds the lease that is *stored*, at *now*, the time of the store; None if nobody does."""
    if stored is None or not stored.is_current(now):
        return None
    return Held(owner=stored.owner, remaining=stored.expires_at - now)


def check_free(stored: Lease | None, owner: str, *, now: datetime) -> None:
    """Check that *owner* may take the lease of a token.

    The same owner may always: it lost its own lease in a restart.

    Raises:
        LeaseHeldError: Another owner's is current.
    """
    if stored is not None and stored.owner != owner and stored.is_current(now):
        raise LeaseHeldError(
            f"{stored.token_name!r} is worked on by {stored.owner!r} until {stored.expires_at.isoformat()}",
            owner=stored.owner,
            expires_at=stored.expires_at,
            remaining_s=(stored.expires_at - now).total_seconds(),
        )


def check_held(stored: Lease | None, lease: Lease, *, now: datetime) -> None:
    """Check that *lease*, or a renewal of it, is what the store holds for the token, and still counts.

    Raises:
        LeaseLostError: It ended, or somebody took another one since.
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
