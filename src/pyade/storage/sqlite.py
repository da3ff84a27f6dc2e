"""The default store: one SQLite file.

How it stays safe:

* Every write is one transaction that takes the write lock at its start, so that two processes never
  interleave; readers go on meanwhile.
* Threads take turns, for milliseconds.
* Nothing stays open between two batches of an iteration, so that it neither blocks writers nor grows the WAL.
* A commit is on disk before the call returns.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Self

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
from pyade.errors import DuplicateTokenError, UnknownTokenError
from pyade.storage import documents, sqlite_leases
from pyade.storage.clock import utc_now
from pyade.storage.connections import Connections
from pyade.storage.protocol import DefinedProfile
from pyade.storage.secrets import SecretBox
from pyade.storage.sqlite_enrollments import SQLiteEnrollments
from pyade.storage.sqlite_outbox import emit

_BATCH = 500
"""Rows per SELECT: enough to be fast, few enough to keep memory flat."""


class SQLiteStore(SQLiteEnrollments):
    """A ``Store`` in one SQLite file; safe for several threads and several processes.

    A new file can be read by its owner only (mode 0600), since it holds secrets. Each process opens a store
    of its own: one that was opened before a fork refuses to work in the child.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        keys: Sequence[str | bytes] | None = None,
        busy_timeout_s: float = 30.0,
        clock: Callable[[], datetime] = utc_now,
    ) -> None:
        """Open the store, create the file if there is none, and migrate an older one.

        Args:
            path: The file, or ``":memory:"`` for a store that ends with this object.
            keys: Encrypt secrets with the first of them, and decrypt with any; see ``storage.secrets``.
            busy_timeout_s: Seconds to wait while another process writes.
            clock: Times the leases; all processes that share the file have the same.

        Raises:
            StoreVersionError: The file was written by a newer pyade.
            StoreError: The file cannot be opened, belongs to another program, or holds secrets that were
                encrypted with another key.
        """
        box = SecretBox(keys or ())
        super().__init__(Connections(os.fspath(path), busy_timeout_s=busy_timeout_s), box)
        self._clock = clock

    def add_token(self, token: Token) -> None:
        """Store a new token."""
        document, secrets = self._sealed(token)
        with self._connections.writing() as db:
            if db.execute("SELECT 1 FROM token WHERE name = ?", (token.name,)).fetchone():
                raise DuplicateTokenError(
                    f"a token {token.name!r} is stored already: renew it or choose another name"
                )
            db.execute(
                "INSERT INTO token (name, document, secrets) VALUES (?, ?, ?)",
                (token.name, document, secrets),
            )

    def token(self, name: str) -> Token:
        """Return the token called *name*."""
        with self._connections.reading() as db:
            row = db.execute("SELECT document, secrets FROM token WHERE name = ?", (name,)).fetchone()
        if row is None:
            raise _unknown(name)
        return documents.decode_token(row[0], self._box.open(row[1]))

    def tokens(self) -> tuple[Token, ...]:
        """Return all tokens, by name."""
        with self._connections.reading() as db:
            rows = db.execute("SELECT document, secrets FROM token ORDER BY name").fetchall()
        return tuple(documents.decode_token(row[0], self._box.open(row[1])) for row in rows)

    def replace_token(self, token: Token) -> None:
        """Replace the token of the same name; its cursor, devices and profiles stay."""
        document, secrets = self._sealed(token)
        with self._connections.writing() as db:
            token_id = _token_id(db, token.name)
            db.execute(
                "UPDATE token SET document = ?, secrets = ? WHERE id = ?", (document, secrets, token_id)
            )

    def remove_token(self, name: str, *, now: datetime) -> None:
        """Remove a token and everything that belongs to it; its events stay, and one says that it is gone."""
        with self._connections.writing() as db:
            db.execute("DELETE FROM token WHERE id = ?", (_token_id(db, name),))
            emit(db, name, now, (EventGroup(EventKind.TOKEN_REMOVED),))

    def sync_state(self, token_name: str) -> SyncState:
        """Return where the token's sync stands."""
        with self._connections.reading() as db:
            return _load_state(db, _token_id(db, token_name))

    def sync_states(self) -> Mapping[str, SyncState]:
        """Return where the sync of every stored token stands, by the token's name, in one read."""
        with self._connections.reading() as db:
            rows = db.execute(_SELECT_STATES).fetchall()
        return {name: documents.decode_state(text) if text else SyncState() for name, text in rows}

    def save_sync_state(
        self,
        token_name: str,
        state: SyncState,
        *,
        events: EventBatch | None = None,
        lease: Lease | None = None,
    ) -> SyncState:
        """Store *state*, and *events* that say what it changes, and return it with the next revision."""
        with self._connections.writing() as db:
            token_id = self._id_to_write(db, token_name, lease)
            following = next_state(token_name, _revision(db, token_id), state)
            _save_state(db, token_id, following)
            if events is not None:
                emit(db, token_name, events.at, events.groups)
        return following

    def acquire_lease(self, token_name: str, owner: str, *, seconds: float = LEASE_SECONDS) -> Lease:
        """Take the lease of a token, for one worker at a time."""
        with self._connections.writing() as db:
            token_id = _token_id(db, token_name)
            return sqlite_leases.acquire(db, token_id, token_name, owner, seconds=seconds, now=self._clock())

    def renew_lease(self, lease: Lease, *, seconds: float = LEASE_SECONDS) -> Lease:
        """Let *lease* last *seconds* from now, and return it so."""
        with self._connections.writing() as db:
            token_id = _token_id(db, lease.token_name)
            return sqlite_leases.renew(db, token_id, lease, seconds=seconds, now=self._clock())

    def release_lease(self, lease: Lease) -> None:
        """Let the next worker in at once; harmless if *lease* was lost or its token removed."""
        with self._connections.writing() as db:
            sqlite_leases.release(db, lease)

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
        with self._connections.writing() as db:
            token_id = self._id_to_write(db, token_name, lease)
            following = next_state(token_name, _revision(db, token_id), state)
            known = _load_devices(db, token_id, {device.serial_number for device in devices})
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
            _save_devices(db, token_id, changed.values())
            _save_state(db, token_id, following)
            emit(db, token_name, now, change_groups(changes))
        return following, counts

    def finish_full_sync(
        self, token_name: str, *, state: SyncState, now: datetime, lease: Lease | None = None
    ) -> tuple[SyncState, ChangeCounts]:
        """Release every device that the full list did not show and store *state*, all or nothing."""
        released = 0
        with self._connections.writing() as db:
            token_id = self._id_to_write(db, token_name, lease)
            following = finished_state(token_name, _revision(db, token_id), state)
            start = ""
            while rows := db.execute(_SELECT_UNLISTED, (token_id, start, state.full_sync, _BATCH)).fetchall():
                start = _after(rows)
                records = (documents.decode_record(row[1]) for row in rows)
                gone = [release(record, now) for record in records if is_unlisted(record, state)]
                _save_devices(db, token_id, gone)
                shown = [
                    (EventKind.RELEASED, record.serial_number) for record in gone if not record.is_hidden
                ]
                emit(db, token_name, now, change_groups(shown))
                released += len(shown)
            _save_state(db, token_id, following)
        return following, ChangeCounts(released=released)

    def device(self, token_name: str, serial_number: str) -> DeviceRecord | None:
        """Return the record of a device, released or hidden ones too; None if the store does not know it."""
        with self._connections.reading() as db:
            known = _load_devices(db, _token_id(db, token_name), (serial_number,))
        return known.get(serial_number)

    def records_of(self, serials: Sequence[str]) -> Iterator[DeviceRecord]:
        """Iterate lazily over what all tokens know about *serials*, by serial number and token name."""
        with self._connections.reading():
            return self._iterate_records(sorted(set(serials)))

    def _iterate_records(self, serials: Sequence[str]) -> Iterator[DeviceRecord]:
        for batch in _batches(serials):
            query = _SELECT_RECORDS.format(",".join("?" * len(batch)))
            with self._connections.reading() as db:
                rows = db.execute(query, batch).fetchall()
            for row in rows:
                yield documents.decode_record(row[0])

    def delete_device(self, token_name: str, serial_number: str, *, now: datetime) -> None:
        """Delete a device here: a released one is removed, one that Apple lists is hidden."""
        with self._connections.writing() as db:
            token_id = _token_id(db, token_name)
            record = _load_devices(db, token_id, (serial_number,)).get(serial_number)
            left = None if record is None else delete(record, now)
            if left is not None:
                _save_devices(db, token_id, (left,))
            else:
                db.execute(_DELETE_DEVICE, (token_id, serial_number))
            if record is not None and not record.is_hidden:
                emit(db, token_name, now, change_groups([(EventKind.DELETED, serial_number)]))

    def purge_released(self, token_name: str, *, now: datetime) -> int:
        """Remove what was released 30 days before *now* or earlier, and return how many records that were."""
        with self._connections.writing() as db:
            due = (_token_id(db, token_name), _time_text(now - PURGE_AFTER))
            rows = sorted(db.execute(_PURGE, due).fetchall())
            shown = ((EventKind.PURGED, serial) for serial, hidden in rows if not hidden)
            emit(db, token_name, now, change_groups(shown))
        return len(rows)

    def devices(
        self, token_name: str, *, serials: Sequence[str] | None = None, released: bool | None = False
    ) -> Iterator[DeviceRecord]:
        """Iterate lazily over the token's devices by serial number, without hidden ones."""
        with self._connections.reading() as db:
            token_id = _token_id(db, token_name)
        if serials is None:
            return self._iterate_all(token_id, released)
        return self._iterate_some(token_id, sorted(set(serials)), released)

    def _iterate_all(self, token_id: int, released: bool | None) -> Iterator[DeviceRecord]:
        start = ""
        while True:
            with self._connections.reading() as db:
                rows = db.execute(_SELECT_PAGE, (token_id, start, released, released, _BATCH)).fetchall()
            for row in rows:
                yield documents.decode_record(row[1])
            if len(rows) < _BATCH:
                return
            start = _after(rows)

    def _iterate_some(
        self, token_id: int, serials: Sequence[str], released: bool | None
    ) -> Iterator[DeviceRecord]:
        for batch in _batches(serials):
            with self._connections.reading() as db:
                known = _load_devices(db, token_id, batch)
            for serial in batch:
                record = known.get(serial)
                if record is not None and is_shown(record, released):
                    yield record

    def count_devices(self, token_name: str) -> Mapping[str, int]:
        """Return the number of listed devices by profile status, and of the released ones."""
        with self._connections.reading() as db:
            rows = db.execute(_COUNT, (_token_id(db, token_name),)).fetchall()
        counts = {"released": 0}
        for status, count in rows:
            counts[status] = counts.get(status, 0) + count
        return counts

    def count_unlisted(self, token_name: str, state: SyncState) -> int:
        """Return how many devices ``finish_full_sync`` with *state* would release."""
        with self._connections.reading() as db:
            token_id = _token_id(db, token_name)
        count, start = 0, ""
        while True:
            with self._connections.reading() as db:
                rows = db.execute(_SELECT_UNLISTED, (token_id, start, state.full_sync, _BATCH)).fetchall()
            records = (documents.decode_record(row[1]) for row in rows)
            count += sum(is_unlisted(record, state) and not record.is_hidden for record in records)
            if len(rows) < _BATCH:
                return count
            start = _after(rows)

    def save_profile(self, token_name: str, profile: DefinedProfile, *, lease: Lease | None = None) -> None:
        """Remember a profile that was defined at Apple; the same ``profile_uuid`` replaces."""
        row = (
            profile.profile_uuid,
            profile.digest,
            _time_text(profile.defined_at),
            profile.individual,
            documents.encode_profile(profile.profile),
        )
        with self._connections.writing() as db:
            db.execute(_SAVE_PROFILE, (self._id_to_write(db, token_name, lease), *row))

    def profiles(self, token_name: str) -> tuple[DefinedProfile, ...]:
        """Return the profiles that were defined through this token, oldest first."""
        with self._connections.reading() as db:
            rows = db.execute(_SELECT_PROFILES, (_token_id(db, token_name),)).fetchall()
        return tuple(_defined(row) for row in rows)

    def defined_profile(self, token_name: str, profile_uuid: str) -> DefinedProfile | None:
        """Return the profile of exactly that id; None if none was defined through this token."""
        with self._connections.reading() as db:
            row = db.execute(_SELECT_PROFILE, (_token_id(db, token_name), profile_uuid)).fetchone()
        return None if row is None else _defined(row)

    def set_default_profile(self, token_name: str, profile: EnrollmentProfile | None) -> None:
        """Set, or with None remove, the profile for devices without one of their own."""
        document = None if profile is None else documents.encode_profile(profile)
        with self._connections.writing() as db:
            token_id = _token_id(db, token_name)
            db.execute("UPDATE token SET default_profile = ? WHERE id = ?", (document, token_id))

    def default_profile(self, token_name: str) -> EnrollmentProfile | None:
        """Return the token's default profile; None if there is none."""
        with self._connections.reading() as db:
            row = db.execute("SELECT default_profile FROM token WHERE name = ?", (token_name,)).fetchone()
        if row is None:
            raise _unknown(token_name)
        return None if row[0] is None else documents.decode_profile(row[0])

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
        with self._connections.writing() as db:
            token_id = self._id_to_write(db, token_name, lease)
            known = _load_devices(db, token_id, serials)
            state = _load_state(db, token_id)
            changed = merge_attempts(known, attempts, details, token_name=token_name, state=state, now=now)
            _save_devices(db, token_id, changed.values())
            emit(db, token_name, now, attempt_groups(known, changed, attempts))

    def close(self) -> None:
        """Close the file; every later call raises ``StoreClosedError``."""
        self._connections.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"SQLiteStore({self._connections.path!r})"

    def _sealed(self, token: Token) -> tuple[str, str]:
        document, secrets = documents.encode_token(token)
        return document, self._box.seal(secrets)

    def _id_to_write(self, db: sqlite3.Connection, token_name: str, lease: Lease | None) -> int:
        token_id = _token_id(db, token_name)
        if lease is not None:
            sqlite_leases.check(db, token_id, lease, now=self._clock())
        return token_id


