"""Reading and writing of rows in the transactions of ``SQLStore``."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from itertools import count
from types import MappingProxyType
from typing import Any, TypeAlias, TypeVar

import attrs

from pyade.builders import documents
from pyade.core.fleet.events import EventBatch, EventGroup, change_groups, encode_groups
from pyade.core.fleet.groups import DeviceGroup, group_of
from pyade.core.fleet.lease import Lease
from pyade.core.fleet.records import DeviceRecord, SyncState, is_shown
from pyade.core.secret import masked
from pyade.errors import DamagedRecordError, StoreError, UnknownTokenError
from pyade.storage import tables
from pyade.storage.database import Session, Table, Value
from pyade.storage.protocol import OnDamaged
from pyade.storage.tables import CHANGED_DEVICES, DEVICES
from pyade.text import MAX_LISTED, abbreviate

T = TypeVar("T")

BATCH = 1000
"""Rows of devices per statement: enough to be fast, few enough to keep memory flat."""

ID_BATCH = 20 * BATCH
"""Ids of devices per SELECT: ids are small, and with several groups each SELECT sorts all that are left."""

DEVICES_OF_TOKEN = 2**40
"""Size of the range of ids that is reserved for the devices of one token."""

EVENT_BATCH = 50
"""Rows of events per SELECT; each holds up to a page of devices."""

Run: TypeAlias = Callable[[str, Sequence[Value]], list[tuple[Any, ...]]]
"""Runs a statement, as ``Session.rows`` does."""


@attrs.frozen
class TokenRow:
    """The row of a token.

    Attributes:
        run: Runs a statement, as ``Session.rows`` does.
        name: Name of the token.
        id: Primary key of the token.
        revision: Revision of its sync state.
        document: Document of its sync state; None before the first run.
    """

    run: Run
    name: str
    id: int
    revision: int
    document: str | None

    @property
    def ids(self) -> tuple[int, int]:
        """The first and the last id that a device of the token can have."""
        return self.id * DEVICES_OF_TOKEN, (self.id + 1) * DEVICES_OF_TOKEN - 1

    def state(self) -> SyncState:
        """Return the sync state."""
        return documents.decode_state(self.document, self.name)

    def rows_of(self, serials: Iterable[str]) -> Iterator[tuple[Any, ...]]:
        """Yield the stored rows of *serials*: the id, then the values for ``decode_record``."""
        for batch in batches(tuple(serials)):
            yield from self.run(tables.SELECT_SOME, (self.id, list(batch)))

    def devices(self, serials: Iterable[str]) -> dict[str, DeviceRecord]:
        """Return the records of those *serials* that are stored."""
        return {row[1]: documents.decode_record(self.name, row[1:]) for row in self.rows_of(serials)}

    def shown_devices(self, serials: Sequence[str], released: bool | None) -> Iterator[DeviceRecord]:
        """Yield the records of *serials*, without hidden ones; *released* as in ``Store.devices``."""
        for batch in batches(serials):
            known = self.devices(batch)
            found = (known[serial] for serial in batch if serial in known)
            yield from (record for record in found if is_shown(record, released))

    def all_devices(self, released: bool | None) -> Iterator[DeviceRecord]:
        """Yield the records of all devices, without hidden ones; *released* as in ``Store.devices``."""
        for page in pages_of(self.run, tables.PAGES[released], self.ids, by="device.id"):
            yield from (documents.decode_record(self.name, row[1:]) for row in page)

    def devices_in(self, groups: Collection[DeviceGroup], released: bool | None) -> Iterator[DeviceRecord]:
        """Yield the records of *groups*, without hidden ones; *released* as in ``Store.devices``."""
        wanted = {group for group in groups if not group.is_hidden and released in (None, group.is_released)}
        ids = frozenset(self.ids_of([documents.group_row(group)[0] for group in wanted]).values())
        if len(ids) > BATCH:
            yield from (record for record in self.all_devices(released) if group_of(record) in wanted)
        elif ids:
            for page in pages_of(self.run, tables.SELECT_IDS_IN, (list(ids),), by="id", size=ID_BATCH):
                for batch in batches([device_id for (device_id,) in page]):
                    for group_id, *row in self.run(tables.SELECT_BY_ID, (list(batch),)):
                        if group_id in ids:  # the group may have changed meanwhile
                            yield documents.decode_record(self.name, row)

    def serials_in(self, groups: Iterable[DeviceGroup]) -> Iterator[str]:
        """Yield the serial numbers of the devices of *groups*."""
        ids = list(self.ids_of([documents.group_row(group)[0] for group in groups]).values())
        for page in pages_of(self.run, tables.SELECT_SERIALS_IN, (ids,), by="id", size=ID_BATCH):
            yield from (serial for _, serial in page)

    def shared_serials(self, serials: Sequence[str] | None) -> Iterator[str]:
        """Yield what ``Store.shared_serials`` returns."""
        if not self.run(tables.HAS_OTHER_TOKEN, (self.id,)):
            return
        if serials is None:
            yield from (serial for (serial,) in self.run(tables.SELECT_SHARED, self.ids))
            return
        for batch in batches(serials):
            found = self.run(tables.SELECT_SHARED_SOME, (self.id, list(batch)))
            yield from (serial for (serial,) in found)

    def ids_of(self, digests: Sequence[str]) -> dict[str, int]:
        """Return the ids of those groups that are stored, by digest."""
        return {digest: group_id for digest, group_id, *_ in self._group_rows(digests)}

    def _group_rows(self, digests: Sequence[str]) -> Iterator[tuple[Any, ...]]:
        """Yield the rows of groups: digest, id, then the other values of ``group_row``."""
        for batch in batches(digests):
            yield from self.run(tables.SELECT_GROUPS, (self.id, list(batch)))


@attrs.frozen
class LockedToken(TokenRow):
    """The row of a token that is locked until the end of the transaction of *session*."""

    session: Session

    def save_state(self, state: SyncState) -> None:
        """Store the sync state."""
        self.run(tables.SAVE_STATE, (state.revision, documents.encode_state(state), self.id))

    def lease(self) -> Lease | None:
        """Return the stored lease, also an expired one; None if there is none."""
        rows = self.run(tables.SELECT_LEASE, (self.id,))
        return documents.decode_lease(self.name, rows[0]) if rows else None

    def save_devices(
        self,
        records: Iterable[DeviceRecord],
        known: Mapping[str, tuple[Any, ...]],
        texts: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        """Store *records*.

        Args:
            records: The records to store.
            known: Rows of those that are stored already, as ``rows_of`` yields them, by serial number.
            texts: Apple's own JSON that decodes to exactly the device, by serial number, if known.
        """
        rows = [
            (
                known.get(record.serial_number),
                documents.record_row(record, texts.get(record.serial_number)),
                group_of(record),
            )
            for record in records
        ]
        ids = self.group_ids({group for *_, group in rows})
        added = [(self.id, ids[group], *row) for before, row, group in rows if before is None]
        changed = [(ids[group], *row[2:], before[0]) for before, row, group in rows if before is not None]
        if added:
            self.add_rows([(*row, id_) for row, id_ in zip(added, self.new_ids(), strict=False)], DEVICES)
        if changed:
            self.session.update(CHANGED_DEVICES, changed)

    def add_rows(self, rows: Sequence[tuple[Any, ...]], table: Table) -> None:
        """Store the rows of devices that are not stored, in the order of *table*."""
        if rows and not self.session.insert(table, rows):
            raise StoreError(f"a device of {self.name!r} was stored meanwhile by a writer without the lock")

    def new_ids(self) -> Iterator[int]:
        """Return the ids for the next new devices."""
        first, last = self.ids
        ((highest,),) = self.run(tables.LAST_ID, (first, last))
        return count(first if highest is None else highest + 1)

    def group_ids(self, groups: Iterable[DeviceGroup]) -> dict[DeviceGroup, int]:
        """Return the ids of *groups*; a group that is not stored, or whose row is damaged, is written."""
        rows = {group: documents.group_row(group) for group in groups}
        found: dict[str, int] = {}
        stored: set[tuple[Any, ...]] = set()
        for digest, group_id, *rest in self._group_rows([digest for digest, *_ in rows.values()]):
            found[digest] = group_id
            stored.add((digest, *rest))
        missing = [row for row in rows.values() if row not in stored]
        for row in missing:
            self.run(tables.SAVE_GROUP, (self.id, *row))
        found |= self.ids_of([row[0] for row in missing])
        return {group: found[row[0]] for group, row in rows.items()}

    def mark_listed(self, ids: Sequence[int], full_sync: int) -> None:
        """Store that the full list of that number shows the devices of those *ids*."""
        for batch in batches(ids):
            self.run(tables.MARK_LISTED, (full_sync, list(batch)))

    def emit(self, at: datetime, groups: tuple[EventGroup, ...]) -> None:
        """Write the events of this transaction."""
        emit(self.session, self.name, at, groups)

    def emit_changes(self, at: datetime, changes: Iterable[tuple[str, str]]) -> None:
        """Write the events of changes of devices."""
        self.emit(at, change_groups(changes))


def only_row(
    rows: Sequence[tuple[Any, ...]],
    token_name: str,
    read: Callable[[str, Sequence[Value]], list[tuple[Any, ...]]],
) -> tuple[Any, ...]:
    """Return the first of *rows*, which a token has if it is stored.

    Args:
        rows: What a statement found.
        token_name: The token.
        read: Reads the names of the stored tokens, for the error.

    Raises:
        UnknownTokenError: There is none.
    """
    if rows:
        return rows[0]
    names = [repr(name) for (name,) in read(tables.SELECT_NAMES, (MAX_LISTED + 1,))]
    known = f"only {abbreviate(names)}" if names else "nor any other"
    raise UnknownTokenError(
        f"no token {token_name!r} is stored, {known}: check the name, or call add_or_renew_token(token)"
    )


def masked_last(rows: list[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    """Return *rows* with the last column, which holds a secret, masked in its ``repr``."""
    return [(*row, masked(secret)) for *row, secret in rows]


def lock(session: Session, token_name: str) -> LockedToken:
    """Wait until no other transaction writes for the token, and return its row; raises as ``only_row``."""
    found = session.rows(tables.LOCK_TOKEN, (token_name,))
    token_id, stored, document = only_row(found, token_name, session.rows)
    revision = documents.decode_revision(token_name, stored)
    return LockedToken(session.rows, token_name, token_id, revision, document, session)


def emit(session: Session, token_name: str, at: datetime, groups: tuple[EventGroup, ...]) -> None:
    """Write *groups* as one row of the outbox, if there are any."""
    if groups:
        session.rows(tables.ADD_EVENT, (at, token_name, encode_groups(groups)))


def audit(session: Session, events: EventBatch) -> None:
    """Write *events*; their token, if they have one, must be stored."""
    if events.token_name:
        lock(session, events.token_name)
    emit(session, events.token_name, events.at, events.groups)


def pages_of(
    run: Run, select: str, values: Sequence[Value], *, by: str, size: int = BATCH
) -> Iterator[list[tuple[Any, ...]]]:
    """Yield the rows of *select* in pages of *size*, sorted by the first column, whose name is *by*."""
    after: tuple[Value, ...] = ()
    while True:
        rows = run(tables.following(select, by, is_first=not after), (*values, *after, size))
        yield rows
        if len(rows) < size:
            return
        after = (rows[-1][0],)


def records_of(run: Run, serials: Sequence[str]) -> Iterator[DeviceRecord]:
    """Yield the records of *serials* of all tokens."""
    for batch in batches(serials):
        for token_name, *row in run(tables.SELECT_RECORDS, (list(batch),)):
            yield documents.decode_record(token_name, row)


def event_rows(
    run: Run, number: int, row: int, damaged: OnDamaged | None
) -> Iterator[tuple[str, EventBatch]]:
    """Yield the rows of the outbox from a position on, each with its id."""
    while True:
        rows = run(tables.SELECT_EVENTS, (number, row, EVENT_BATCH))
        yield from readable(rows, _event_row, damaged)
        if len(rows) < EVENT_BATCH:
            return
        number, row = rows[-1][0], rows[-1][1] + 1


def _event_row(transaction: int, row: int, *values: Any) -> tuple[str, EventBatch]:
    row_id = f"{transaction}-{row}"
    return row_id, documents.decode_batch(row_id, *values)


def batches(values: Sequence[T]) -> Iterator[Sequence[T]]:
    """Yield *values* in batches that fit into one statement."""
    for start in range(0, len(values), BATCH):
        yield values[start : start + BATCH]


def readable(
    rows: Iterable[tuple[Any, ...]], decode: Callable[..., T], damaged: OnDamaged | None
) -> Iterator[T]:
    """Yield the decoded rows; pass errors to *damaged*, or raise them if it is None."""
    for row in rows:
        try:
            found = decode(*row)
        except DamagedRecordError as error:
            if damaged is None:
                raise
            damaged(error)
        else:
            yield found
