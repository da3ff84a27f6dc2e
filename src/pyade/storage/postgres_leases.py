"""The leases of the PostgreSQL store; every function runs inside the transaction that its caller began.

That transaction holds the lock of the token's row, so that nobody takes a lease between its check and the
commit.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import LiteralString, TypeAlias

import attrs

from pyade.core.lease import Lease, check_free, check_held, expiry
from pyade.storage.postgres_connections import Session

Clock: TypeAlias = Callable[[], datetime] | None
"""What times leases; None for the server's own clock."""


def acquire(
    session: Session, token_id: int, token_name: str, owner: str, *, seconds: float, clock: Clock
) -> Lease:
    """Give the lease of a token to *owner*, with a fence that was never given before.

    Raises:
        LeaseHeldError: Another owner's is current.
    """
    stored, now = _load(session, token_id, token_name, clock)
    ends = expiry(seconds, now=now)
    check_free(stored, owner, now=now)
    session.execute("DELETE FROM {schema}.lease WHERE token_id = %s", (token_id,))
    (fence,) = session.one(_INSERT, (token_id, owner.encode(), ends))
    return Lease(token_name=token_name, owner=owner, fence=fence, expires_at=ends)


def renew(session: Session, token_id: int, lease: Lease, *, seconds: float, clock: Clock) -> Lease:
    """Let *lease* last *seconds* from now.

    Raises:
        LeaseLostError: It ended, or somebody took another one since.
    """
    stored, now = _load(session, token_id, lease.token_name, clock)
    ends = expiry(seconds, now=now)
    check_held(stored, lease, now=now)
    session.execute("UPDATE {schema}.lease SET expires_at = %s WHERE fence = %s", (ends, lease.fence))
    return attrs.evolve(lease, expires_at=ends)


def release(session: Session, lease: Lease) -> None:
    """End *lease*; harmless if it was lost."""
    session.execute("DELETE FROM {schema}.lease WHERE fence = %s", (lease.fence,))


def check(session: Session, token_id: int, lease: Lease, clock: Clock) -> None:
    """Check that *lease* still counts.

    Raises:
        LeaseLostError: It ended, or somebody took another one since.
    """
    stored, now = _load(session, token_id, lease.token_name, clock)
    check_held(stored, lease, now=now)


def _load(session: Session, token_id: int, token_name: str, clock: Clock) -> tuple[Lease | None, datetime]:
    """Return the lease that the store holds, and the time."""
    now, fence, owner, expires_at = session.one(_SELECT, (token_id,))
    time = now.astimezone(UTC) if clock is None else clock()
    if fence is None:
        return None, time
    ends = expires_at.astimezone(UTC)
    return Lease(token_name=token_name, owner=owner.decode(), fence=fence, expires_at=ends), time


_SELECT: LiteralString = """
    SELECT clock_timestamp(), fence, owner, expires_at
    FROM {schema}.token LEFT JOIN {schema}.lease ON lease.token_id = token.id WHERE token.id = %s
"""
_INSERT: LiteralString = """
    INSERT INTO {schema}.lease (token_id, owner, expires_at) VALUES (%s, %s, %s) RETURNING fence
"""
