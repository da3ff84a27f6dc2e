"""A store in PostgreSQL, for many workers on many nodes.

How it stays safe:

* Every write is one transaction that first locks the row of its token, so that two workers of one token take
  turns, and workers of different tokens do not wait for each other; readers never wait.
* The sync state stands in that same row: whoever gets the lock reads what the one before it wrote.
* Devices are written set-wise: one statement for a page.
* Nothing stays open between two batches of an iteration, so that it does not hold back the server's vacuum.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, LiteralString, Self

from pyade.core.device import Device
from pyade.core.events import EventBatch, EventGroup, EventKind, attempt_groups, change_groups
from pyade.core.inventory import (
    PURGE_AFTER,
    Attempt,
    ChangeCounts,
    DeviceRecord,
    Source,
    SyncState,
    delete,
    finished_state,
    is_shown,
    is_unlisted,
    merge_attempts,
    merge_page,
    next_state,
    release,
)
from pyade.core.lease import LEASE_SECONDS, Lease
from pyade.core.profile import EnrollmentProfile
from pyade.core.token import Token
from pyade.errors import DuplicateTokenError
from pyade.storage import documents, postgres_leases
from pyade.storage.postgres_connections import Pool, Session
from pyade.storage.postgres_enrollments import PostgresEnrollments
from pyade.storage.postgres_outbox import emit
from pyade.storage.postgres_schema import migrate
from pyade.storage.postgres_tokens import TokenRow, decode_state, id_of, lock, unknown
from pyade.storage.protocol import DefinedProfile
from pyade.storage.secrets import SecretBox

_BATCH = 1000
"""Rows per SELECT: enough to be fast, few enough to keep memory flat."""


class PostgresStore(PostgresEnrollments):
    """A ``Store`` in one schema of a PostgreSQL database; safe for threads, processes and nodes.

    Needs the extra ``postgres`` and PostgreSQL 15 or later. Each process opens a store of its own: one that
    was opened before a fork refuses to work in the child.
    """

    def __init__(
        self,
        dsn: str,
        *,
        keys: Sequence[str | bytes] | None = None,
        clock: Callable[[], datetime] | None = None,
        schema: str = "pyade",
        max_connections: int = 8,
        timeout_s: float = 30.0,
    ) -> None:
        """Connect, create the schema if there is none, and migrate an older one.

        Args:
            dsn: A connection string or URL of PostgreSQL, such as ``postgresql://user:password@host/database``.
            keys: Encrypt secrets with the first of them, and decrypt with any; see ``storage.secrets``.
            clock: Times the leases; None for the server's own, which is the same for all nodes.
            schema: Where the tables are; stores with different schemas share nothing.
            max_connections: Connections of this store at most; threads beyond wait for one.
            timeout_s: Seconds to wait for a connection, or while another worker writes the same token. A
                worker that stands still for half of it inside a transaction loses the transaction.

        Raises:
            StoreVersionError: The schema was written by a newer pyade.
            StoreError: The server cannot be reached or refuses, or secrets were encrypted with another key.
        """
        box = SecretBox(keys or ())
        super().__init__(Pool(dsn, schema=schema, max_connections=max_connections, timeout_s=timeout_s), box)
        self._clock = clock
        self._pool.open()
        try:
            with self._pool.writing() as session:
                migrate(session)
                self._check_keys(session)
        except BaseException:
            self._pool.close()
            raise

    def add_token(self, token: Token) -> None:
        """Store a new token."""
        document, secrets = self._sealed(token)
        with self._pool.writing() as session:
            added = session.execute(_ADD, (token.name.encode(), document, secrets))
            if added.rowcount == 0:
                raise DuplicateTokenError(
                    f"a token {token.name!r} is stored already: renew it or choose another name"
                )

    def token(self, name: str) -> Token:
        """Return the token called *name*."""
        document, secrets = self._read_token(_SELECT_ONE, name)
        return self._opened(document, secrets)

    def tokens(self) -> tuple[Token, ...]:
        """Return all tokens, by name."""
        with self._pool.reading() as session:
            rows = session.execute(_SELECT_ALL).fetchall()
        return tuple(self._opened(document, secrets) for document, secrets in rows)

    def replace_token(self, token: Token) -> None:
        """Replace the token of the same name; its cursor, devices and profiles stay."""
        document, secrets = self._sealed(token)
        with self._writing(token.name) as row:
            row.session.execute(_REPLACE, (document, secrets, row.id))

    def remove_token(self, name: str, *, now: datetime) -> None:
        """Remove a token and everything that belongs to it; its events stay, and one says that it is gone."""
        with self._writing(name) as row:
            row.session.execute("DELETE FROM {schema}.token WHERE id = %s", (row.id,))
            emit(row.session, name, now, (EventGroup(EventKind.TOKEN_REMOVED),))

    def sync_state(self, token_name: str) -> SyncState:
        """Return where the token's sync stands."""
        return decode_state(self._read_token(_SELECT_STATE, token_name)[0])

    def sync_states(self) -> Mapping[str, SyncState]:
        """Return where the sync of every stored token stands, by the token's name, in one read."""
        with self._pool.reading() as session:
            rows = session.execute("SELECT name, state FROM {schema}.token ORDER BY name").fetchall()
        return {name.decode(): decode_state(document) for name, document in rows}

    def save_sync_state(
        self,
        token_name: str,
        state: SyncState,
        *,
        events: EventBatch | None = None,
        lease: Lease | None = None,
    ) -> SyncState:
        """Store *state*, and *events* that say what it changes, and return it with the next revision."""
        with self._writing(token_name, lease) as row:
            following = next_state(token_name, row.revision, state)
            row.save_state(following)
            if events is not None:
                emit(row.session, token_name, events.at, events.groups)
        return following

    def acquire_lease(self, token_name: str, owner: str, *, seconds: float = LEASE_SECONDS) -> Lease:
        """Take the lease of a token, for one worker at a time."""
        with self._writing(token_name) as row:
            return postgres_leases.acquire(
                row.session, row.id, token_name, owner, seconds=seconds, clock=self._clock
            )

    def renew_lease(self, lease: Lease, *, seconds: float = LEASE_SECONDS) -> Lease:
        """Let *lease* last *seconds* from now, and return it so."""
        with self._writing(lease.token_name) as row:
            return postgres_leases.renew(row.session, row.id, lease, seconds=seconds, clock=self._clock)

    def release_lease(self, lease: Lease) -> None:
        """Let the next worker in at once; harmless if *lease* was lost or its token removed."""
        with self._pool.writing() as session:
            postgres_leases.release(session, lease)

    def commit_page(
        self,
        token_name: str,
        devices: Sequence[Device],
        *,
        source: Source,
        state: SyncState,
        now: datetime,
        lease: Lease | None = None,
    ) -> tuple[SyncState, ChangeCounts]:
        """Merge *devices* in their order and store *state*, all or nothing."""
        with self._writing(token_name, lease) as row:
            following = next_state(token_name, row.revision, state)
            known = _load_devices(row.session, row.id, {device.serial_number for device in devices})
            changes: list[tuple[str, str]] = []
            changed, counts = merge_page(
                known,
                devices,
                token_name=token_name,
                source=source,
                state=state,
                now=now,
                changes=changes,
            )
            _save_devices(row, changed.values())
            emit(row.session, token_name, now, change_groups(changes))
            row.save_state(following)
        return following, counts

    def finish_full_sync(
        self, token_name: str, *, state: SyncState, now: datetime, lease: Lease | None = None
    ) -> tuple[SyncState, ChangeCounts]:
        """Release every device that the full list did not show and store *state*, all or nothing."""
        released = 0
        with self._writing(token_name, lease) as row:
            following = finished_state(token_name, row.revision, state)
            start = b""
            while rows := row.session.execute(
                _SELECT_UNLISTED, (row.id, start, state.full_sync, _BATCH)
            ).fetchall():
                start = _after(rows)
                records = (documents.decode_record(document.decode()) for _, document in rows)
                gone = [release(record, now) for record in records if is_unlisted(record, state)]
                _save_devices(row, gone)
                shown = [
                    (EventKind.RELEASED, record.serial_number) for record in gone if not record.is_hidden
                ]
                emit(row.session, token_name, now, change_groups(shown))
                released += len(shown)
            row.save_state(following)
        return following, ChangeCounts(released=released)

    def device(self, token_name: str, serial_number: str) -> DeviceRecord | None:
        """Return the record of a device, released or hidden ones too; None if the store does not know it."""
        with self._pool.reading() as session:
            known = _load_devices(session, id_of(session, token_name), (serial_number,))
        return known.get(serial_number)

    def records_of(self, serials: Sequence[str]) -> Iterator[DeviceRecord]:
        """Iterate lazily over what all tokens know about *serials*, by serial number and token name."""
        with self._pool.reading():
            return self._iterate_records(sorted(set(serials)))

    def _iterate_records(self, serials: Sequence[str]) -> Iterator[DeviceRecord]:
        for batch in _batches(serials):
            with self._pool.reading() as session:
                rows = session.execute(_SELECT_RECORDS, (_keys(batch),)).fetchall()
            for (document,) in rows:
                yield documents.decode_record(document.decode())

    def delete_device(self, token_name: str, serial_number: str, *, now: datetime) -> None:
        """Delete a device here: a released one is removed, one that Apple lists is hidden."""
        with self._writing(token_name) as row:
            record = _load_devices(row.session, row.id, (serial_number,)).get(serial_number)
            left = None if record is None else delete(record, now)
            if left is not None:
                _save_devices(row, (left,))
            else:
                row.session.execute(_DELETE_DEVICE, (row.id, serial_number.encode()))
            if record is not None and not record.is_hidden:
                emit(row.session, token_name, now, change_groups([(EventKind.DELETED, serial_number)]))

    def purge_released(self, token_name: str, *, now: datetime) -> int:
        """Remove what was released 30 days before *now* or earlier, and return how many records that were."""
        with self._writing(token_name) as row:
            gone = sorted(row.session.execute(_PURGE, (row.id, now - PURGE_AFTER)).fetchall())
            shown = ((EventKind.PURGED, serial.decode()) for serial, hidden in gone if not hidden)
            emit(row.session, token_name, now, change_groups(shown))
        return len(gone)

    def devices(
        self, token_name: str, *, serials: Sequence[str] | None = None, released: bool | None = False
    ) -> Iterator[DeviceRecord]:
        """Iterate lazily over the token's devices by serial number, each once, without hidden ones."""
        with self._pool.reading() as session:
            token_id = id_of(session, token_name)
        if serials is None:
            return self._iterate_all(token_id, released)
        return self._iterate_some(token_id, sorted(set(serials)), released)

    def _iterate_all(self, token_id: int, released: bool | None) -> Iterator[DeviceRecord]:
        start = b""
        while True:
            with self._pool.reading() as session:
                rows = session.execute(_SELECT_PAGE, (token_id, start, released, released, _BATCH)).fetchall()
            for _, document in rows:
                yield documents.decode_record(document.decode())
            if len(rows) < _BATCH:
                return
            start = _after(rows)

    def _iterate_some(
        self, token_id: int, serials: Sequence[str], released: bool | None
    ) -> Iterator[DeviceRecord]:
        for batch in _batches(serials):
            with self._pool.reading() as session:
                known = _load_devices(session, token_id, batch)
            for serial in batch:
                record = known.get(serial)
                if record is not None and is_shown(record, released):
                    yield record

    def count_devices(self, token_name: str) -> Mapping[str, int]:
        """Return the number of listed devices by profile status, and of the released ones."""
        counts = {"released": 0}
        with self._pool.reading() as session:
            rows = session.execute(_COUNT, (id_of(session, token_name),)).fetchall()
        for is_released, status, count in rows:
            name = "released" if is_released else status.decode()
            counts[name] = counts.get(name, 0) + count
        return counts

    def count_unlisted(self, token_name: str, state: SyncState) -> int:
        """Return how many devices ``finish_full_sync`` with *state* would release."""
        with self._pool.reading() as session:
            token_id = id_of(session, token_name)
        count, start = 0, b""
        while True:
            with self._pool.reading() as session:
                rows = session.execute(
                    _SELECT_UNLISTED, (token_id, start, state.full_sync, _BATCH)
                ).fetchall()
            records = (documents.decode_record(document.decode()) for _, document in rows)
            count += sum(is_unlisted(record, state) and not record.is_hidden for record in records)
            if len(rows) < _BATCH:
                return count
            start = _after(rows)

    def save_profile(self, token_name: str, profile: DefinedProfile, *, lease: Lease | None = None) -> None:
        """Remember a profile that was defined at Apple; the same ``profile_uuid`` replaces."""
        values = (
            profile.profile_uuid.encode(),
            profile.digest.encode(),
            profile.defined_at,
            profile.individual,
            documents.encode_profile(profile.profile).encode(),
        )
        with self._writing(token_name, lease) as row:
            row.session.execute(_SAVE_PROFILE, (row.id, *values))

    def profiles(self, token_name: str) -> tuple[DefinedProfile, ...]:
        """Return the profiles that were defined through this token, oldest first."""
        with self._pool.reading() as session:
            rows = session.execute(_SELECT_PROFILES, (id_of(session, token_name),)).fetchall()
        return tuple(_defined(row) for row in rows)

    def defined_profile(self, token_name: str, profile_uuid: str) -> DefinedProfile | None:
        """Return the profile of exactly that id; None if none was defined through this token."""
        with self._pool.reading() as session:
            place = (id_of(session, token_name), profile_uuid.encode())
            row = session.execute(_SELECT_PROFILE, place).fetchone()
        return None if row is None else _defined(row)

    def set_default_profile(self, token_name: str, profile: EnrollmentProfile | None) -> None:
        """Set, or with None remove, the profile for devices without one of their own."""
        document = None if profile is None else documents.encode_profile(profile).encode()
        with self._writing(token_name) as row:
            row.session.execute(
                "UPDATE {schema}.token SET default_profile = %s WHERE id = %s", (document, row.id)
            )

    def default_profile(self, token_name: str) -> EnrollmentProfile | None:
        """Return the token's default profile; None if there is none."""
        (document,) = self._read_token(_SELECT_DEFAULT, token_name)
        return None if document is None else documents.decode_profile(document.decode())

    def record_attempts(
        self,
        token_name: str,
        attempts: Mapping[str, Attempt],
        *,
        details: Sequence[Device] = (),
        now: datetime,
        lease: Lease | None = None,
    ) -> None:
        """Store the outcome of an assignment per serial number, and the details read after it."""
        serials = {*attempts, *(device.serial_number for device in details)}
        with self._writing(token_name, lease) as row:
            known = _load_devices(row.session, row.id, serials)
            changed = merge_attempts(
                known, attempts, details, token_name=token_name, state=row.state(), now=now
            )
            _save_devices(row, changed.values())
            emit(row.session, token_name, now, attempt_groups(known, changed, attempts))

    def close(self) -> None:
        """Close all connections; every later call raises ``StoreClosedError``."""
        self._pool.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"PostgresStore({self._pool.where!r}, schema={self._pool.schema!r})"

    def _sealed(self, token: Token) -> tuple[bytes, bytes]:
        document, secrets = documents.encode_token(token)
        return document.encode(), self._box.seal(secrets).encode()

    def _opened(self, document: bytes, secrets: bytes) -> Token:
        return documents.decode_token(document.decode(), self._box.open(secrets.decode()))

    @contextmanager
    def _writing(self, token_name: str, lease: Lease | None = None) -> Iterator[TokenRow]:
        with self._pool.writing() as session:
            row = lock(session, token_name)
            if lease is not None:
                postgres_leases.check(session, row.id, lease, self._clock)
            yield row

    def _read_token(self, query: LiteralString, name: str) -> tuple[Any, ...]:
        with self._pool.reading() as session:
            row: tuple[Any, ...] | None = session.execute(query, (name.encode(),)).fetchone()
        if row is None:
            raise unknown(name)
        return row


