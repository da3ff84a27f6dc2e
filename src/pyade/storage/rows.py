"""Rows as the transactions of ``SQLStore`` read and write them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime
from typing import Any, TypeAlias, TypeVar

import attrs

from pyade.builders import stored as documents
from pyade.core.events import EventBatch, EventGroup, change_groups, encode_groups
from pyade.core.inventory import DeviceRecord, SyncState, is_shown
from pyade.core.lease import Lease
from pyade.core.secret import masked
from pyade.errors import DamagedRecordError, UnknownTokenError
from pyade.storage import statements as sql
from pyade.storage.database import Session, Value
from pyade.storage.protocol import Damaged
from pyade.storage.schema import DEVICES

T = TypeVar("T")

BATCH = 500
"""Rows of devices per SELECT: enough to be fast, few enough to keep memory flat."""

EVENT_BATCH = 50
"""Rows of events per SELECT; each holds up to a page of devices."""

Run: TypeAlias = Callable[[str, Sequence[Value]], list[tuple[Any, ...]]]
"""Runs a statement, as ``Session.rows`` does."""


@attrs.frozen
class TokenRow:
    """The row of a token.

    Attributes:
        run: Runs a statement, as ``Session.rows`` does.
        name: Of the token.
        id: Its primary key.
        revision: Of its sync state.
        document: Of its sync state; None before the first run.
    """

    run: Run
    name: str
    id: int
    revision: int
    document: str | None

    def state(self) -> SyncState:
        """Return the sync state."""
        return documents.decode_state(self.document, self.name)

    def devices(self, serials: Iterable[str]) -> dict[str, DeviceRecord]:
        """Return the records of those *serials* that are stored."""
        return {
            serial: documents.decode_record(text, self.name)
            for batch in batches(tuple(serials))
            for serial, text in self.run(sql.SELECT_SOME.format(sql.marks(len(batch))), (self.id, *batch))
        }

    def shown_devices(self, serials: Sequence[str], released: bool | None) -> Iterator[DeviceRecord]:
        """Yield the records of *serials*, without hidden ones; *released* as in ``Store.devices``."""
        for batch in batches(serials):
            known = self.devices(batch)
            found = (known[serial] for serial in batch if serial in known)
            yield from (record for record in found if is_shown(record, released))

    def all_devices(self, select: str, *values: Value) -> Iterator[DeviceRecord]:
        """Yield the records that *select* finds."""
        for page in pages_of(self.run, select, (self.id, *values)):
            yield from (documents.decode_record(text, self.name) for _, text in page)


@attrs.frozen
class LockedToken(TokenRow):
    """The row of a token that is locked until the end of the transaction of *session*."""

    session: Session

    def save_state(self, state: SyncState) -> None:
        """Store the sync state."""
        self.run(sql.SAVE_STATE, (state.revision, documents.encode_state(state), self.id))

    def lease(self) -> Lease | None:
        """Return the lease, whether it still counts or not; None if nobody took one."""
        rows = self.run(sql.SELECT_LEASE, (self.id,))
        return documents.decode_lease(self.name, rows[0]) if rows else None

    def save_devices(self, records: Iterable[DeviceRecord]) -> None:
        """Store *records*."""
        self.session.upsert(DEVICES, [documents.record_row(self.id, record) for record in records])

    def emit(self, at: datetime, groups: tuple[EventGroup, ...]) -> None:
        """Write the events of this transaction."""
        emit(self.session, self.name, at, groups)

    def emit_changes(self, at: datetime, changes: Iterable[tuple[str, str]]) -> None:
        """Write the events of changes of devices."""
        self.emit(at, change_groups(changes))


def only_row(rows: Sequence[tuple[Any, ...]], token_name: str) -> tuple[Any, ...]:
    """Return the first of *rows*, which a token has if it is stored.

    Raises:
        UnknownTokenError: There is none.
    """
    if not rows:
        raise UnknownTokenError(f"no token {token_name!r} is stored: add it first")
    return rows[0]


def masked_last(rows: list[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    """Return *rows* with stars for their last column, which holds a secret."""
    return [(*row, masked(secret)) for *row, secret in rows]


def lock(session: Session, token_name: str) -> LockedToken:
    """Wait until nobody else writes for the token, and return its row; raises as ``only_row``."""
    token_id, stored, document = only_row(session.rows(sql.LOCK_TOKEN, (token_name,)), token_name)
    revision = documents.decode_revision(token_name, stored)
    return LockedToken(session.rows, token_name, token_id, revision, document, session)


def emit(session: Session, token_name: str, at: datetime, groups: tuple[EventGroup, ...]) -> None:
    """Write *groups* as one row of the outbox, if there are any."""
    if groups:
        session.rows(sql.ADD_EVENT, (at, token_name, encode_groups(groups)))


def audit(session: Session, events: EventBatch) -> None:
    """Write *events*; their token, if they have one, must be stored."""
    if events.token_name:
        lock(session, events.token_name)
    emit(session, events.token_name, events.at, events.groups)


def pages_of(run: Run, select: str, values: Sequence[Value]) -> Iterator[list[tuple[Any, ...]]]:
    """Yield the rows that *select* finds, a page at a time, by their first column."""
    after: tuple[str, ...] = ()
    while True:
        rows = run(sql.following(select, is_first=not after), (*values, *after, BATCH))
        yield rows
        if len(rows) < BATCH:
            return
        after = (rows[-1][0],)


def records_of(run: Run, serials: Sequence[str]) -> Iterator[DeviceRecord]:
    """Yield what all tokens know about *serials*."""
    for batch in batches(serials):
        for token_name, text in run(sql.SELECT_RECORDS.format(sql.marks(len(batch))), batch):
            yield documents.decode_record(text, token_name)


def event_rows(run: Run, number: int, row: int, damaged: Damaged | None) -> Iterator[tuple[str, EventBatch]]:
    """Yield the rows of the outbox from a position on, each with what the store calls it."""
    while True:
        rows = run(sql.SELECT_EVENTS, (number, row, EVENT_BATCH))
        yield from readable(rows, _event_row, damaged)
        if len(rows) < EVENT_BATCH:
            return
        number, row = rows[-1][0], rows[-1][1] + 1


def _event_row(transaction: int, row: int, *values: Any) -> tuple[str, EventBatch]:
    row_id = f"{transaction}-{row}"
    return row_id, documents.decode_batch(row_id, *values)


def batches(serials: Sequence[str]) -> Iterator[Sequence[str]]:
    """Yield *serials* in parts that a statement takes."""
    for start in range(0, len(serials), BATCH):
        yield serials[start : start + BATCH]


def readable(
    rows: Iterable[tuple[Any, ...]], decode: Callable[..., T], damaged: Damaged | None
) -> Iterator[T]:
    """Yield what each row decodes to; hand errors to *damaged*, if it is given."""
    for row in rows:
        try:
            found = decode(*row)
        except DamagedRecordError as error:
            if damaged is None:
                raise
            damaged(error)
        else:
            yield found