def _defined(row: tuple[Any, ...]) -> DefinedProfile:
    profile_uuid, digest, defined_at, individual, document = row
    return DefinedProfile(
        profile_uuid=profile_uuid,
        profile=documents.decode_profile(document),
        digest=digest,
        defined_at=datetime.fromisoformat(defined_at),
        individual=bool(individual),
    )


def _unknown(name: str) -> UnknownTokenError:
    return UnknownTokenError(f"no token {name!r} is stored: add it first")


def _token_id(db: sqlite3.Connection, name: str) -> int:
    row = db.execute("SELECT id FROM token WHERE name = ?", (name,)).fetchone()
    if row is None:
        raise _unknown(name)
    return int(row[0])


def _revision(db: sqlite3.Connection, token_id: int) -> int:
    row = db.execute("SELECT revision FROM sync_state WHERE token_id = ?", (token_id,)).fetchone()
    return int(row[0]) if row else 0


def _load_state(db: sqlite3.Connection, token_id: int) -> SyncState:
    row = db.execute("SELECT document FROM sync_state WHERE token_id = ?", (token_id,)).fetchone()
    return documents.decode_state(row[0]) if row else SyncState()


def _save_state(db: sqlite3.Connection, token_id: int, state: SyncState) -> None:
    db.execute(_SAVE_STATE, (token_id, state.revision, documents.encode_state(state)))


