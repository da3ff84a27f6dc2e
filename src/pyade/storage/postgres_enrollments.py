"""The part of the PostgreSQL store that the device-facing side uses."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any, LiteralString

from pyade.core.enrollment import CREDENTIALS, Enrollment, OneTime, OneTimeKind, Registration, next_enrollment
from pyade.core.events import EventBatch
from pyade.storage import documents
from pyade.storage.postgres_outbox import PostgresOutbox, emit
from pyade.storage.postgres_tokens import lock

_BATCH = 1000


class PostgresEnrollments(PostgresOutbox):
    """Base of ``PostgresStore``."""

    def enrollment(self, serial_number: str) -> Enrollment | None:
        """Return what is kept of a Mac's enrollment."""
        with self._pool.reading() as session:
            row = session.execute(_SELECT_ONE, (serial_number.encode(),)).fetchone()
        return None if row is None else documents.decode_enrollment(row[0].decode())

    def enrollments(self, *, registration: Registration | None = None) -> Iterator[Enrollment]:
        """Iterate lazily over the enrollments by serial number."""
        with self._pool.reading():
            return self._iterate_enrollments(registration)

    def _iterate_enrollments(self, registration: Registration | None) -> Iterator[Enrollment]:
        wanted = None if registration is None else registration.value
        start = b""
        while True:
            with self._pool.reading() as session:
                rows = session.execute(_SELECT_PAGE, (start, wanted, wanted, _BATCH)).fetchall()
            for _, document in rows:
                yield documents.decode_enrollment(document.decode())
            if len(rows) < _BATCH:
                return
            start = rows[-1][0] + b"\0"

    def save_enrollment(
        self,
        enrollment: Enrollment,
        *,
        credential: OneTime | None = None,
        is_new: bool = False,
        events: EventBatch | None = None,
    ) -> Enrollment:
        """Store *enrollment* with what belongs to it, and return it with the next revision."""
        serial = enrollment.serial_number.encode()
        with self._pool.writing() as session:
            if events is not None and events.token_name:
                lock(session, events.token_name)
            # Two that store the first profile of a Mac have no row yet to take turns by.
            session.execute("SELECT pg_advisory_xact_lock(%s, hashtext(%s))", (_LOCKS, serial.hex()))
            row = session.execute(_SELECT_REVISION, (serial,)).fetchone()
            following = next_enrollment(row[0] if row else 0, enrollment)
            document = documents.encode_enrollment(following).encode()
            session.execute(_SAVE, (serial, following.revision, following.registration.value, document))
            if is_new:
                session.execute(_REVOKE_KINDS, (serial, [kind.value for kind in CREDENTIALS]))
            if credential is not None:
                session.execute(_KEEP, _row(credential))
            if events is not None:
                emit(session, events.token_name, events.at, events.groups)
        return following

    def delete_enrollment(self, serial_number: str) -> None:
        """Forget a Mac's enrollment and revoke what it may still use."""
        serial = (serial_number.encode(),)
        with self._pool.writing() as session:
            session.execute("DELETE FROM {schema}.enrollment WHERE serial_number = %s", serial)
            session.execute("DELETE FROM {schema}.one_time WHERE serial_number = %s", serial)

    def save_one_time(self, one_time: OneTime, *, now: datetime, keep: int) -> None:
        """Keep *one_time*, remove what has expired, and of this Mac and kind all but the *keep* newest."""
        with self._pool.writing() as session:
            session.execute("DELETE FROM {schema}.one_time WHERE expires_at <= %s", (now,))
            place = (one_time.serial_number.encode(), one_time.kind.value, keep - 1)
            session.execute(_MAKE_ROOM, place)
            session.execute(_KEEP, _row(one_time))

    def take_one_time(self, kind: OneTimeKind, digest: str, *, now: datetime) -> OneTime | None:
        """Return what is kept under *digest* and forget it."""
        with self._pool.writing() as session:
            row = session.execute(_TAKE, (kind.value, digest.encode())).fetchone()
        found = None if row is None else _one_time(row)
        return found if found is not None and found.expires_at > now else None

    def one_times(self, serial_number: str) -> Sequence[OneTime]:
        """Return what a Mac may still use, expired or not, by expiry."""
        with self._pool.reading() as session:
            rows = session.execute(_SELECT_OF_ONE, (serial_number.encode(),)).fetchall()
        return tuple(_one_time(row) for row in rows)

    def add_audit(self, events: EventBatch) -> None:
        """Write *events*; ``token_name`` may be "" for what concerns no token of ours."""
        with self._pool.writing() as session:
            if events.token_name:
                lock(session, events.token_name)
            emit(session, events.token_name, events.at, events.groups)


def _row(one_time: OneTime) -> tuple[Any, ...]:
    return (
        one_time.kind.value,
        one_time.digest.encode(),
        one_time.serial_number.encode(),
        one_time.expires_at,
        documents.encode_object(one_time.value).encode(),
    )


def _one_time(row: Sequence[Any]) -> OneTime:
    kind, digest, serial, expires_at, value = row
    return OneTime(
        kind=OneTimeKind(kind),
        digest=digest.decode(),
        serial_number=serial.decode(),
        expires_at=expires_at.astimezone(UTC),
        value=documents.decode_object(value.decode()),
    )


_LOCKS = 0x50414445
_SELECT_ONE: LiteralString = "SELECT document FROM {schema}.enrollment WHERE serial_number = %s"
_SELECT_REVISION: LiteralString = "SELECT revision FROM {schema}.enrollment WHERE serial_number = %s"
_SELECT_PAGE: LiteralString = """
    SELECT serial_number, document FROM {schema}.enrollment
    WHERE serial_number >= %s AND (%s::text IS NULL OR registration = %s) ORDER BY serial_number LIMIT %s
"""
_SAVE: LiteralString = """
    INSERT INTO {schema}.enrollment (serial_number, revision, registration, document)
    VALUES (%s, %s, %s, %s)
    ON CONFLICT (serial_number) DO UPDATE SET
        revision = excluded.revision, registration = excluded.registration, document = excluded.document
"""
_REVOKE_KINDS: LiteralString = """
    DELETE FROM {schema}.one_time WHERE serial_number = %s AND kind = ANY(%s)
"""
_KEEP: LiteralString = """
    INSERT INTO {schema}.one_time (kind, digest, serial_number, expires_at, value)
    VALUES (%s, %s, %s, %s, %s)
"""
_MAKE_ROOM: LiteralString = """
    DELETE FROM {schema}.one_time WHERE (kind, digest) IN (
        SELECT kind, digest FROM {schema}.one_time WHERE serial_number = %s AND kind = %s
        ORDER BY expires_at DESC, digest DESC OFFSET %s
    )
"""
_TAKE: LiteralString = """
    DELETE FROM {schema}.one_time WHERE kind = %s AND digest = %s
    RETURNING kind, digest, serial_number, expires_at, value
"""
_SELECT_OF_ONE: LiteralString = """
    SELECT kind, digest, serial_number, expires_at, value FROM {schema}.one_time WHERE serial_number = %s
    ORDER BY expires_at, digest
"""
