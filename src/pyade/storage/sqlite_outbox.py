"""The part of the SQLite store that belongs to no token: events, positions, sessions and secrets."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from contextlib import closing
from datetime import UTC, datetime
from typing import Any

from pyade.core.events import Event, EventBatch, EventGroup, EventKind, decode_groups, encode_groups
from pyade.errors import StoreError, UnknownTokenError
from pyade.storage.connections import Connections
from pyade.storage.outbox import position_number, read
from pyade.storage.secrets import SecretBox


def emit(db: sqlite3.Connection, token_name: str, at: datetime, groups: tuple[EventGroup, ...]) -> None:
    """Write one row of the outbox, inside the transaction of the change itself."""
    if groups:
        # Writers take turns, so that the numbers grow in the order of the commits.
        db.execute(_INSERT, (_text(at), token_name, encode_groups(groups)))


class SQLiteOutbox:
    """Base of ``SQLiteStore``."""

    def __init__(self, connections: Connections, box: SecretBox) -> None:
        """Use the file of *connections*, and encrypt secrets with *box*.

        Raises:
            StoreError: The file holds a secret that *box* cannot decrypt.
        """
        self._connections = connections
        self._box = box
        with connections.reading() as db:
            stored = [value for query in _ALL_SECRETS for (value,) in db.execute(query)]
        for value in stored:
            try:
                box.open(value)
            except StoreError as error:
                connections.close()
                raise StoreError(f"{connections.path}: {error}") from None

    def events(self, after: str | None = None, *, limit: int = 1000) -> Sequence[Event]:
        """Return committed events in the order of the commits."""
        position = position_number(after)
        with self._connections.reading() as db, closing(db.execute(_SELECT, position[:1])) as rows:
            batches = (
                (number, EventBatch(token_name, datetime.fromisoformat(at), decode_groups(document)))
                for number, at, token_name, document in rows
            )
            return read(batches, position, limit)

    def add_event(
        self, token_name: str, kind: EventKind, *, now: datetime, details: Mapping[str, Any] | None = None
    ) -> None:
        """Add an event that concerns a token as a whole."""
        with self._connections.writing() as db:
            if db.execute("SELECT 1 FROM token WHERE name = ?", (token_name,)).fetchone() is None:
                raise UnknownTokenError(f"no token {token_name!r} is stored: add it first")
            emit(db, token_name, now, (EventGroup(kind, details=dict(details or {})),))

    def position(self, subscriber: str) -> str | None:
        """Return how far *subscriber* has come."""
        with self._connections.reading() as db:
            row = db.execute("SELECT position FROM subscriber WHERE name = ?", (subscriber,)).fetchone()
        return None if row is None else str(row[0])

    def save_position(self, subscriber: str, after: str | None) -> None:
        """Remember how far *subscriber* has come; None forgets it."""
        position_number(after)
        with self._connections.writing() as db:
            if after is None:
                db.execute("DELETE FROM subscriber WHERE name = ?", (subscriber,))
            else:
                db.execute(_SAVE_POSITION, (subscriber, after))

    def prune_events(self, before: datetime) -> None:
        """Remove events from before that time that every subscriber has seen."""
        with self._connections.writing() as db:
            positions = db.execute("SELECT position FROM subscriber").fetchall()
            end = min((position_number(after)[0] for (after,) in positions), default=None)
            db.execute("DELETE FROM event WHERE at < ? AND (? IS NULL OR id < ?)", (_text(before), end, end))

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
        """Encrypt every secret with the first key, plain ones too, and leave no older form in the file.

        The file is written anew, which takes as much free space as it is large.

        Raises:
            StoreError: The store was opened without keys, or a secret cannot be decrypted.
        """
        if not self._box.has_keys:
            raise StoreError("there is no key to encrypt with: open the store with keys=")
        with self._connections.writing() as db:
            for select, update in zip(_ALL_SECRETS_BY_ROW, _UPDATE_SECRET, strict=True):
                rows = db.execute(select).fetchall()
                db.executemany(update, [(self._box.rotate(value), row) for row, value in rows])
        self._connections.rewrite()

    def _load(self, kind: str, name: str) -> str | None:
        with self._connections.reading() as db:
            row = db.execute("SELECT value FROM secret WHERE kind = ? AND name = ?", (kind, name)).fetchone()
        return None if row is None else self._box.open(row[0])

    def _save(self, kind: str, name: str, value: str | None) -> None:
        with self._connections.writing() as db:
            if value is None:
                db.execute("DELETE FROM secret WHERE kind = ? AND name = ?", (kind, name))
            else:
                db.execute(_KEEP, (kind, name, self._box.seal(value)))


def _text(value: datetime) -> str:
    return value.astimezone(UTC).isoformat()


_INSERT = "INSERT INTO event (at, token_name, document) VALUES (?, ?, ?)"
_SELECT = "SELECT id, at, token_name, document FROM event WHERE id >= ? ORDER BY id"
_SAVE_POSITION = """
    INSERT INTO subscriber (name, position) VALUES (?, ?)
    ON CONFLICT (name) DO UPDATE SET position = excluded.position
"""
_KEEP = """
    INSERT INTO secret (kind, name, value) VALUES (?, ?, ?)
    ON CONFLICT (kind, name) DO UPDATE SET value = excluded.value
"""
_ALL_SECRETS = ("SELECT secrets FROM token", "SELECT value FROM secret")
_ALL_SECRETS_BY_ROW = ("SELECT id, secrets FROM token", "SELECT id, value FROM secret")
_UPDATE_SECRET = ("UPDATE token SET secrets = ? WHERE id = ?", "UPDATE secret SET value = ? WHERE id = ?")