def _load_devices(db: sqlite3.Connection, token_id: int, serials: Iterable[str]) -> dict[str, DeviceRecord]:
    found: dict[str, DeviceRecord] = {}
    for batch in _batches(tuple(serials)):
        # Placeholders, not json_each: SQLite's JSON functions cut texts at a NUL.
        query = _SELECT_SOME.format(",".join("?" * len(batch)))
        for row in db.execute(query, (token_id, *batch)):
            found[row[0]] = documents.decode_record(row[1])
    return found


def _save_devices(db: sqlite3.Connection, token_id: int, records: Iterable[DeviceRecord]) -> None:
    db.executemany(_SAVE_DEVICE, (_row(token_id, record) for record in records))


def _after(rows: Sequence[tuple[Any, ...]]) -> str:
    """Return the smallest text that sorts after the serial number of the last row."""
    return f"{rows[-1][0]}\0"


def _batches(serials: Sequence[str]) -> Iterator[Sequence[str]]:
    for start in range(0, len(serials), _BATCH):
        yield serials[start : start + _BATCH]


def _row(token_id: int, record: DeviceRecord) -> tuple[Any, ...]:
    device = record.device
    return (
        token_id,
        device.serial_number,
        device.profile_status,
        device.profile_uuid,
        None if record.released_at is None else _time_text(record.released_at),
        None if record.deleted_at is None else _time_text(record.deleted_at),
        record.full_sync,
        documents.encode_record(record),
    )


