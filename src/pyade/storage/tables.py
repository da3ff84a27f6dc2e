"""The tables of ``SQLStore``, their migrations, and the statements in the SQL of SQLite and PostgreSQL.

``storage.database`` explains the names in braces. ``{after}`` is replaced by ``following`` with the condition
of every page but the first. A device is stored as Apple's own JSON object, with columns for what pyade knows
about it (``builders.documents``). The view ``pyade_devices`` is for queries of users.

The rules of this file:

1. ``MIGRATIONS[n]`` upgrades version ``n`` to ``n + 1``; the table ``pyade_store`` holds the current version.
   A published migration is never changed: a new one is added.
2. All missing migrations run in one transaction together with the new version, and one process at a time
   runs them, so that a crash leaves the old version or the new one.
3. Boolean expressions on columns are computed in Python, never in a RETURNING clause: SQLite 3.40 returns
   true for ``NULL IS NOT NULL`` there.
"""

# ruff: noqa: S105, S608 - statements about secrets are no passwords, and all that is put together is ours

from __future__ import annotations

from collections.abc import Sequence
from uuid import uuid4

from pyade.errors import StoreError, StoreVersionError
from pyade.storage.database import Database, Session, Table

MIGRATIONS: tuple[tuple[str, ...], ...] = (
    (
        # The sync state is in the row that every writer of the token locks first.
        """
        CREATE TABLE {}token (
            id {id}, name {text} NOT NULL UNIQUE, document {json} NOT NULL, secrets {text} NOT NULL,
            default_profile {json}, default_profile_secrets {text},
            revision {integer} NOT NULL DEFAULT 0, state {json}
        )
        """,
        # Values that many devices share; rows are never removed, since there are few.
        """
        CREATE TABLE {}device_group (
            id {id}, token_id {integer} NOT NULL REFERENCES {}token (id) ON DELETE CASCADE,
            digest {text} NOT NULL, model {text}, profile_status {text}, profile_uuid {text},
            is_released {flag} NOT NULL, document {json} NOT NULL, UNIQUE (token_id, digest)
        )
        """,
        # Few indexes and no foreign keys: each costs time for a million rows. Each token has its own range of
        # ids, in the order of Apple's list. A device that never changed has no updated_at.
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
        # The token is stored by name, without a foreign key: events outlive their token.
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
        # Both outlive the token and the device: they record what a Mac was given.
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
    (
        # A suspended token was called a parked one.
        """
        UPDATE {}token SET state = CAST(
            REPLACE(
                REPLACE(CAST(state AS text), '"parked":', '"suspended":'),
                '"parked_with":', '"suspended_with":'
            ) AS {json}
        ) WHERE state IS NOT NULL
        """,
        """
        UPDATE {}event SET document = CAST(
            REPLACE(CAST(document AS text), '"token_parked"', '"token_suspended"') AS {json}
        )
        """,
    ),
)

_ID = {"id": "integer"}
_INITIAL_COLUMNS = {
    "token_id": "integer",
    "group_id": "integer",
    "serial_number": "text",
    "first_seen_at": "time",
    "full_sync": "integer",
    "document": "json",
}
_LATER_COLUMNS = {
    **dict.fromkeys(("updated_at", "op_date", "op_date_sent", "released_at", "deleted_at"), "time"),
    "attempt": "json",
}
DEVICES = Table(name="device", columns=_INITIAL_COLUMNS | _LATER_COLUMNS | _ID)
NEW_DEVICES = Table(name="device", columns=_INITIAL_COLUMNS | _ID)
"""The columns that are set for a new device."""
CHANGED_DEVICES = Table(
    name="device",
    columns={"group_id": "integer", "full_sync": "integer", "document": "json"} | _LATER_COLUMNS | _ID,
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
"""The columns that an assignment changes; indexes without these columns are not updated."""


def migrate(database: Database, migrations: Sequence[Sequence[str]] = MIGRATIONS) -> None:
    """Upgrade the tables of *database* to the newest version, and create them if there are none (rule 2).

    Args:
        database: Open.
        migrations: All versions, oldest first; statements without parameters.

    Raises:
        StoreVersionError: A newer pyade wrote the tables.
        StoreError: The database failed, or holds tables of another program.
    """
    with database.reading() as session:
        if _version(session) == len(migrations):
            return
    with database.writing() as session:
        database.take_turns(session)  # rule 2
        found = _version(session)  # again: another process may have migrated meanwhile
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
        for statements in migrations[found:]:  # rule 1
            for statement in statements:
                session.rows(statement)
        session.rows("UPDATE {}pyade_store SET version = ?", (len(migrations),))


def _version(session: Session) -> int:
    if not session.has_table("pyade_store"):
        return 0
    rows = session.rows("SELECT version FROM {}pyade_store")
    return int(rows[0][0]) if rows else 0


# One row: the version of the tables, and a unique id of this store.
_CREATE_VERSION_TABLE = """
    CREATE TABLE {}pyade_store (
        version {integer} NOT NULL, store_id {text} NOT NULL,
        changes {integer} NOT NULL DEFAULT 0, checkpointed {integer} NOT NULL DEFAULT 0
    )
"""


# Tokens
SELECT_TOKEN = "SELECT id, revision, state FROM {}token WHERE name = ?"
LOCK_TOKEN = f"{SELECT_TOKEN} {{for_update}}"
ADD_TOKEN = """
    INSERT INTO {}token (name, document, secrets) VALUES (?, ?, ?)
    ON CONFLICT (name) DO NOTHING RETURNING id
"""
READ_TOKEN = "SELECT name, document, secrets FROM {}token WHERE name = ?"
SELECT_NAMES = "SELECT name FROM {}token ORDER BY name LIMIT ?"
READ_TOKENS = "SELECT name, document, secrets FROM {}token ORDER BY name"
REPLACE_TOKEN = "UPDATE {}token SET document = ?, secrets = ? WHERE id = ?"
DELETE_TOKEN = "DELETE FROM {}token WHERE id = ?"
SAVE_STATE = "UPDATE {}token SET revision = ?, state = ? WHERE id = ?"
SELECT_STATES = "SELECT name, state FROM {}token ORDER BY name"
SELECT_DEFAULT = "SELECT default_profile, default_profile_secrets FROM {}token WHERE name = ?"
SET_DEFAULT = "UPDATE {}token SET default_profile = ?, default_profile_secrets = ? WHERE id = ?"

# Leases
SELECT_LEASE = "SELECT fence, owner, expires_at FROM {}lease WHERE token_id = ?"
DELETE_LEASE = "DELETE FROM {}lease WHERE token_id = ?"
INSERT_LEASE = "INSERT INTO {}lease (token_id, owner, expires_at) VALUES (?, ?, ?) RETURNING fence"
RENEW_LEASE = "UPDATE {}lease SET expires_at = ? WHERE fence = ?"
RELEASE_LEASE = "DELETE FROM {}lease WHERE fence = ?"

# Devices
_RECORD = """
    device.serial_number, device.first_seen_at, device.full_sync, device.document, device.updated_at,
    device.op_date, device.op_date_sent, device.released_at, device.deleted_at, device.attempt
"""
SELECT_RECORDS = f"""
    SELECT token.name, {_RECORD} FROM {{}}device AS device
    JOIN {{}}token AS token ON token.id = device.token_id
    WHERE device.serial_number {{one_of}} ORDER BY device.serial_number, token.name
"""
SELECT_SOME = f"""
    SELECT device.id, {_RECORD} FROM {{}}device AS device
    WHERE device.token_id = ? AND device.serial_number {{one_of}}
"""
SELECT_WITHOUT_DOCUMENT = """
    SELECT device.serial_number, device.id, device.group_id, device.first_seen_at, device.full_sync,
        device.updated_at, device.op_date, device.op_date_sent, device.released_at, device.deleted_at,
        device.attempt
    FROM {}device AS device WHERE device.token_id = ? AND device.serial_number {one_of}
"""
SELECT_DEVICES = f"""
    SELECT device.id, {_RECORD} FROM {{}}device AS device
    WHERE device.id BETWEEN ? AND ? AND device.deleted_at IS NULL {{after}} ORDER BY device.id LIMIT ?
"""
PAGES: dict[bool | None, str] = {
    None: SELECT_DEVICES,
    False: SELECT_DEVICES.replace("{after}", "AND device.released_at IS NULL {after}"),
    True: SELECT_DEVICES.replace("{after}", "AND device.released_at IS NOT NULL {after}"),
}
"""By whether released devices are wanted; None for both."""
MARK_LISTED = "UPDATE {}device SET full_sync = ? WHERE id {one_of}"
_IN_GROUPS = "group_id IN (SELECT id FROM {}device_group WHERE token_id = ? AND is_released = ?)"
# A change after the start of the list is newer than the list.
_UNLISTED = f"""
    FROM {{}}device AS device WHERE {_IN_GROUPS}
    AND device.full_sync < ? AND (device.op_date IS NULL OR device.op_date <= ?)
"""
COUNT_UNLISTED = f"SELECT count(*) {_UNLISTED} AND device.deleted_at IS NULL"
SELECT_UNLISTED = f"SELECT device.id, {_RECORD} {_UNLISTED} {{after}} ORDER BY device.id LIMIT ?"
LAST_ID = "SELECT max(id) FROM {}device WHERE id BETWEEN ? AND ?"
DELETE_DEVICES = "DELETE FROM {}device WHERE id BETWEEN ? AND ?"
DELETE_DEVICE = "DELETE FROM {}device WHERE token_id = ? AND serial_number = ?"
# deleted_at is returned, not "deleted_at IS NULL": rule 3
PURGE = f"DELETE FROM {{}}device WHERE {_IN_GROUPS} AND released_at <= ? RETURNING serial_number, deleted_at"
SAVE_GROUP = """
    INSERT INTO {}device_group (token_id, digest, model, profile_status, profile_uuid, is_released, document)
    VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (token_id, digest) DO UPDATE SET
        model = excluded.model, profile_status = excluded.profile_status,
        profile_uuid = excluded.profile_uuid, is_released = excluded.is_released,
        document = excluded.document
"""
SELECT_GROUPS = """
    SELECT digest, id, model, profile_status, profile_uuid, is_released, document
    FROM {}device_group WHERE token_id = ? AND digest {one_of}
"""
COUNT_GROUPS = """
    SELECT alike.document, (SELECT count(*) FROM {}device AS device WHERE device.group_id = alike.id)
    FROM {}device_group AS alike WHERE alike.token_id = ? ORDER BY alike.id
"""
SELECT_SERIALS_IN = """
    SELECT id, serial_number FROM {}device WHERE group_id {one_of} {after} ORDER BY id LIMIT ?
"""
SELECT_IDS_IN = "SELECT id FROM {}device WHERE group_id {one_of} {after} ORDER BY id LIMIT ?"
SELECT_BY_ID = f"""
    SELECT device.group_id, {_RECORD} FROM {{}}device AS device
    WHERE device.id {{one_of}} ORDER BY device.id
"""
HAS_OTHER_TOKEN = "SELECT 1 FROM {}token WHERE id <> ? LIMIT 1"
_SHARED = """
    SELECT device.serial_number FROM {}device AS device
    WHERE device.released_at IS NULL AND device.deleted_at IS NULL AND EXISTS (
        SELECT 1 FROM {}device AS other WHERE other.serial_number = device.serial_number
        AND other.token_id <> device.token_id AND other.released_at IS NULL
    )
"""
SELECT_SHARED = f"{_SHARED} AND device.id BETWEEN ? AND ?"
SELECT_SHARED_SOME = f"{_SHARED} AND device.token_id = ? AND device.serial_number {{one_of}}"

# Profiles
SAVE_PROFILE = """
    INSERT INTO {}profile (
        token_id, profile_uuid, name, digest, defined_at, individual, document, secrets
    ) VALUES (?, ?, ?, ?, ?, ?, ?, ?)
    ON CONFLICT (token_id, profile_uuid) DO UPDATE SET
        name = excluded.name, digest = excluded.digest, defined_at = excluded.defined_at,
        individual = excluded.individual, document = excluded.document, secrets = excluded.secrets
"""
SELECT_PROFILES = """
    SELECT profile_uuid, digest, defined_at, individual, document, secrets FROM {}profile
    WHERE token_id = ? ORDER BY defined_at, profile_uuid
"""
SELECT_PROFILE = """
    SELECT profile_uuid, digest, defined_at, individual, profile.document, profile.secrets
    FROM {}token AS token LEFT JOIN {}profile AS profile
    ON profile.token_id = token.id AND profile_uuid = ? WHERE token.name = ?
"""

# Events
ADD_EVENT = "INSERT INTO {}event (at, token_name, document) VALUES (?, ?, ?)"
SELECT_EVENTS = """
    SELECT transaction_number, id, token_name, at, document FROM {}event
    WHERE (transaction_number, id) >= (?, ?) AND {settled}
    ORDER BY transaction_number, id LIMIT ?
"""
SELECT_POSITION = "SELECT position FROM {}subscriber WHERE name = ?"
SELECT_POSITIONS = "SELECT position FROM {}subscriber"
SAVE_POSITION = """
    INSERT INTO {}subscriber (name, position) VALUES (?, ?)
    ON CONFLICT (name) DO UPDATE SET position = excluded.position
"""
DELETE_POSITION = "DELETE FROM {}subscriber WHERE name = ?"
PRUNE_EVENTS = "DELETE FROM {}event WHERE at < ?"
PRUNE_SEEN_EVENTS = f"{PRUNE_EVENTS} AND (transaction_number, id) < (?, ?)"

# Secrets
SELECT_SECRET = "SELECT value FROM {}secret WHERE kind = ? AND name = ?"
SAVE_SECRET = """
    INSERT INTO {}secret (kind, name, value) VALUES (?, ?, ?)
    ON CONFLICT (kind, name) DO UPDATE SET value = excluded.value
"""
SELECT_SECRET_NAMES = "SELECT name FROM {}secret WHERE kind = ? AND substr(name, 1, ?) = ? ORDER BY name"
DELETE_SECRET = "DELETE FROM {}secret WHERE kind = ? AND name = ?"

# Enrollments
SELECT_ENROLLMENT = "SELECT document FROM {}enrollment WHERE serial_number = ?"
SELECT_ENROLLMENT_REVISION = "SELECT revision FROM {}enrollment WHERE serial_number = ?"
SELECT_ENROLLMENTS = """
    SELECT serial_number, document FROM {}enrollment WHERE TRUE {after} ORDER BY serial_number LIMIT ?
"""
SELECT_REGISTERED = SELECT_ENROLLMENTS.replace("TRUE", "registration = ?")
ADD_ENROLLMENT = """
    INSERT INTO {}enrollment (revision, registration, document, serial_number) VALUES (?, ?, ?, ?)
    ON CONFLICT (serial_number) DO NOTHING RETURNING revision
"""
UPDATE_ENROLLMENT = """
    UPDATE {}enrollment SET revision = ?, registration = ?, document = ?
    WHERE serial_number = ? AND revision = ? RETURNING revision
"""
DELETE_ENROLLMENT = "DELETE FROM {}enrollment WHERE serial_number = ?"

# One-time secrets
_ONE_TIME = "kind, digest, serial_number, expires_at, value"
KEEP_ONE_TIME = f"INSERT INTO {{}}one_time ({_ONE_TIME}) VALUES (?, ?, ?, ?, ?)"
DELETE_EXPIRED = "DELETE FROM {}one_time WHERE expires_at <= ?"
MAKE_ROOM = """
    DELETE FROM {}one_time WHERE (kind, digest) IN (
        SELECT kind, digest FROM {}one_time WHERE serial_number = ? AND kind = ?
        ORDER BY expires_at DESC, digest DESC LIMIT 1000000 OFFSET ?
    )
"""
SELECT_ONE_TIME = f"SELECT {_ONE_TIME} FROM {{}}one_time WHERE kind = ? AND digest = ? {{for_update}}"
SAVE_ONE_TIME = "UPDATE {}one_time SET expires_at = ?, value = ? WHERE kind = ? AND digest = ?"
TAKE_ONE_TIME = f"DELETE FROM {{}}one_time WHERE kind = ? AND digest = ? RETURNING {_ONE_TIME}"
SELECT_ONE_TIMES = f"SELECT {_ONE_TIME} FROM {{}}one_time WHERE serial_number = ? ORDER BY expires_at, digest"
REVOKE_ALL = "DELETE FROM {}one_time WHERE serial_number = ?"
REVOKE_CREDENTIALS = "DELETE FROM {}one_time WHERE serial_number = ? AND kind <> ?"


def following(select: str, by: str, *, is_first: bool) -> str:
    """Return a statement that selects the next page by the column *by*, or the first one."""
    return select.replace("{after}", "" if is_first else f"AND {by} > ?")