def _defined(row: Sequence[Any]) -> DefinedProfile:
    profile_uuid, digest, defined_at, individual, document = row
    return DefinedProfile(
        profile_uuid=profile_uuid.decode(),
        profile=documents.decode_profile(document.decode()),
        digest=digest.decode(),
        defined_at=defined_at.astimezone(UTC),
        individual=individual,
    )


def _load_devices(session: Session, token_id: int, serials: Iterable[str]) -> dict[str, DeviceRecord]:
    rows = session.execute(_SELECT_SOME, (token_id, _keys(serials)))
    return {serial.decode(): documents.decode_record(document.decode()) for serial, document in rows}


def _keys(serials: Iterable[str]) -> list[bytes]:
    return [serial.encode() for serial in serials]


def _batches(serials: Sequence[str]) -> Iterator[Sequence[str]]:
    for start in range(0, len(serials), _BATCH):
        yield serials[start : start + _BATCH]


def _save_devices(row: TokenRow, records: Iterable[DeviceRecord]) -> None:
    if columns := tuple(zip(*map(_values, records), strict=True)):
        row.session.execute(_SAVE_DEVICES, (row.id, *map(list, columns)))


def _values(record: DeviceRecord) -> tuple[bytes, bytes | None, datetime | None, datetime | None, int, bytes]:
    device = record.device
    return (
        device.serial_number.encode(),
        None if device.profile_status is None else device.profile_status.encode(),
        record.released_at,
        record.deleted_at,
        record.full_sync,
        documents.encode_record(record).encode(),
    )


