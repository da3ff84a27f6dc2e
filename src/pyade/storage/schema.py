"""Tables of every store, and how older ones become newer ones.

``MIGRATIONS[n]`` makes version ``n + 1`` of version ``n``; the number of the last one applied stands in the
table ``pyade_store``. A published migration is never changed: a new one is added. All that are missing run in
one transaction together with the new number, and one process at a time runs them, so that a crash leaves the
old version or the new one.

What is kept of a device is Apple's own JSON object, and what pyade knows of it in columns beside that
(``builders.stored``). People query the view ``pyade_devices``.
"""

from __future__ import annotations

from collections.abc import Sequence
from uuid import uuid4

from pyade.errors import StoreError, StoreVersionError
from pyade.storage.database import Database, Session, Table

MIGRATIONS: tuple[tuple[str, ...], ...] = (
    (
        # The state stands in the row that every writer of the token locks first.
        """
        CREATE TABLE {}token (
            id {id}, name {text} NOT NULL UNIQUE, document {json} NOT NULL, secrets {text} NOT NULL,
            default_profile {json}, default_profile_secrets {text},
            revision {integer} NOT NULL DEFAULT 0, state {json}
        )
        """,
        # What many devices have in common; rows stay, since there are few.
        """
        CREATE TABLE {}device_group (
            id {id}, token_id {integer} NOT NULL REFERENCES {}token (id) ON DELETE CASCADE,
            digest {text} NOT NULL, model {text}, profile_status {text}, profile_uuid {text},
            is_released {flag} NOT NULL, document {json} NOT NULL, UNIQUE (token_id, digest)
        )
        """,
        # Each index, and each check of a foreign key, is paid for a million times. The ids lie one token
        # after the other, in the order of Apple's list. A device that never changed has no updated_at.
        """
        CREATE TABLE {}device (
            id {integer} PRIMARY KEY, token_id {integer} NOT NULL, group_id {integer} NOT NULL,
            serial_number {text} NOT NULL, first_seen_at {time} NOT NULL, full_sync {integer} NOT NULL,
            updated_at {time}, op_date {time}, op_date_sent {time}, released_at {time}, deleted_at {time},
            attempt {json}, document {json} NOT NULL, UNIQUE (serial_number, token_id)
        )
        """,
        "CREATE INDEX device_by_group ON {}device (group_id, full_sync)",
        """
        CREATE TABLE {}profile (
            token_id {integer} NOT NULL REFERENCES {}token (id) ON DELETE CASCADE,
            profile_uuid {text} NOT NULL, name {text} NOT NULL, digest {text} NOT NULL,
            defined_at {time} NOT NULL, individual {flag} NOT NULL, document {json} NOT NULL, secrets {text},
            PRIMARY KEY (token_id, profile_uuid)
        )
        """,
        """
        CREATE VIEW {}pyade_devices AS
            SELECT device.serial_number AS serial, alike.model, token.name AS token,
                alike.profile_status AS status, coalesce(profile.name, alike.profile_uuid) AS profile,
                device.released_at AS released
            FROM {}device AS device JOIN {}token AS token ON token.id = device.token_id
            JOIN {}device_group AS alike ON alike.id = device.group_id
            LEFT JOIN {}profile AS profile
                ON profile.token_id = device.token_id AND profile.profile_uuid = alike.profile_uuid
            WHERE device.deleted_at IS NULL
        """,
        """
        CREATE TABLE {}lease (
            fence {id}, token_id {integer} NOT NULL UNIQUE REFERENCES {}token (id) ON DELETE CASCADE,
            owner {text} NOT NULL, expires_at {time} NOT NULL
        )
        """,
        # The name of the token stands here itself: events outlive their token.
        """
        CREATE TABLE {}event (
            id {id}, transaction_number {integer} NOT NULL DEFAULT {transaction},
            at {time} NOT NULL, token_name {text} NOT NULL, document {json} NOT NULL
        )
        """,
        "CREATE INDEX event_order ON {}event (transaction_number, id)",
        "CREATE TABLE {}subscriber (name {text} PRIMARY KEY, position {text} NOT NULL)",
        """
        CREATE TABLE {}secret (
            kind {text} NOT NULL, name {text} NOT NULL, value {text} NOT NULL, PRIMARY KEY (kind, name)
        )
        """,
        # Both outlive the token and the device: they say what a Mac was given.
        """
        CREATE TABLE {}enrollment (
            serial_number {text} PRIMARY KEY, revision {integer} NOT NULL, registration {text} NOT NULL,
            document {json} NOT NULL
        )
        """,
        """
        CREATE TABLE {}one_time (
            kind {text} NOT NULL, digest {text} NOT NULL, serial_number {text} NOT NULL,
            expires_at {time} NOT NULL, value {json} NOT NULL, PRIMARY KEY (kind, digest)
        )
        """,
        "CREATE INDEX one_time_serial_number ON {}one_time (serial_number)",
        "CREATE INDEX one_time_expires_at ON {}one_time (expires_at)",
    ),
)

