"""What the outboxes of all stores have in common."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import chain, islice
from typing import TypeVar

from pyade.core.events import Event, EventBatch, split_id
from pyade.errors import StoreError

RowId = TypeVar("RowId", int, str)


def position_number(after: str | None) -> tuple[int, int]:
    """Return the number of the row and the index in it that an event id stands for; ``(0, -1)`` at the start.

    For stores that number their rows 1, 2, 3.

    Raises:
        StoreError: This is no id of an event of such a store.
    """
    if not after:
        return 0, -1
    row_id, index = split_id(after)
    if not (row_id.isascii() and row_id.isdigit() and len(row_id) <= 18):
        raise StoreError(
            f"{after[:80]!r} is no id of an event of this store: give one that events() returned"
        )
    return int(row_id), index


def read(rows: Iterable[tuple[RowId, EventBatch]], after: tuple[RowId, int], limit: int) -> tuple[Event, ...]:
    """Return at most *limit* events of *rows* that come after a position.

    Args:
        rows: What the store calls each row, in their order from the row of the position on.
        after: The row and the index in it that were read last, as ``position_number`` returns them.
        limit: At least 1.

    Raises:
        StoreError: *limit* is less than 1.
    """
    if limit < 1:
        raise StoreError(f"limit {limit} is less than 1: give how many events to return at most")
    number, index = after
    expanded = (batch.expand(str(row), after=index if row == number else -1) for row, batch in rows)
    return tuple(islice(chain.from_iterable(expanded), limit))