def _after(rows: Sequence[tuple[Any, ...]]) -> bytes:
    """Return the smallest value that sorts after the serial number of the last row."""
    return bytes(rows[-1][0]) + b"\0"


_ADD: LiteralString = """
    INSERT INTO {schema}.token (name, document, secrets) VALUES (%s, %s, %s) ON CONFLICT (name) DO NOTHING
"""
_SELECT_ONE: LiteralString = "SELECT document, secrets FROM {schema}.token WHERE name = %s"
_SELECT_ALL: LiteralString = "SELECT document, secrets FROM {schema}.token ORDER BY name"
_SELECT_STATE: LiteralString = "SELECT state FROM {schema}.token WHERE name = %s"
_SELECT_DEFAULT: LiteralString = "SELECT default_profile FROM {schema}.token WHERE name = %s"
_REPLACE: LiteralString = "UPDATE {schema}.token SET document = %s, secrets = %s WHERE id = %s"
_SELECT_SOME: LiteralString = """
    SELECT serial_number, document FROM {schema}.device
    WHERE token_id = %s AND serial_number = ANY(%s::bytea[])
"""
_SELECT_RECORDS: LiteralString = """
    SELECT device.document FROM {schema}.device JOIN {schema}.token ON token.id = device.token_id
    WHERE serial_number = ANY(%s::bytea[]) ORDER BY serial_number, token.name
"""
_SELECT_PAGE: LiteralString = """
    SELECT serial_number, document FROM {schema}.device
    WHERE token_id = %s AND serial_number >= %s AND deleted_at IS NULL
        AND (%s::boolean IS NULL OR (released_at IS NOT NULL) = %s::boolean)
    ORDER BY serial_number LIMIT %s
"""
_SELECT_UNLISTED: LiteralString = """
    SELECT serial_number, document FROM {schema}.device
    WHERE token_id = %s AND serial_number >= %s AND released_at IS NULL AND full_sync <> %s
    ORDER BY serial_number LIMIT %s
"""
_SAVE_DEVICES: LiteralString = """
    INSERT INTO {schema}.device (
        token_id, serial_number, profile_status, released_at, deleted_at, full_sync, document
    )
    SELECT %s, * FROM unnest(
        %s::bytea[], %s::bytea[], %s::timestamptz[], %s::timestamptz[], %s::bigint[], %s::bytea[]
    )
    ON CONFLICT (token_id, serial_number) DO UPDATE SET
        profile_status = excluded.profile_status, released_at = excluded.released_at,
        deleted_at = excluded.deleted_at, full_sync = excluded.full_sync, document = excluded.document
"""
_DELETE_DEVICE: LiteralString = """
    DELETE FROM {schema}.device WHERE token_id = %s AND serial_number = %s
"""
_PURGE: LiteralString = """
    DELETE FROM {schema}.device WHERE token_id = %s AND released_at <= %s
    RETURNING serial_number, deleted_at IS NOT NULL
"""
_COUNT: LiteralString = """
    SELECT released_at IS NOT NULL, coalesce(profile_status, ''), count(*)
    FROM {schema}.device WHERE token_id = %s AND deleted_at IS NULL GROUP BY 1, 2
"""
_SAVE_PROFILE: LiteralString = """
    INSERT INTO {schema}.profile (token_id, profile_uuid, digest, defined_at, individual, document)
    VALUES (%s, %s, %s, %s, %s, %s)
    ON CONFLICT (token_id, profile_uuid) DO UPDATE SET
        digest = excluded.digest, defined_at = excluded.defined_at, individual = excluded.individual,
        document = excluded.document
"""
_SELECT_PROFILE: LiteralString = """
    SELECT profile_uuid, digest, defined_at, individual, document FROM {schema}.profile
    WHERE token_id = %s AND profile_uuid = %s
"""
_SELECT_PROFILES: LiteralString = """
    SELECT profile_uuid, digest, defined_at, individual, document FROM {schema}.profile
    WHERE token_id = %s ORDER BY defined_at, profile_uuid
"""