_ID = {"id": "integer"}
_KNOWN_AT_FIRST = {
    "token_id": "integer",
    "group_id": "integer",
    "serial_number": "text",
    "first_seen_at": "time",
    "full_sync": "integer",
    "document": "json",
}
_KNOWN_LATER = {
    **dict.fromkeys(("updated_at", "op_date", "op_date_sent", "released_at", "deleted_at"), "time"),
    "attempt": "json",
}
DEVICES = Table(name="device", columns=_KNOWN_AT_FIRST | _KNOWN_LATER | _ID)
NEW_DEVICES = Table(name="device", columns=_KNOWN_AT_FIRST | _ID)
"""The columns of a device of which nothing else is known."""
CHANGED_DEVICES = Table(
    name="device",
    columns={"group_id": "integer", "full_sync": "integer", "document": "json"} | _KNOWN_LATER | _ID,
)
"""The columns of a device that may change."""
ASSIGNED_DEVICES = Table(
    name="device",
    columns={
        "group_id": "integer",
        "document": "json",
        **dict.fromkeys(("updated_at", "op_date"), "time"),
        "attempt": "json",
        **_ID,
    },
)
"""The columns that an assignment changes: an index that has none of them is left alone."""


def migrate(database: Database, migrations: Sequence[Sequence[str]] = MIGRATIONS) -> None:
    """Bring the tables of *database* to the newest version, and create them if there are none.

    Args:
        database: Open.
        migrations: All versions, oldest first; statements without parameters.

    Raises:
        StoreVersionError: A newer pyade wrote the tables.
        StoreError: The database failed, or holds tables of others.
    """
    with database.reading() as session:
        if _version(session) == len(migrations):
            return
    with database.writing() as session:
        database.take_turns(session)
        found = _version(session)  # again: another process may have been faster
        if found > len(migrations):
            raise StoreVersionError(
                f"{database.where}: the store has version {found}, "
                f"this pyade knows versions up to {len(migrations)}: upgrade pyade"
            )
        if found == 0:
            if taken := [name for name in ("token", "device") if session.has_table(name)]:
                raise StoreError(
                    f"{database.where}: there is a table {taken[0]} already, of another program or a pyade "
                    "from before its first release: choose another place"
                )
            session.rows(_CREATE_VERSION_TABLE)
            session.rows("INSERT INTO {}pyade_store (version, store_id) VALUES (0, ?)", (uuid4().hex,))
        for statements in migrations[found:]:
            for statement in statements:
                session.rows(statement)
        session.rows("UPDATE {}pyade_store SET version = ?", (len(migrations),))


def _version(session: Session) -> int:
    if not session.has_table("pyade_store"):
        return 0
    rows = session.rows("SELECT version FROM {}pyade_store")
    return int(rows[0][0]) if rows else 0


# One row: the version of the tables, and an id that tells this store from every other.
_CREATE_VERSION_TABLE = """
    CREATE TABLE {}pyade_store (
        version {integer} NOT NULL, store_id {text} NOT NULL,
        changes {integer} NOT NULL DEFAULT 0, checkpointed {integer} NOT NULL DEFAULT 0
    )
"""
