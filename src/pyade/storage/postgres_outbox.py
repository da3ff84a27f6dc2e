"""The part of the PostgreSQL store that belongs to no token: events, positions, sessions and secrets.

Transactions get their numbers in one order and commit in another. So a row of the outbox is read only once
every transaction with a smaller number has ended, and rows are read in the order of those numbers: nothing
can turn up later before what was read. A writer locks its token before it gets a number, so that what
happened to one token comes in the order of its commits.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, LiteralString

from pyade.core.events import (
    Event,
    EventBatch,
    EventGroup,
    EventKind,
    decode_groups,
    encode_groups,
    split_id,
)
from pyade.errors import StoreError
from pyade.storage.outbox import read
from pyade.storage.postgres_connections import Pool, Session
from pyade.storage.postgres_tokens import lock
from pyade.storage.secrets import SecretBox

_ROWS = 50
"""Rows of the outbox per SELECT; each holds up to a page of devices."""

_START = ("0", 0)

_ROW_ID = re.compile(r"([0-9]{1,19})-([0-9]{1,18})")


def emit(session: Session, token_name: str, at: datetime, groups: tuple[EventGroup, ...]) -> None:
    """Write one row of the outbox, inside the transaction of the change itself."""
    if groups:
        session.execute(_INSERT, (at, token_name.encode(), encode_groups(groups).encode()))


class PostgresOutbox:
    """Base of ``PostgresStore``."""

    def __init__(self, pool: Pool, box: SecretBox) -> None:
        """Use the schema of *pool*, and encrypt secrets with *box*."""
        self._pool = pool
        self._box = box

    def events(self, after: str | None = None, *, limit: int = 1000) -> Sequence[Event]:
        """Return committed events in the order of the commits."""
        row_id, index = split_id(after) if after else ("", -1)
        return read(self._rows(_position(after)), (row_id, index), limit)

    def _rows(self, start: tuple[str, int]) -> Iterator[tuple[str, EventBatch]]:
        while True:
            with self._pool.reading() as session:
                rows = session.execute(_SELECT, (*start, _ROWS)).fetchall()
            for xid, seq, at, token_name, document in rows:
                groups = decode_groups(document.decode())
                yield f"{xid}-{seq}", EventBatch(token_name.decode(), at.astimezone(UTC), groups)
                start = xid, seq + 1
            if len(rows) < _ROWS:
                return

    def add_event(
        self, token_name: str, kind: EventKind, *, now: datetime, details: Mapping[str, Any] | None = None
    ) -> None:
        """Add an event that concerns a token as a whole."""
        with self._pool.writing() as session:
            lock(session, token_name)
            emit(session, token_name, now, (EventGroup(kind, details=dict(details or {})),))

    def position(self, subscriber: str) -> str | None:
        """Return how far *subscriber* has come."""
        with self._pool.reading() as session:
            row = session.execute(
                "SELECT position FROM {schema}.subscriber WHERE name = %s", (subscriber.encode(),)
            ).fetchone()
        return None if row is None else str(row[0])

    def save_position(self, subscriber: str, after: str | None) -> None:
        """Remember how far *subscriber* has come; None forgets it."""
        _position(after)
        with self._pool.writing() as session:
            if after is None:
                session.execute("DELETE FROM {schema}.subscriber WHERE name = %s", (subscriber.encode(),))
            else:
                session.execute(_SAVE_POSITION, (subscriber.encode(), after))

    def prune_events(self, before: datetime) -> None:
        """Remove events from before that time that every subscriber has seen."""
        with self._pool.writing() as session:
            positions = session.execute("SELECT position FROM {schema}.subscriber").fetchall()
            ends = (_position(after) for (after,) in positions)
            end = min(ends, key=lambda position: (int(position[0]), position[1]), default=None)
            session.execute(_PRUNE, (before, end is None, *(end or _START)))

    def load_session(self, key: str) -> str | None:
        """Return the session kept under *key*."""
        return self._load("session", key)

    def save_session(self, key: str, session: str) -> None:
        """Keep *session* under *key*."""
        self._save("session", key, session)

    def secret(self, name: str) -> str | None:
        """Return the secret kept under *name*."""
        return self._load("secret", name)

    def save_secret(self, name: str, secret: str | None) -> None:
        """Keep *secret* under *name*; None removes it."""
        self._save("secret", name, secret)

    def rotate_keys(self) -> None:
        """Encrypt every secret with the first key, plain ones too, and leave no older form in the tables.

        Both tables with secrets are written anew, during which writers wait. The server's write-ahead log and
        backups keep what was in them.

        Raises:
            StoreError: The store was opened without keys, or a secret cannot be decrypted.
        """
        if not self._box.has_keys:
            raise StoreError("there is no key to encrypt with: open the store with keys=")
        with self._pool.writing() as session:
            self._rotate(session, _IN_TOKENS, _UPDATE_IN_TOKENS)
            self._rotate(session, _IN_SECRETS, _UPDATE_IN_SECRETS)
        with self._pool.reading() as session:
            session.execute("VACUUM FULL {schema}.token")
            session.execute("VACUUM FULL {schema}.secret")

    def _rotate(self, session: Session, select: LiteralString, update: LiteralString) -> None:
        for row_id, value in session.execute(select).fetchall():
            session.execute(update, (self._box.rotate(value.decode()).encode(), row_id))

    def _check_keys(self, session: Session) -> None:
        for (value,) in session.execute(_ALL_SECRETS).fetchall():
            try:
                self._box.open(value.decode())
            except StoreError as error:
                raise StoreError(f"{self._pool.where}: {error}") from None

    def _load(self, kind: str, name: str) -> str | None:
        with self._pool.reading() as session:
            row = session.execute(_LOAD, (kind, name.encode())).fetchone()
        return None if row is None else self._box.open(row[0].decode())

    def _save(self, kind: str, name: str, value: str | None) -> None:
        with self._pool.writing() as session:
            if value is None:
                session.execute(_FORGET, (kind, name.encode()))
            else:
                session.execute(_KEEP, (kind, name.encode(), self._box.seal(value).encode()))


def _position(after: str | None) -> tuple[str, int]:
    """Return the transaction and the number of the row that an event id stands for."""
    if not after:
        return _START
    parts = _ROW_ID.fullmatch(split_id(after)[0])
    if parts is None:
        raise StoreError(
            f"{after[:80]!r} is no id of an event of this store: give one that events() returned"
        )
    return parts[1], int(parts[2])


_INSERT: LiteralString = "INSERT INTO {schema}.event (at, token_name, document) VALUES (%s, %s, %s)"
_SELECT: LiteralString = """
    SELECT xid::text AS number, seq, at, token_name, document FROM {schema}.event
    WHERE (xid, seq) >= (%s::xid8, %s) AND xid < pg_snapshot_xmin(pg_current_snapshot())
    ORDER BY xid, seq LIMIT %s
