"""Tables of the SQLite store and how an older file becomes a newer one.

``MIGRATIONS[n]`` makes version ``n + 1`` of version ``n``; the number of the last one applied stands in
``PRAGMA user_version``. A published migration is never changed: a new one is added. All that are missing run
in one transaction together with the new number, so that a crash leaves the old version or the new one.

What is kept of a device is one JSON document (``storage.documents``); the columns beside it are copies to
search by. Times are ISO 8601 texts in UTC, which sort as they should.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from pyade.errors import StoreError, StoreVersionError

APPLICATION_ID = 0x50414445
"""``PADE``: tells a store of pyade from any other SQLite file."""

MIGRATIONS: tuple[tuple[str, ...], ...] = (
    (
        """
        CREATE TABLE token (
            id INTEGER PRIMARY KEY,
            name TEXT NOT NULL UNIQUE,
            document TEXT NOT NULL,
            secrets TEXT NOT NULL,
            default_profile TEXT
        )
        """,
        """
        CREATE TABLE sync_state (
            token_id INTEGER PRIMARY KEY REFERENCES token (id) ON DELETE CASCADE,
            revision INTEGER NOT NULL,
            document TEXT NOT NULL
        )
        """,
        """
        CREATE TABLE device (
            id INTEGER PRIMARY KEY,
            token_id INTEGER NOT NULL REFERENCES token (id) ON DELETE CASCADE,
            serial_number TEXT NOT NULL,
            profile_status TEXT,
            profile_uuid TEXT,
            released_at TEXT,
            full_sync INTEGER NOT NULL,
            document TEXT NOT NULL,
            UNIQUE (token_id, serial_number)
        )
        """,
        """
        CREATE TABLE profile (
            token_id INTEGER NOT NULL REFERENCES token (id) ON DELETE CASCADE,
            profile_uuid TEXT NOT NULL,
            digest TEXT NOT NULL,
            defined_at TEXT NOT NULL,
            individual INTEGER NOT NULL,
            document TEXT NOT NULL,
            PRIMARY KEY (token_id, profile_uuid)
        )
        """,
    ),
    (
        # AUTOINCREMENT: no fence is given twice, also not after its row is gone.
        """
        CREATE TABLE lease (
            fence INTEGER PRIMARY KEY AUTOINCREMENT,
            token_id INTEGER NOT NULL UNIQUE REFERENCES token (id) ON DELETE CASCADE,
            owner TEXT NOT NULL,
            expires_at TEXT NOT NULL
        )
        """,
        "ALTER TABLE device ADD COLUMN deleted_at TEXT",
        "CREATE INDEX device_serial_number ON device (serial_number)",
    ),
    (
        # AUTOINCREMENT: the id of an event that was pruned is never given again. The name of the token
        # stands here itself: events outlive their token.
        """
        CREATE TABLE event (
            id INTEGER PRIMARY KEY AUTOINCREMENT,
            at TEXT NOT NULL,
            token_name TEXT NOT NULL,
            document TEXT NOT NULL
        )
        """,
        "CREATE TABLE subscriber (name TEXT PRIMARY KEY, position TEXT NOT NULL)",
        """
        CREATE TABLE secret (
            id INTEGER PRIMARY KEY,
            kind TEXT NOT NULL,
            name TEXT NOT NULL,
            value TEXT NOT NULL,
            UNIQUE (kind, name)
        )
        """,
    ),
    (
        # Both outlive the token and the device: they say what a Mac was given.
        """
        CREATE TABLE enrollment (
            serial_number TEXT PRIMARY KEY,
            revision INTEGER NOT NULL,
            registration TEXT NOT NULL,
            document TEXT NOT NULL
        )
        """,
        """
        CREATE TABLE one_time (
            id INTEGER PRIMARY KEY,
            kind TEXT NOT NULL,
            digest TEXT NOT NULL,
            serial_number TEXT NOT NULL,
            expires_at TEXT NOT NULL,
            value TEXT NOT NULL,
            UNIQUE (kind, digest)
        )
        """,
        "CREATE INDEX one_time_serial_number ON one_time (serial_number)",
        "CREATE INDEX one_time_expires_at ON one_time (expires_at)",
    ),
)


def migrate(connection: sqlite3.Connection, migrations: Sequence[Sequence[str]] = MIGRATIONS) -> None:
    """Bring the file of *connection* to the newest version, in one transaction.

    Args:
        connection: In autocommit mode, outside a transaction.
        migrations: All versions, oldest first; statements without parameters.

    Raises:
        StoreVersionError: The file was written by a newer pyade.
        StoreError: The file belongs to another program.
    """
    if _version(connection) == len(migrations) and _is_ours(connection):
        return
    connection.execute("BEGIN IMMEDIATE")
    try:
        # Read again inside the transaction: another process may have been faster.
        for statements in migrations[_checked_version(connection, newest=len(migrations)) :]:
            for statement in statements:
                connection.execute(statement)
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version = {len(migrations)}")
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def _checked_version(connection: sqlite3.Connection, *, newest: int) -> int:
    path = connection.execute("PRAGMA database_list").fetchone()[2]
    if not _is_ours(connection):
        raise StoreError(f"{path}: this SQLite file belongs to another program: choose another path")
    found = _version(connection)
    if found > newest:
        raise StoreVersionError(
            f"{path}: the store has version {found}, this pyade knows versions up to {newest}: upgrade pyade"
        )
    return found


def _version(connection: sqlite3.Connection) -> int:
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def _is_ours(connection: sqlite3.Connection) -> bool:
    (application_id,) = connection.execute("PRAGMA application_id").fetchone()
    if application_id == APPLICATION_ID:
        return True
    (objects,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    return bool(application_id == 0 and objects == 0)