def _time_text(value: datetime) -> str:
    return value.astimezone(UTC).isoformat()


_SELECT_SOME = "SELECT serial_number, document FROM device WHERE token_id = ? AND serial_number IN ({})"
_SELECT_RECORDS = """
    SELECT device.document FROM device JOIN token ON token.id = device.token_id
    WHERE serial_number IN ({}) ORDER BY serial_number, token.name
"""
_SELECT_PAGE = """
    SELECT serial_number, document FROM device
    WHERE token_id = ? AND serial_number >= ? AND deleted_at IS NULL
        AND (? IS NULL OR (released_at IS NOT NULL) = ?)
    ORDER BY serial_number LIMIT ?
"""
_SELECT_UNLISTED = """
    SELECT serial_number, document FROM device
    WHERE token_id = ? AND serial_number >= ? AND released_at IS NULL AND full_sync <> ?
    ORDER BY serial_number LIMIT ?
"""
_SAVE_DEVICE = """
    INSERT INTO device (
        token_id, serial_number, profile_status, profile_uuid, released_at, deleted_at, full_sync, document
    ) VALUES (?, ?, ?, ?, ?, ?, ?, ?)
    ON CONFLICT (token_id, serial_number) DO UPDATE SET
        profile_status = excluded.profile_status, profile_uuid = excluded.profile_uuid,
        released_at = excluded.released_at, deleted_at = excluded.deleted_at, full_sync = excluded.full_sync,
        document = excluded.document
"""
_DELETE_DEVICE = "DELETE FROM device WHERE token_id = ? AND serial_number = ?"
_PURGE = """
    DELETE FROM device WHERE token_id = ? AND released_at <= ?
    RETURNING serial_number, deleted_at IS NOT NULL
"""
_COUNT = """
    SELECT CASE WHEN released_at IS NULL THEN coalesce(profile_status, '') ELSE 'released' END, count(*)
    FROM device WHERE token_id = ? AND deleted_at IS NULL GROUP BY 1
"""
_SELECT_STATES = """
    SELECT token.name, sync_state.document FROM token LEFT JOIN sync_state ON sync_state.token_id = token.id
    ORDER BY token.name
"""
_SAVE_STATE = """
    INSERT INTO sync_state (token_id, revision, document) VALUES (?, ?, ?)
    ON CONFLICT (token_id) DO UPDATE SET revision = excluded.revision, document = excluded.document
"""
_SAVE_PROFILE = """
    INSERT INTO profile (token_id, profile_uuid, digest, defined_at, individual, document)
    VALUES (?, ?, ?, ?, ?, ?)
    ON CONFLICT (token_id, profile_uuid) DO UPDATE SET
        digest = excluded.digest, defined_at = excluded.defined_at, individual = excluded.individual,
        document = excluded.document
"""
_SELECT_PROFILE = """
    SELECT profile_uuid, digest, defined_at, individual, document FROM profile
    WHERE token_id = ? AND profile_uuid = ?
"""
_SELECT_PROFILES = """
    SELECT profile_uuid, digest, defined_at, individual, document FROM profile
    WHERE token_id = ? ORDER BY defined_at, profile_uuid
"""