"""
_SAVE_POSITION: LiteralString = """
    INSERT INTO {schema}.subscriber (name, position) VALUES (%s, %s)
    ON CONFLICT (name) DO UPDATE SET position = excluded.position
"""
_PRUNE: LiteralString = """
    DELETE FROM {schema}.event WHERE at < %s AND (%s OR (xid, seq) < (%s::xid8, %s))
"""
_LOAD: LiteralString = "SELECT value FROM {schema}.secret WHERE kind = %s AND name = %s"
_FORGET: LiteralString = "DELETE FROM {schema}.secret WHERE kind = %s AND name = %s"
_KEEP: LiteralString = """
    INSERT INTO {schema}.secret (kind, name, value) VALUES (%s, %s, %s)
    ON CONFLICT (kind, name) DO UPDATE SET value = excluded.value
"""
_ALL_SECRETS: LiteralString = """
    SELECT secrets FROM {schema}.token UNION ALL SELECT value FROM {schema}.secret
"""
_IN_TOKENS: LiteralString = "SELECT id, secrets FROM {schema}.token ORDER BY id FOR UPDATE"
_IN_SECRETS: LiteralString = "SELECT id, value FROM {schema}.secret ORDER BY id FOR UPDATE"
_UPDATE_IN_TOKENS: LiteralString = "UPDATE {schema}.token SET secrets = %s WHERE id = %s"
_UPDATE_IN_SECRETS: LiteralString = "UPDATE {schema}.secret SET value = %s WHERE id = %s"
