"""The clock of the stores that have no server of their own."""

from __future__ import annotations

from datetime import UTC, datetime


def utc_now() -> datetime:
    """Return the time of this machine, UTC."""
    return datetime.now(UTC)
