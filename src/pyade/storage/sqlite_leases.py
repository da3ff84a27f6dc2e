"""The leases of the SQLite store; every function runs inside the transaction that its caller began.

That transaction holds the file's write lock, so that nobody takes a lease between its check and the commit.
"""

from __future__ import annotations

import sqlite3
from datetime import UTC, datetime

import attrs

from pyade.core.lease import Lease, check_free, check_held, expiry


def acquire(
    db: sqlite3.Connection, token_id: int, token_name: str, owner: str, *, seconds: float, now: datetime
) -> Lease:
    """Give the lease of a token to *owner*, with a fence that was never given before.

    Raises:
        LeaseHeldError: Another owner's is current.
    """
    ends = expiry(seconds, now=now)
    check_free(_load(db, token_id, token_name), owner, now=now)
    db.execute("DELETE FROM lease WHERE token_id = ?", (token_id,))
    row = db.execute(_INSERT, (token_id, owner, _text(ends))).fetchone()
    return Lease(token_name=token_name, owner=owner, fence=row[0], expires_at=ends)


def renew(db: sqlite3.Connection, token_id: int, lease: Lease, *, seconds: float, now: datetime) -> Lease:
    """Let *lease* last *seconds* from *now*.

    Raises:
        LeaseLostError: It ended, or somebody took another one since.
    """
    ends = expiry(seconds, now=now)
    check(db, token_id, lease, now=now)
    db.execute("UPDATE lease SET expires_at = ? WHERE fence = ?", (_text(ends), lease.fence))
    return attrs.evolve(lease, expires_at=ends)


def release(db: sqlite3.Connection, lease: Lease) -> None:
    """End *lease*; harmless if it was lost."""
    db.execute("DELETE FROM lease WHERE fence = ?", (lease.fence,))


def check(db: sqlite3.Connection, token_id: int, lease: Lease, *, now: datetime) -> None:
    """Check that *lease* still counts.

    Raises:
        LeaseLostError: It ended, or somebody took another one since.
    """
    check_held(_load(db, token_id, lease.token_name), lease, now=now)


def _load(db: sqlite3.Connection, token_id: int, token_name: str) -> Lease | None:
    row = db.execute(_SELECT, (token_id,)).fetchone()
    if row is None:
        return None
    fence, owner, expires_at = row
    return Lease(
        token_name=token_name, owner=owner, fence=fence, expires_at=datetime.fromisoformat(expires_at)
    )


def _text(value: datetime) -> str:
    return value.astimezone(UTC).isoformat()


_SELECT = "SELECT fence, owner, expires_at FROM lease WHERE token_id = ?"
_INSERT = "INSERT INTO lease (token_id, owner, expires_at) VALUES (?, ?, ?) RETURNING fence"
