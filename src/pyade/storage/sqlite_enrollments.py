"""The part of the SQLite store that the device-facing side uses."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

from pyade.core.enrollment import CREDENTIALS, Enrollment, OneTime, OneTimeKind, Registration, next_enrollment
from pyade.core.events import EventBatch
from pyade.errors import UnknownTokenError
from pyade.storage import documents
from pyade.storage.sqlite_outbox import SQLiteOutbox, emit

_BATCH = 500


class SQLiteEnrollments(SQLiteOutbox):
    """Base of ``SQLiteStore``."""

    def enrollment(self, serial_number: str) -> Enrollment | None:
        """Return what is kept of a Mac's enrollment."""
        with self._connections.reading() as db:
            row = db.execute(_SELECT_ONE, (serial_number,)).fetchone()
        return None if row is None else documents.decode_enrollment(row[0])

    def enrollments(self, *, registration: Registration | None = None) -> Iterator[Enrollment]:
        """Iterate lazily over the enrollments by serial number."""
        with self._connections.reading():
            return self._iterate_enrollments(registration)

    def _iterate_enrollments(self, registration: Registration | None) -> Iterator[Enrollment]:
        start = ""
        while True:
            with self._connections.reading() as db:
                rows = db.execute(_SELECT_PAGE, (start, registration, registration, _BATCH)).fetchall()
            for row in rows:
                yield documents.decode_enrollment(row[1])
            if len(rows) < _BATCH:
                return
            start = f"{rows[-1][0]}\0"

    def save_enrollment(
        self,
        enrollment: Enrollment,
        *,
        credential: OneTime | None = None,
        is_new: bool = False,
        events: EventBatch | None = None,
    ) -> Enrollment:
        """Store *enrollment* with what belongs to it, and return it with the next revision."""
        serial = enrollment.serial_number
        with self._connections.writing() as db:
            row = db.execute("SELECT revision FROM enrollment WHERE serial_number = ?", (serial,)).fetchone()
            following = next_enrollment(row[0] if row else 0, enrollment)
            document = documents.encode_enrollment(following)
            db.execute(_SAVE, (serial, following.revision, following.registration, document))
            if is_new:
                db.executemany(_REVOKE_KIND, [(serial, kind) for kind in CREDENTIALS])
            if credential is not None:
                db.execute(_KEEP, _row(credential))
            if events is not None:
                _write_audit(db, events)
        return following

    def delete_enrollment(self, serial_number: str) -> None:
        """Forget a Mac's enrollment and revoke what it may still use."""
        with self._connections.writing() as db:
            db.execute("DELETE FROM enrollment WHERE serial_number = ?", (serial_number,))
            db.execute("DELETE FROM one_time WHERE serial_number = ?", (serial_number,))

    def save_one_time(self, one_time: OneTime, *, now: datetime, keep: int) -> None:
        """Keep *one_time*, remove what has expired, and of this Mac and kind all but the *keep* newest."""
        with self._connections.writing() as db:
            db.execute("DELETE FROM one_time WHERE expires_at <= ?", (_text(now),))
            db.execute(_MAKE_ROOM, (one_time.serial_number, one_time.kind, keep - 1))
            db.execute(_KEEP, _row(one_time))

    def take_one_time(self, kind: OneTimeKind, digest: str, *, now: datetime) -> OneTime | None:
        """Return what is kept under *digest* and forget it."""
        with self._connections.writing() as db:
            rows = db.execute(_TAKE, (kind, digest)).fetchall()
        found = [_one_time(row) for row in rows]
        return found[0] if found and found[0].expires_at > now else None

    def one_times(self, serial_number: str) -> Sequence[OneTime]:
        """Return what a Mac may still use, expired or not, by expiry."""
        with self._connections.reading() as db:
            return tuple(_one_time(row) for row in db.execute(_SELECT_OF_ONE, (serial_number,)).fetchall())

    def add_audit(self, events: EventBatch) -> None:
        """Write *events*; ``token_name`` may be "" for what concerns no token of ours."""
        with self._connections.writing() as db:
            _write_audit(db, events)


def _write_audit(db: sqlite3.Connection, events: EventBatch) -> None:
    name = events.token_name
    if name and db.execute("SELECT 1 FROM token WHERE name = ?", (name,)).fetchone() is None:
        raise UnknownTokenError(f"no token {name!r} is stored: add it first")
    emit(db, name, events.at, events.groups)


def _row(one_time: OneTime) -> tuple[Any, ...]:
    value = documents.encode_object(one_time.value)
    return one_time.kind, one_time.digest, one_time.serial_number, _text(one_time.expires_at), value


def _one_time(row: tuple[Any, ...]) -> OneTime:
    kind, digest, serial, expires_at, value = row
    return OneTime(
        kind=OneTimeKind(kind),
        digest=digest,
        serial_number=serial,
        expires_at=datetime.fromisoformat(expires_at),
        value=documents.decode_object(value),
    )


def _text(value: datetime) -> str:
    return value.astimezone(UTC).isoformat(timespec="microseconds")


_SELECT_ONE = "SELECT document FROM enrollment WHERE serial_number = ?"
_SELECT_PAGE = """
    SELECT serial_number, document FROM enrollment
    WHERE serial_number >= ? AND (? IS NULL OR registration = ?) ORDER BY serial_number LIMIT ?
"""
_SAVE = """
    INSERT INTO enrollment (serial_number, revision, registration, document) VALUES (?, ?, ?, ?)
    ON CONFLICT (serial_number) DO UPDATE SET
        revision = excluded.revision, registration = excluded.registration, document = excluded.document
"""
_REVOKE_KIND = "DELETE FROM one_time WHERE serial_number = ? AND kind = ?"
_KEEP = "INSERT INTO one_time (kind, digest, serial_number, expires_at, value) VALUES (?, ?, ?, ?, ?)"
_MAKE_ROOM = """
    DELETE FROM one_time WHERE id IN (
        SELECT id FROM one_time WHERE serial_number = ? AND kind = ?
        ORDER BY expires_at DESC, digest DESC LIMIT -1 OFFSET ?
    )
"""
_TAKE = """
    DELETE FROM one_time WHERE kind = ? AND digest = ?
    RETURNING kind, digest, serial_number, expires_at, value
"""
_SELECT_OF_ONE = """
    SELECT kind, digest, serial_number, expires_at, value FROM one_time WHERE serial_number = ?
    ORDER BY expires_at, digest
"""
